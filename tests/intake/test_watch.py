from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from dropcap.files.tree import Tree
from dropcap.intake.watch import Watch
from tests import needs

from .conftest import Desk, Quiet, until


class Recorder(Quiet):
    def __init__(self) -> None:
        self.names: list[str] = []
        self.doubts: list[None] = []

    def happened(self, name: str) -> None:
        self.names.append(name)

    def wake(self) -> None:
        self.doubts.append(None)


def add(watch: Watch, tree: Tree, name: str) -> None:
    with tree.directory(name) as fd:
        watch.add(name, fd)


def test_names_are_relative_and_directories_keep_their_watch_when_renamed(tmp_path: Path) -> None:
    told = Recorder()
    names, doubts = told.names, told.doubts
    (tmp_path / "a").mkdir()
    tree = Tree(tmp_path)
    threads = set(threading.enumerate())
    watch = Watch(told)
    add(watch, tree, "")
    add(watch, tree, "a")
    (tmp_path / "x").write_bytes(b"x")
    (tmp_path / "a" / "y").write_bytes(b"y")
    until(lambda: {"x", "a/y"} <= set(names))
    assert not doubts
    assert len(set(threading.enumerate()) - threads) == 1
    (tmp_path / "a").rename(tmp_path / "b")
    until(lambda: "b" in names and doubts)
    add(watch, tree, "b")
    (tmp_path / "b" / "z").write_bytes(b"z")
    until(lambda: "b/z" in names)
    watch.keep({""})
    doubts.clear()
    (tmp_path / "b" / "unseen").write_bytes(b"z")
    (tmp_path / "seen").write_bytes(b"z")
    until(lambda: "seen" in names)
    assert "b/unseen" not in names
    tmp_path.joinpath("b").rename(tmp_path / "c")
    watch.close()
    assert not watch.alive
    tree.close()


def test_no_half_second_behind_a_file_that_is_moved_away(desk: Desk, tmp_path: Path) -> None:
    """The event of a file moved out holds back those behind it in watchdog's own observers."""
    desk.start()
    (desk.path / "out").mkdir()
    assert desk.intake.idle.wait(5)
    (desk.path / "out" / ".leaves").write_bytes(b"x")
    best = 9.0
    for number in range(5):
        (desk.path / "out" / ".leaves").rename(tmp_path / "away")
        (tmp_path / "away").rename(desk.path / "out" / ".leaves")
        (desk.path / "out" / ".leaves").rename(tmp_path / "away")
        began = time.monotonic()
        (desk.path / f"{number}.pdf").write_bytes(b"x")
        desk.until_open(f"{number}.pdf")
        best = min(best, time.monotonic() - began)
        (tmp_path / "away").rename(desk.path / "out" / ".leaves")
    assert best < 0.4


def test_lost_events_are_made_up_for_by_a_walk(desk: Desk) -> None:
    """The kernel's queue (16384 events) overflows while nobody reads."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        needs.lacking(f"a queue of at most 20,000 events (fs.inotify.max_queued_events is {limit:,})")
    intake = desk.start()
    assert intake.idle.wait(5)
    directory = desk.path / "sub"
    directory.mkdir()
    intake.wake()
    until(lambda: intake.idle.is_set())
    held = threading.Event()
    watch = intake._opened.watch  # type: ignore[union-attr]
    with watch._lock:  # its thread waits here with the first event
        os.close(os.open(directory / ".a", os.O_CREAT | os.O_WRONLY))
        for _ in range(limit):
            os.rename(directory / ".a", directory / ".b")
            os.rename(directory / ".b", directory / ".a")
        (directory / "late.pdf").write_bytes(b"x")
        held.set()
    desk.until_open("sub/late.pdf", within=10.0)


def test_a_dead_watcher_is_replaced(desk: Desk) -> None:
    intake = desk.start()
    assert intake.idle.wait(5)
    watch = intake._opened.watch  # type: ignore[union-attr]
    first = watch._inotify
    first.stop()
    first.join(5)
    assert not first.is_alive()  # a walk of just now may have replaced it
    (desk.path / "x.pdf").write_bytes(b"x")
    desk.until_open("x.pdf")
    until(lambda: watch.alive and watch._inotify is not first)
    (desk.path / "y.pdf").write_bytes(b"x")
    desk.until_open("y.pdf")


LIMITED = """
import ctypes, os, pathlib, sys
libc = ctypes.CDLL(None, use_errno=True)
uid, gid = os.geteuid(), os.getegid()
if libc.unshare(0x10000000):  # CLONE_NEWUSER: limits of its own, nobody else's
    print("no user namespaces"); sys.exit(7)
try:
    pathlib.Path("/proc/self/setgroups").write_text("deny")
    pathlib.Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    pathlib.Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    pathlib.Path("/proc/sys/user/max_inotify_watches").write_text("3")
except OSError as error:
    print("no limits of its own:", error); sys.exit(7)
sys.path[:] = eval(sys.argv[2])
from tests.intake.conftest import Desk, Quiet, until
import dropcap.intake.loop as folder
folder.UNWATCHED_WALK = 0.3
desk = Desk(pathlib.Path(sys.argv[1]))
for number in range(6):
    (desk.path / str(number)).mkdir()
intake = desk.start()
assert intake.idle.wait(8)
assert intake._opened.watch.limited
for number in range(6):
    (desk.path / str(number) / "x.pdf").write_bytes(b"x")
desk.until_open(*[f"{number}/x.pdf" for number in range(6)])
desk.stop()
"""


def test_no_more_watches(tmp_path: Path) -> None:
    """In a user namespace of its own, whose limit concerns nobody else."""
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), repr(sys.path)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if result.returncode == 7:
        needs.lacking(f"a user namespace with limits of its own ({result.stdout.strip()})")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("max_user_watches") == 1
