from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dropcap.files.root import RENAME_METHODS, RenameMethod
from dropcap.files.tree import NotRegular, Tree
from tests import needs


def read(tree: Tree, name: str) -> bytes:
    with os.fdopen(tree.open(name), "rb") as file:
        return file.read()


def test_the_folder_may_lie_behind_a_link_but_not_be_one(tmp_path: Path) -> None:
    (tmp_path / "real" / "drop").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dlink").symlink_to("real/drop")
    Tree(tmp_path / "link" / "drop").close()
    with pytest.raises(OSError, match="Not a directory"):
        Tree(tmp_path / "dlink")
    with pytest.raises(FileNotFoundError):
        Tree(tmp_path / "none")


def test_still_there_notices_another_directory_under_its_path(root: Path, tree: Tree) -> None:
    assert tree.still_there()
    root.rename(root.parent / "old")
    assert not tree.still_there()
    root.mkdir()
    assert not tree.still_there()
    root.rmdir()
    (root.parent / "old").rename(root)
    assert tree.still_there()


@pytest.mark.parametrize("name", ["in_progress", "sub/in_progress"])
def test_a_link_for_a_directory_is_not_followed(root: Path, tree: Tree, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"s")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).symlink_to(outside)
    (root / "a.pdf").write_bytes(b"a")
    for act in (
        lambda: tree.open(f"{name}/secret"),
        lambda: tree.lstat(f"{name}/secret"),
        lambda: tree.move("a.pdf", f"{name}/a.pdf"),
        lambda: tree.move_free("a.pdf", f"{name}/deep/a.pdf"),
        lambda: tree.write_new(f"{name}/new", b"x"),
        lambda: tree.write_over(f"{name}/secret", b"x", lambda _: True),
        lambda: tree.sync(name),
        lambda: list(tree.scan(name)),
    ):
        with pytest.raises(NotADirectoryError):
            act()
    assert not tree.remove_if(f"{name}/secret", lambda _: True)
    assert os.listdir(outside) == ["secret"]
    assert (root / "a.pdf").read_bytes() == b"a"


def test_a_directory_replaced_by_a_link_is_noticed(root: Path, tree: Tree, tmp_path: Path) -> None:
    (root / "a").write_bytes(b"a")
    tree.move("a", "in_progress/a")
    (root / "in_progress").rename(root / "before")
    (root / "in_progress").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        tree.lstat("in_progress/a")


def test_only_regular_files_are_opened(root: Path, tree: Tree) -> None:
    needs.root("to make a device")
    (root / "file").write_bytes(b"content")
    (root / "dir").mkdir()
    (root / "link").symlink_to("file")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
    os.mknod(root / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert read(tree, "file") == b"content"
    for name, what in (("dir", "directory"), ("link", "link"), ("fifo", "FIFO"), ("socket", "socket"), ("null", "device")):
        with pytest.raises(NotRegular, match=what) as caught:
            tree.open(name)
        assert caught.value.filename == name
    with pytest.raises(FileNotFoundError):
        tree.open("none")


def test_names_that_lead_out_are_refused(tree: Tree) -> None:
    for name in ("../x", "/etc/passwd", "a/../../x", ""):
        with pytest.raises(OSError, match="name"):
            tree.open(name)


def test_names_that_are_not_utf8(root: Path, tree: Tree) -> None:
    raw = b"caf\xe9 \xff.pdf"
    Path(os.fsdecode(os.fsencode(root) + b"/" + raw)).write_bytes(b"x")
    (entry,) = tree.scan()
    assert entry.name == os.fsdecode(raw)
    tree.move(entry.name, f"in_progress/{entry.name}")
    assert os.listdir(os.fsencode(root / "in_progress")) == [raw]


class TestScan:
    def test_everything_with_its_kind(self, root: Path, tree: Tree) -> None:
        (root / "a").write_bytes(b"abc")
        (root / "sub" / "deep").mkdir(parents=True)
        (root / "sub" / "deep" / "b").write_bytes(b"")
        (root / "sub" / "out").symlink_to(root.parent)
        os.mkfifo(root / "pipe")
        assert {(e.name, e.kind) for e in tree.scan()} == {
            ("a", "file"),
            ("sub", "dir"),
            ("sub/deep", "dir"),
            ("sub/deep/b", "file"),
            ("sub/out", "link"),
            ("pipe", "other"),
        }
        assert {e.name for e in tree.scan(recursive=False)} == {"a", "sub", "pipe"}
        assert {e.name for e in tree.scan("sub")} == {"sub/deep", "sub/deep/b", "sub/out"}
        seen = set()
        for entry in tree.scan():
            seen.add(entry.name)
            entry.enter = entry.name != "sub/deep"
        assert seen == {"a", "sub", "sub/deep", "sub/out", "pipe"}

    def test_stat_is_had_during_and_after_the_walk(self, root: Path, tree: Tree) -> None:
        (root / "a").write_bytes(b"abc")
        (root / "gone").write_bytes(b"")
        (root / "link").symlink_to("a")
        during = {e.name: e.stat for e in tree.scan()}
        entries = {e.name: e for e in tree.scan()}
        (root / "gone").unlink()
        assert entries["gone"].stat is None
        assert during["a"] is not None
        assert during["a"].st_size == 3
        assert entries["a"].stat == os.lstat(root / "a")
        assert entries["link"].stat == os.lstat(root / "link")

    def test_a_directory_that_vanishes_meanwhile_is_passed_over(self, root: Path, tree: Tree) -> None:
        (root / "sub").mkdir()
        seen = []
        for entry in tree.scan():
            seen.append(entry.name)
            (root / "sub").rmdir()
        assert seen == ["sub"]

    def test_a_folder_that_is_not_there_is_an_error(self, tree: Tree) -> None:
        with pytest.raises(FileNotFoundError):
            list(tree.scan("none"))

    def test_depth_costs_no_descriptors(self, root: Path, tree: Tree) -> None:
        deep = "/".join(["d" * 40] * 150)  # longer than PATH_MAX
        with tree.directory(deep, create=True):
            pass
        before = len(os.listdir("/proc/self/fd"))
        for _ in tree.scan():
            assert len(os.listdir("/proc/self/fd")) <= before + 3
        assert len(os.listdir("/proc/self/fd")) == before


class TestMove:
    def test_a_missing_file_leaves_no_directory_behind(self, root: Path, tree: Tree) -> None:
        with pytest.raises(FileNotFoundError):
            tree.move("none", "done/2026-11-24/none")
        assert not (root / "done").exists()

    def test_free_names(self, root: Path, tree: Tree) -> None:
        made = []
        for number in range(3):
            (root / "a.pdf").write_bytes(b"%d" % number)
            made.append(tree.move_free("a.pdf", "done/a.pdf"))
        assert made == ["done/a.pdf", "done/a (2).pdf", "done/a (3).pdf"]
        assert [(root / name).read_bytes() for name in made] == [b"0", b"1", b"2"]

    def test_two_threads_never_share_a_free_name(self, root: Path, tree: Tree) -> None:
        for number in range(200):
            (root / f"s{number}").write_bytes(b"%d" % number)
        made: list[str] = []

        def work(numbers: range) -> None:
            made.extend(tree.move_free(f"s{number}", "done/x") for number in numbers)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda start: work(range(start, 200, 4)), range(4)))
        assert len(set(made)) == 200
        assert sorted(int((root / name).read_bytes()) for name in made) == list(range(200))

    def test_directories_that_are_removed_as_empty_meanwhile(self, root: Path, tree: Tree) -> None:
        filed = threading.Semaphore(0)

        def prune() -> None:
            for _ in range(300):
                filed.acquire()
                tree.remove_empty("in_progress/ward/day")

        pruning = threading.Thread(target=prune)
        pruning.start()
        for number in range(300):
            (root / "a").write_bytes(b"%d" % number)
            filed.release()
            tree.move("a", "in_progress/ward/day/a")
            tree.move("in_progress/ward/day/a", f"done/{number}")
        pruning.join()
        assert len(os.listdir(root / "done")) == 300
        tree.remove_empty("in_progress/ward/day")
        assert os.listdir(root / "in_progress") == []

    def test_new_directories_take_after_the_folder(self, root: Path, tree: Tree) -> None:
        needs.root("to give files away")
        os.chown(root, -1, 12345)
        root.chmod(0o2770)
        before = os.umask(0o077)
        try:
            tree.write_new("failed/sub/x", b"x")
        finally:
            os.umask(before)
        for name in ("failed", "failed/sub"):
            status = (root / name).stat()
            assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 0o2770)
        status = (root / "failed/sub/x").stat()
        assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 0o660)


class TestWrite:
    def test_new(self, root: Path, tree: Tree) -> None:
        tree.write_new("a", b"one", mode=0o604)
        with pytest.raises(FileExistsError):
            tree.write_new("a", b"two")
        assert (root / "a").read_bytes() == b"one"
        assert stat.S_IMODE((root / "a").stat().st_mode) == 0o604
        assert os.listdir(root) == ["a"]

    def test_over_replaces_only_what_is_ours(self, root: Path, tree: Tree) -> None:
        tree.write_over("a", b"ours 1", lambda c: c.startswith(b"ours"))
        tree.write_over("a", b"ours 2", lambda c: c.startswith(b"ours"))
        assert (root / "a").read_bytes() == b"ours 2"
        (root / "a").write_bytes(b"mine")
        with pytest.raises(FileExistsError):
            tree.write_over("a", b"ours 3", lambda c: c.startswith(b"ours"))
        assert (root / "a").read_bytes() == b"mine"
        assert os.listdir(root) == ["a"]

    def test_links_and_fifos_are_never_ours(self, root: Path, tree: Tree, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_bytes(b"ours")
        (root / "link").symlink_to(target)
        os.mkfifo(root / "fifo")
        for name in ("link", "fifo"):
            with pytest.raises(FileExistsError):
                tree.write_over(name, b"x", lambda _: True)
            assert not tree.remove_if(name, lambda _: True)
        assert target.read_bytes() == b"ours"
        assert sorted(os.listdir(root)) == ["fifo", "link"]

    def test_remove_if(self, root: Path, tree: Tree) -> None:
        (root / "a").write_bytes(b"a")
        assert not tree.remove_if("a", lambda c: c == b"b")
        assert tree.remove_if("a", lambda c: c == b"a")
        assert not tree.remove_if("a", lambda _: True)
        assert not tree.remove_if("none/a", lambda _: True)

    def test_what_is_staged_appears_whole_or_not_at_all(self, root: Path, tree: Tree) -> None:
        with tree.stage("sub") as staged:
            staged.write(b"half")
            assert tree.remove_temporaries() == 0  # it is not a leftover
            assert len(os.listdir(root / "sub")) == 1
        assert os.listdir(root / "sub") == []
        with tree.stage("sub") as staged:
            staged.write(b"wh")
            staged.write(b"ole")
            staged.place("other/name")
        assert os.listdir(root / "sub") == []
        assert (root / "other/name").read_bytes() == b"whole"

    def test_crash_leftovers_are_removed_and_nothing_else(self, root: Path, tree: Tree) -> None:
        (root / "failed").mkdir()
        (root / "failed" / ".dropcap-0123456789abcdef").write_bytes(b"half")
        keep = [".dropcap", ".dropcap-notes", "a.pdf"]
        for name in keep:
            (root / name).write_bytes(b"x")
        (root / ".dropcap-fedcba9876543210").symlink_to("a.pdf")
        assert tree.remove_temporaries() == 1
        assert sorted(os.listdir(root)) == sorted([*keep, "failed", ".dropcap-fedcba9876543210"])


class TestOtherDisk:
    def test_a_file_goes_across_with_all_that_belongs_to_it(self, root: Path, tree: Tree, other_disk: Path) -> None:
        content = os.urandom(100_000)
        (root / "a").write_bytes(content)
        os.chown(root / "a", 1234, 4321)
        (root / "a").chmod(0o640)
        os.utime(root / "a", ns=(10**18, 10**18 + 7))
        os.setxattr(root / "a", "user.note", b"kept")
        (root / "done" / "a").write_bytes(b"other")
        assert tree.move_free("a", "done/a") == "done/a (2)"
        moved = other_disk / "a (2)"
        status = moved.stat()
        assert moved.read_bytes() == content
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o640)
        assert status.st_mtime_ns == 10**18 + 7
        assert os.getxattr(moved, "user.note") == b"kept"
        assert sorted(os.listdir(root)) == ["done"]
        assert sorted(os.listdir(other_disk)) == ["a", "a (2)"]

    def test_a_taken_name_stops_it(self, root: Path, tree: Tree, other_disk: Path) -> None:
        (root / "a").write_bytes(b"new")
        (other_disk / "a").write_bytes(b"old")
        with pytest.raises(FileExistsError):
            tree.move("a", "done/a")
        assert (root / "a").read_bytes() == b"new"
        assert os.listdir(other_disk) == ["a"]

    def test_who_comes_to_write_right_before_the_original_is_removed_keeps_it(self, root: Path, other_disk: Path) -> None:
        needs.mount_table(root)
        (root / "a").write_bytes(b"old")
        came: list[str] = []

        def coming(method: RenameMethod) -> RenameMethod:
            def rename(source_dir: int, source: str, target_dir: int, target: str) -> None:
                if source == "a" and target.startswith(".dropcap-"):
                    with pytest.raises(BlockingIOError):  # it waits, unless it asks for this
                        os.open(root / "a", os.O_WRONLY | os.O_NONBLOCK)
                    came.append(target)
                method(source_dir, source, target_dir, target)

            return rename

        with (
            contextlib.closing(Tree(root, tuple(map(coming, RENAME_METHODS)))) as tree,
            pytest.raises(OSError, match="writes to") as caught,
        ):
            tree.move("a", "done/a")
        assert (caught.value.errno, len(came)) == (errno.EBUSY, 1)
        assert sorted(os.listdir(root)) == ["a", "done"]
        assert (other_disk / "a").read_bytes() == b"old"

    def test_a_full_disk_leaves_the_file_whole_where_it_was(self, root: Path, tree: Tree, other_disk: Path) -> None:
        (root / "big").write_bytes(b"x" * 1_000_000)
        with pytest.raises(OSError, match="No space") as caught:
            tree.move("big", "done/big")
        assert caught.value.errno == errno.ENOSPC
        assert (root / "big").stat().st_size == 1_000_000
        assert os.listdir(other_disk) == []


def test_two_listings_at_once_do_not_disturb_each_other(root: Path, tree: Tree) -> None:
    names = {f"a file with a name of some length {number}" for number in range(2000)}  # more than one read of a directory gives
    for name in names:
        (root / name).touch()
    first = tree.scan()
    found = {next(first).name}
    assert {entry.name for entry in tree.scan()} == names
    assert found | {entry.name for entry in first} == names
