"""One drop folder, looked at from here."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from dropcap.config.model import Folder
from dropcap.files import names
from dropcap.files.lease import Lease, writer_free
from dropcap.files.tree import Tree
from dropcap.filing.preserve import DIRECTORY as OLD_COPIES
from dropcap.intake import owner
from dropcap.intake.entries import KnownFolders
from dropcap.intake.left import LeftFiles, Marks, is_left, left_files, note_first
from dropcap.intake.mounts import Mount, Mounts, open_tree
from dropcap.intake.walk import OWN, dropped
from dropcap.ledger.job import KnownFolder, OpenFile
from dropcap.ledger.query import Query
from dropcap.preflight.remark import Level, Remark, place_of


class Remembered:
    """What the ledger remembers of folders; nothing if there is no ledger yet."""

    def __init__(self, query: Query | None) -> None:
        self._query = query
        self.installation = (query.meta("installation") if query else None) or ""

    def open_files(self, folder: str) -> Mapping[str, OpenFile]:
        """The files that should lie in in_progress/."""
        return self._query.open_files(folder) if self._query else {}

    def known_folder(self, folder: str) -> KnownFolder | None:
        """How the folder was seen before, if it was."""
        return self._query.known_folder(folder) if self._query else None

    def left_marks(self, folder: str) -> str | None:
        """Which files were left that lay there at first."""
        return self._query.left_marks(folder) if self._query else None


def mount_of(tree: Tree, folder: Folder, mounts: Mounts) -> Mount:
    """What the folder lies on."""
    return mounts.of(os.path.realpath(folder.path), tree.identity[0])


def open_folder(folder: Folder) -> Tree | Remark:
    """The folder itself, or why it cannot be opened."""
    where, path = place_of(folder), folder.path
    try:
        return open_tree(path)
    except FileNotFoundError:
        return Remark("error", where, f"path: {path} does not exist", "make it, mount its share, or correct the path")
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            return Remark("error", where, f"path: {path} is a link, or not a directory", "name the directory itself")
        remedy = "let dropcap's user read and write there"
        return Remark("error", where, f"path: {path} cannot be opened ({error.strerror})", remedy)


def folder_remarks(folder: Folder, tree: Tree, mount: Mount, known: KnownFolders | None) -> Iterator[Remark]:
    """All about one folder that does not need REDCap. Leaves nothing behind."""
    where = place_of(folder)
    kind = "this machine's own" if mount.local else "taken for a network file system"
    yield Remark("ok", where, f"{folder.path} lies on {mount} ({kind})")
    yield from _marker(folder, tree, mount, known)
    yield from _writable(folder, tree, mount)
    for own in sorted(OWN - {OLD_COPIES}):
        yield from _own_directory(folder, tree, own)
    yield from _old_copies(folder, tree)
    free = tree.free_bytes()
    if free < folder.min_free:
        message = f"{free / 1024**2:,.0f} MiB are free there, min_free is {folder.min_free / 1024**2:,.0f} MiB: nothing is taken"
        yield Remark("error", where, message, "make room, or lower min_free")
    yield from _group(folder)


def _marker(folder: Folder, tree: Tree, mount: Mount, known: KnownFolders | None) -> Iterator[Remark]:
    where = place_of(folder)
    if known is None:
        yield Remark(
            "unsure",
            where,
            "the ledger was not read, which alone knows whether the folder is ours",
            "see what is said of the ledger",
        )
        return
    try:
        found = owner.examine(tree, folder.name, str(folder.path), mount, known)
    except owner.Away as error:
        yield Remark("error", where, f"the folder is away: {error}")
    except OSError as error:
        yield Remark("error", where, f"{owner.NAME} cannot be read ({error.strerror})", "let dropcap's user read it")
    else:
        yield Remark("ok", where, "the folder is ours" if found else "the folder is new: it gets its marker when dropcap starts")


def _writable(folder: Folder, tree: Tree, mount: Mount) -> Iterator[Remark]:
    """Writing is tried, not looked up: on shares, what the modes say is not what the server does."""
    where, name = place_of(folder), names.temporary()
    try:
        tree.write_new(name, b"")
    except OSError as error:
        remedy = "let dropcap's user write there; files are moved within the folder"
        yield Remark("error", where, f"nothing can be written in {folder.path} ({error.strerror})", remedy)
        return
    try:
        yield _settling(folder, tree, mount, name)
    finally:
        tree.remove_if(name, lambda content: not content)


def _settling(folder: Folder, tree: Tree, mount: Mount, name: str) -> Remark:
    where = place_of(folder)
    quiet = f"files are taken once they have not changed for {folder.settle_quiet:g} s (settle_quiet)"
    if not mount.local:
        return Remark("ok", where, f"writable; {quiet}")
    fd = tree.open(name)
    try:
        lease = writer_free(fd)
    finally:
        os.close(fd)
    if lease is not Lease.FREE:
        return Remark("warning", where, f"writable, but {mount} grants no leases: {quiet}")
    message = "writable, with leases: files are taken once nobody has them open"
    if not _may_lease_all():
        message += f" (files of other users only with CAP_LEASE, which the service has and this check has not; else {quiet})"
    return Remark("ok", where, message)


def _may_lease_all() -> bool:
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) & 1 << 28)
    return False


def _own_directory(folder: Folder, tree: Tree, own: str) -> Iterator[Remark]:
    where = place_of(folder)
    try:
        status = tree.lstat(own)
    except FileNotFoundError:
        return  # it is made when needed, and that the folder can be written was tried
    except OSError as error:
        yield Remark("error", where, f"{own}/ cannot be read ({error.strerror})", "let dropcap's user read it")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Remark("error", where, f"{own} in it is not a directory", "rename it: dropcap needs that name")
    elif not os.access(own, os.R_OK | os.W_OK | os.X_OK, dir_fd=tree.fd):
        yield Remark("error", where, f"{own}/ cannot be written", "give it to dropcap's user")
    elif status.st_dev != tree.identity[0]:
        message = f"{own}/ lies on another file system: files are copied there and compared, which takes longer"
        yield Remark("warning", where, message, "nothing, if this is intended")


def _old_copies(folder: Folder, tree: Tree) -> Iterator[Remark]:
    """An earlier dropcap kept copies in the drop folder itself."""
    try:
        there = next(iter(tree.scan(OLD_COPIES)), None)
    except OSError:
        return
    if there is not None:
        yield Remark(
            "warning",
            place_of(folder),
            f"{OLD_COPIES}/ in it holds copies by an earlier dropcap of what REDCap held: who may read the folder can read them",
            f"move {folder.path / OLD_COPIES} to where only people who may read REDCap can read it, or remove it: "
            "dropcap keeps copies elsewhere now (`dropcap preserved` lists all)",
        )


def _group(folder: Folder) -> Iterator[Remark]:
    if folder.group is None:
        return
    where = place_of(folder)
    try:
        number = grp.getgrnam(folder.group).gr_gid
    except KeyError:
        if not folder.group.isdigit():
            yield Remark("error", where, f"group: there is no group {folder.group} on this machine", "correct it, or create it")
            return
        number = int(folder.group)
    if os.geteuid() != 0 and number not in (os.getegid(), *os.getgroups()):
        message = f"group: this user is not a member of {folder.group}, and cannot give files to it"
        remedy = "make dropcap's user a member" if number else "name a group that dropcap's user may be in"
        yield Remark("error", where, message, f"{remedy}, or take `group` out")


@dataclass(frozen=True, slots=True)
class FolderContents:
    """What a walk of a folder met: how many directories are watched for it, and what is left that lay there at first."""

    directories: int
    left: LeftFiles


def contents_of(folder: Folder, tree: Tree, mount: Mount, known: KnownFolders | None) -> FolderContents:
    """Walk a folder. Nothing counts as left if it cannot be known when the folder was first watched."""
    directories, count, first = 3, 0, list[str]()  # itself, in_progress/ and failed/ at least
    judged, since_ns = _first_watched(folder, tree, mount, known)
    marks = Marks(known.left_marks(folder.name) if known else None)
    with contextlib.suppress(OSError):
        for entry in dropped(tree, folder, _not_another(tree)):
            if entry.kind == "dir":
                directories += 1
            elif judged and entry.kind == "file" and entry.error is None:
                status = entry.stat
                if status is not None and is_left(folder, entry.name, status, since_ns, marks):
                    count += 1
                    note_first(first, entry.name)
    return FolderContents(directories, left_files(folder, count, first))


def _not_another(tree: Tree) -> Callable[[str, int], bool]:
    """Enters every subfolder but another drop folder."""
    return lambda name, fd: not name or not owner.lies_in(fd)


def _first_watched(folder: Folder, tree: Tree, mount: Mount, known: KnownFolders | None) -> tuple[bool, int | None]:
    """Whether that can be told, and when the folder was first watched (None: it never was)."""
    if known is None:
        return False, None
    try:
        found = owner.examine(tree, folder.name, str(folder.path), mount, known)
    except (owner.Away, OSError):
        return False, None  # told with the rest
    return True, found.since_ns if found else None


def left_remarks(folder: Folder, left: LeftFiles) -> Iterator[Remark]:
    """What is left is no fault; with rules that do not match it, it may be one."""
    if left.count:
        level: Level = "ok" if folder.first_start == "leave" else "warning"
        yield Remark(level, place_of(folder), left.message, left.remedy)
