"""One drop folder and its place for copies, looked at from here."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from operator import not_
from pathlib import Path

from dropcap.config.model import Config, Folder
from dropcap.display import shown
from dropcap.files import names
from dropcap.files.regular import Lease, writer_free
from dropcap.files.tree import Tree
from dropcap.filing.preserve import DIRECTORY as OLD_COPIES
from dropcap.filing.preserve import FOR_THE_LEDGER, keeps_modes, open_to_others
from dropcap.intake import owner
from dropcap.intake.arrivals import OWN, is_dropped
from dropcap.intake.mounts import Mount, Mounts, open_tree
from dropcap.intake.owner import KnownFolders
from dropcap.intake.strays import LeftFiles, Marks, is_left, left_files, note_first
from dropcap.preflight.remark import Level, Place, Remark, group_called, place_of
from dropcap.routing.rule import ExistingFile


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
        tree.remove_if(name, not_)


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
        for entry in tree.scan():
            if not is_dropped(entry.name, folder):
                entry.enter = False
            elif entry.kind == "dir":
                directories += 1
                entry.enter = folder.subfolders and not owner.lies_above(tree, f"{entry.name}/")
            elif judged and entry.kind == "file" and entry.error is None:
                status = entry.stat
                if status is not None and is_left(folder, entry.name, status, since_ns, marks):
                    count += 1
                    note_first(first, entry.name)
    return FolderContents(directories, left_files(folder, count, first))


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


_ACL = "system.posix_acl_access"


def keeps_copies(folder: Folder) -> bool:
    """Whether a rule of the folder can need a copy: any that takes the next instance does, should it be taken meanwhile."""
    return any(rule.settings.existing_file is ExistingFile.PRESERVE or rule.instance is not None for rule in folder.rules)


def exposed(place: Path, state_dir: Path, shares: Collection[Path], mounts: Mounts) -> str | None:
    """Why copies in the directory `place` could be read or exchanged by others than dropcap; None if nothing says so.

    `place` need not be there yet. `shares` are the drop folders; none of them is touched. Raises OSError if what is above
    `place` cannot be looked at.
    """
    real = Path(os.path.realpath(place))
    owners = _owners(state_dir)
    return (
        _in_a_share(place, real, shares)
        or next(
            (f"it lies in {above}, which is a drop folder or a copy of one" for above in _marked(real, state_dir, owners)), None
        )
        or next(_replaceable(place, real, owners), None)
        or _its_own(real, owners)
        or _mounted_open(real, mounts)
    )


def _in_a_share(place: Path, real: Path, shares: Collection[Path]) -> str | None:
    for share in shares:
        for here in dict.fromkeys((Path(os.path.abspath(place)), real)):
            if here.is_relative_to(share) or share.is_relative_to(here):
                return f"it and the drop folder {share} overlap"
    return None


def _marked(real: Path, state_dir: Path, owners: Collection[int]) -> Iterator[Path]:
    """Those that dropcap has marked as drop folders: also for another installation, also reached by way of a bind mount."""
    state = Path(os.path.realpath(state_dir))
    for above in (real, *real.parents):
        if above == state:
            continue
        try:
            fd = os.open(above / owner.NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            status = os.fstat(fd)
            # One of somebody else's making says nothing.
            if stat.S_ISREG(status.st_mode) and status.st_uid in owners and os.read(fd, 4096) != owner.STATE:
                yield above
        finally:
            os.close(fd)


def _replaceable(place: Path, real: Path, owners: Collection[int]) -> Iterator[str]:
    """Those above who could put something else under the name of a directory on the way."""
    lexical = [Path(os.path.realpath(above)) for above in Path(os.path.abspath(place)).parents]
    for above in dict.fromkeys((*real.parents, *lexical)):
        try:
            status = above.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if status.st_uid not in owners:
            yield f"{above} belongs to {_user(status.st_uid)}, who could put another directory in its place"
        elif not status.st_mode & stat.S_ISVTX and (who := _writers(above, status, owners)):
            yield f"{who} may write in {above}, and so put another directory in its place"


def _writers(directory: Path, status: os.stat_result, owners: Collection[int]) -> str | None:
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    if status.st_mode & stat.S_IWGRP and (_has_acl(directory) or not _alone(status.st_gid, owners)):
        return f"the group {group_called(status.st_gid)}"
    return None


def _its_own(real: Path, owners: Collection[int]) -> str | None:
    try:
        status = real.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a directory"
    if status.st_uid not in owners:
        return f"it belongs to {_user(status.st_uid)}"
    if open_to_others(status):
        return f"others than its owner may read it (its mode is {stat.S_IMODE(status.st_mode):04o}, not 0700)"
    return None


def _mounted_open(real: Path, mounts: Mounts) -> str | None:
    """Mounts on which the kernel does not ask for modes."""
    base = next(above for above in (real, *real.parents) if above.exists())
    mount = mounts.of(str(base), base.stat().st_dev)
    if mount.kind.startswith("fuse") and "allow_other" in mount.options and "default_permissions" not in mount.options:
        return f"it lies on {mount}, which is mounted with allow_other and without default_permissions: modes count for nothing"
    if "noperm" in mount.options:
        return f"it lies on {mount}, which is mounted with noperm: modes count for nothing"
    return None


def _owners(state_dir: Path) -> set[int]:
    """Root, who may do everything, dropcap, and whose user dropcap is when root looks."""
    owners = {0, os.geteuid()}
    with contextlib.suppress(OSError):
        owners.add(state_dir.stat().st_uid)
    return owners


def _alone(group: int, owners: Collection[int]) -> bool:
    """Whether a group is a user's own, as many systems give each user one of the same name: it stands for nobody else."""
    try:
        found = grp.getgrgid(group)
        user = pwd.getpwnam(found.gr_name)
    except KeyError:
        return False
    return user.pw_gid == group and user.pw_uid in owners and set(found.gr_mem) <= {user.pw_name}


def _has_acl(directory: Path) -> bool:
    """Whether the mode's middle bits stand for more than the group."""
    try:
        return bool(os.getxattr(directory, _ACL))
    except OSError:
        return False


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user #{number}"


_HOW = (
    "let it lie outside of all drop folders, in directories that only root and dropcap's user may write, "
    "on a file system that keeps modes; or name another place with preserve_in"
)


def keep_remarks(config: Config, folder: Folder, shares: Collection[Path], mounts: Mounts) -> Iterator[Remark]:
    """Whether copies are safe there, and have room. `shares` are the drop folders, links followed. Leaves nothing behind."""
    if not keeps_copies(folder):
        return
    where, place = place_of(folder), config.keeps_in(folder)
    named = f"preserve_in: {shown(str(place))}" if folder.preserve_in else f"copies of what REDCap held ({shown(str(place))})"
    try:
        why = exposed(place, config.state_dir, shares, mounts)
        base = next(above for above in (place, *place.parents) if above.exists())
        if folder.preserve_in is not None and not folder.preserve_in.is_dir():
            message = f"{named}: there is no directory {shown(str(folder.preserve_in))}"
            yield Remark("error", where, message, "make it for dropcap's user, or mount what it lies on")
            return
        if why is not None:
            yield Remark("error", where, f"{named}: others could get at them: {why}", _HOW)
        elif folder.preserve_in is not None or config.state_dir.exists():
            yield from _keeps(where, named, base)
        yield from _room(config, folder, where, named, base)
    except OSError as error:
        message = f"{named}: cannot be read ({error.strerror})"
        yield Remark("error", where, message, "let dropcap's user read it, and run this check as that user")


def _keeps(where: Place, named: str, base: Path) -> Iterator[Remark]:
    if not os.access(base, os.W_OK | os.X_OK):
        yield Remark("error", where, f"{named}: {base} cannot be written", "give it to dropcap's user")
        return
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kept = keeps_modes(fd)
    finally:
        os.close(fd)
    if kept:
        yield Remark("ok", where, f"{named}: dropcap's user alone can get at them")
    else:
        message = f"{named}: its file system does not keep modes, so that everybody who sees it may read there"
        yield Remark("error", where, message, _HOW)


def _room(config: Config, folder: Folder, where: Place, named: str, base: Path) -> Iterator[Remark]:
    system, status = os.statvfs(base), base.stat()
    free = system.f_bavail * system.f_frsize
    beside_ledger = not config.state_dir.exists() or config.state_dir.stat().st_dev == status.st_dev
    stays = max(folder.min_free, FOR_THE_LEDGER if beside_ledger else 0)
    if system.f_blocks and free < stays:
        whose = "for the ledger" if stays > folder.min_free else "by min_free"
        message = (
            f"{named}: {_mib(free)} MiB are free there, and {_mib(stays)} MiB must stay free {whose}: what needs a copy waits"
        )
        yield Remark("warning", where, message, "make room there, or name another place with preserve_in")


def _mib(size: int) -> str:
    return f"{size / 1024**2:,.0f}"
