from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

from dropcap.config.model import Folder
from dropcap.files.root import by_renameat2
from dropcap.files.tree import Tree
from dropcap.filing.place import Filed, Filing
from dropcap.filing.why import Failure, forget_why, job_of
from tests import needs
from tests.site import keep_in

DAY = date(2026, 11, 24)
Claim = Callable[..., str]
MakeFailure = Callable[..., Failure]


def listing(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


class TestDone:
    def test_a_batch(self, root: Path, filing: Filing, claim: Claim) -> None:
        files = [claim("a.pdf"), claim("ward 3/b.pdf"), "gone.pdf", claim("c.pdf")]
        results = filing.to_done(files, DAY)
        assert isinstance(results[2], FileNotFoundError)
        assert results[:2] + results[3:] == [
            Filed("done/2026-11-24/a.pdf"),
            Filed("done/2026-11-24/ward 3/b.pdf"),
            Filed("done/2026-11-24/c.pdf"),
        ]
        assert listing(root) == {f"done/2026-11-24/{name}" for name in ("a.pdf", "ward 3/b.pdf", "c.pdf")}
        assert os.listdir(root / "in_progress") == []

    def test_a_taken_name(self, root: Path, filing: Filing, claim: Claim) -> None:
        for number in (b"1", b"2"):
            results = filing.to_done([claim("a.pdf", number)], DAY)
        assert results == [Filed("done/2026-11-24/a (2).pdf")]
        assert (root / "done/2026-11-24/a.pdf").read_bytes() == b"1"

    def test_mode_and_group(self, root: Path, folder: Folder, tree: Tree, claim: Claim, failure: MakeFailure) -> None:
        needs.root("to give files away")
        filing = Filing(replace(folder, group="4321", mode=0o664), tree, "", keep_in(root.parent))
        claim("sub/a.pdf")
        claim("b.pdf")
        filing.to_done(["sub/a.pdf"], DAY)
        filing.to_failed([failure("b.pdf")])
        for name in ("done/2026-11-24/sub/a.pdf", "failed/b.pdf", "failed/b.pdf.why.txt"):
            status = (root / name).stat()
            assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (4321, 0o664)
        for name in ("done", "done/2026-11-24", "done/2026-11-24/sub", "failed"):
            assert (root / name).stat().st_gid == 4321
        assert root.stat().st_gid != 4321

    def test_without_them_a_file_keeps_its_own(self, root: Path, filing: Filing, claim: Claim) -> None:
        path = root / "in_progress" / claim("a.pdf")
        needs.root("to give files away")
        os.chown(path, 1234, 4321)
        path.chmod(0o604)
        filing.to_done(["a.pdf"], DAY)
        status = (root / "done/2026-11-24/a.pdf").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 4321, 0o604)

    def test_an_unknown_group_stops_nothing(self, folder: Folder, tree: Tree, claim: Claim) -> None:
        filing = Filing(replace(folder, group="no-such-group-here"), tree, "", keep_in(folder.path.parent))
        assert filing.to_done([claim("a.pdf")], DAY) == [Filed("done/2026-11-24/a.pdf")]


class TestFailed:
    def test_the_file_and_its_why(self, root: Path, filing: Filing, claim: Claim, failure: MakeFailure) -> None:
        claim("ward 3/a.pdf")
        results = filing.to_failed([failure("ward 3/a.pdf"), failure("gone.pdf")])
        assert results[0] == Filed("failed/ward 3/a.pdf", "failed/ward 3/a.pdf.why.txt")
        assert isinstance(results[1], FileNotFoundError)
        assert listing(root) == {"failed/ward 3/a.pdf", "failed/ward 3/a.pdf.why.txt"}
        assert job_of((root / "failed/ward 3/a.pdf.why.txt").read_bytes()) == 17

    def test_a_persons_note_is_left_alone(
        self, root: Path, tree: Tree, filing: Filing, claim: Claim, failure: MakeFailure
    ) -> None:
        (root / "failed").mkdir()
        note = root / "failed/a.pdf.why.txt"
        note.write_text("asked Dr. Rossi")
        assert filing.to_failed([failure(claim("a.pdf"))]) == [Filed("failed/a.pdf", "failed/a.pdf.why (2).txt")]
        assert forget_why(tree, "failed/a.pdf", 17)
        assert not forget_why(tree, "failed/a.pdf", 17)
        assert note.read_text() == "asked Dr. Rossi"
        assert listing(root) == {"failed/a.pdf", "failed/a.pdf.why.txt"}

    def test_a_why_that_somebody_wrote_into_is_left_alone(
        self, root: Path, tree: Tree, filing: Filing, claim: Claim, failure: MakeFailure
    ) -> None:
        filing.to_failed([failure(claim("a.pdf"))])
        why = root / "failed/a.pdf.why.txt"
        why.write_bytes(b"Maria: I have asked for it\r\n" + why.read_bytes())
        assert not forget_why(tree, "failed/a.pdf", 17)
        assert why.exists()

    def test_the_same_name_fails_twice(self, root: Path, filing: Filing, claim: Claim, failure: MakeFailure) -> None:
        filing.to_failed([failure(claim("a.pdf", b"1"), job=1)])
        results = filing.to_failed([failure(claim("a.pdf", b"2"), job=2)])
        assert results == [Filed("failed/a (2).pdf", "failed/a (2).pdf.why.txt")]
        assert job_of((root / "failed/a.pdf.why.txt").read_bytes()) == 1
        assert job_of((root / "failed/a (2).pdf.why.txt").read_bytes()) == 2

    def test_a_why_left_by_a_file_that_is_gone_is_replaced(
        self, root: Path, filing: Filing, claim: Claim, failure: MakeFailure
    ) -> None:
        filing.to_failed([failure(claim("a.pdf"), job=1)])
        (root / "failed/a.pdf").unlink()
        filing.to_failed([failure(claim("a.pdf"), job=2)])
        assert listing(root) == {"failed/a.pdf", "failed/a.pdf.why.txt"}
        assert job_of((root / "failed/a.pdf.why.txt").read_bytes()) == 2

    def test_a_file_called_like_a_why(self, root: Path, filing: Filing, claim: Claim, failure: MakeFailure) -> None:
        claim("a.pdf")
        claim("a.pdf.why.txt", b"dropped")
        results = filing.to_failed([failure("a.pdf.why.txt"), failure("a.pdf")])
        assert results == [
            Filed("failed/a.pdf.why.txt", "failed/a.pdf.why.txt.why.txt"),
            Filed("failed/a.pdf", "failed/a.pdf.why (2).txt"),
        ]
        assert (root / "failed/a.pdf.why.txt").read_bytes() == b"dropped"

    def test_the_longest_names(self, root: Path, tree: Tree, filing: Filing, claim: Claim, failure: MakeFailure) -> None:
        stem = "ü" * 123
        for number, name in enumerate((stem + "x1.pdf", stem + "x2.pdf", os.fsdecode(b"\xff" * 255))):
            claim(name)
            (filed,) = filing.to_failed([failure(name, job=number)])
            assert isinstance(filed, Filed)
            assert filed.why is not None
            assert job_of((root / filed.why).read_bytes()) == number
        assert len(listing(root)) == 6
        assert forget_why(tree, f"failed/{stem}x1.pdf", 0)
        assert len(listing(root)) == 5

    def test_a_full_disk_leaves_the_file_in_progress(
        self, root: Path, filing: Filing, claim: Claim, failure: MakeFailure, mounted: Callable[[str, str], Path]
    ) -> None:
        failed = mounted("failed", "64k")
        (failed / "ballast").write_bytes(b"x" * 64 * 1024)
        (error,) = filing.to_failed([failure(claim("a.pdf"))])
        assert isinstance(error, OSError)
        assert error.errno == errno.ENOSPC
        assert listing(root) == {"failed/ballast", "in_progress/a.pdf"}
        (failed / "ballast").unlink()
        assert filing.to_failed([failure("a.pdf")]) == [Filed("failed/a.pdf", "failed/a.pdf.why.txt")]

    def test_a_text_that_cannot_appear_leaves_the_file_in_progress(
        self, root: Path, folder: Folder, claim: Claim, failure: MakeFailure
    ) -> None:
        def broken(source_dir: int, source: str, target_dir: int, target: str) -> None:
            if target.endswith(".why.txt"):
                raise OSError(errno.EIO, "Input/output error")
            by_renameat2(source_dir, source, target_dir, target)

        filing = Filing(folder, Tree(root, (broken,)), "", keep_in(root.parent))
        (error,) = filing.to_failed([failure(claim("a.pdf"))])
        assert isinstance(error, OSError)
        assert listing(root) == {"in_progress/a.pdf"}


class TestAfterACrash:
    def test_found_wherever_it_got_to(self, root: Path, filing: Filing, claim: Claim) -> None:
        path = root / "in_progress" / claim("sub/a.pdf", b"12345")
        inode = path.stat().st_ino
        assert filing.locate(inode, 5, "sub/a.pdf") == "in_progress/sub/a.pdf"
        (root / "done/2026-11-24/sub").mkdir(parents=True)
        (root / "done/2026-11-24/sub/a.pdf").write_bytes(b"other")
        for where in ("done/2026-11-24/sub/a (2).pdf", "done/2026-11-23/sub/a.pdf", "failed/sub/a (7).pdf"):
            (root / where).parent.mkdir(parents=True, exist_ok=True)
            path = path.rename(root / where)
            assert filing.locate(inode, 5, "sub/a.pdf", DAY) == where
            assert filing.locate(inode, 5, "sub/a.pdf") == where
            assert filing.locate(inode, 6, "sub/a.pdf") is None
            assert filing.locate(inode + 1, 5, "sub/a.pdf") is None
        path.rename(root / "failed/sub/b.pdf")
        assert filing.locate(inode, 5, "sub/a.pdf") is None

    def test_it_is_looked_for_only_where_it_can_be(self, root: Path, filing: Filing) -> None:
        (root / "done/2026-11-24").mkdir(parents=True)
        (root / "done/2026-11-24/a.pdf").write_bytes(b"x")
        digest = hashlib.sha256(b"x").hexdigest()
        assert filing.locate(0, 1, "a.pdf", DAY, digest) == "done/2026-11-24/a.pdf"
        assert filing.locate(0, 1, "a.pdf", DAY, digest, within=("in_progress", "failed")) is None

    def test_without_stable_inodes_size_and_time_tell(self, root: Path, folder: Folder, claim: Claim) -> None:
        filing = Filing(folder, Tree(root, stable_inodes=False), "", keep_in(root.parent))
        path = root / "in_progress" / claim("a.pdf", b"12345")
        status = path.stat()
        (root / "failed").mkdir()
        path.rename(root / "failed" / "a (2).pdf")
        for inode in (0, status.st_ino):
            assert filing.locate(inode, 5, "a.pdf", mtime_ns=status.st_mtime_ns) == "failed/a (2).pdf"
            assert filing.locate(inode, 5, "a.pdf", mtime_ns=status.st_mtime_ns + 1) is None
        shutil.copy2(root / "failed" / "a (2).pdf", root / "failed" / "a.pdf")
        assert filing.locate(0, 5, "a.pdf", mtime_ns=status.st_mtime_ns) is None, "it may be either"

    def test_nothing_there_and_no_directories(self, root: Path, filing: Filing) -> None:
        (root / "in_progress").rmdir()
        assert filing.locate(1, 1, "a.pdf") is None

    def test_a_file_on_another_disk_is_known_by_its_content(
        self, filing: Filing, claim: Claim, mounted: Callable[[str, str], Path], root: Path
    ) -> None:
        mounted("done", "256k")
        digest = hashlib.sha256(b"12345").hexdigest()
        inode = (root / "in_progress" / claim("a.pdf", b"12345")).stat().st_ino
        assert filing.to_done(["a.pdf"], DAY) == [Filed("done/2026-11-24/a.pdf")]
        assert filing.locate(inode, 5, "a.pdf", DAY, digest) == "done/2026-11-24/a.pdf"
        assert filing.locate(inode, 5, "a.pdf", DAY, hashlib.sha256(b"54321").hexdigest()) is None

    def test_a_failed_file_without_its_why_gets_it(self, root: Path, filing: Filing, failure: MakeFailure) -> None:
        (root / "failed").mkdir()
        (root / "failed/a (2).pdf").write_bytes(b"x")
        for _ in range(2):
            assert filing.explain("failed/a (2).pdf", failure("a.pdf")) == "failed/a (2).pdf.why.txt"
        assert listing(root) == {"failed/a (2).pdf", "failed/a (2).pdf.why.txt"}

    def test_half_written_files_are_cleaned_away(self, root: Path, filing: Filing) -> None:
        for name in ("", "failed/sub", "preserved", "in_progress"):
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / ".dropcap-0123456789abcdef").write_bytes(b"half")
        (root / ".dropcap").write_bytes(b"marker")
        (root / "sub").mkdir()
        (root / "sub/.dropcap-0123456789abcdef").write_bytes(b"not where dropcap writes")
        filing.clean()
        assert listing(root) == {".dropcap", "sub/.dropcap-0123456789abcdef"}
