"""Where copies of what REDCap held are kept: could anybody read them, or put another place in its stead?

dropcap makes the folder's own directory with mode 0700. That helps nobody if who may write above it can put another directory
there, if it lies on a share, or if its file system shows everything to everybody whatever the modes say.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from dropcap.config.model import Folder
from dropcap.files.private import open_to_others
from dropcap.intake import owner
from dropcap.intake.mounts import Mounts
from dropcap.routing.target import ExistingFile

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
        return f"the group {_group(status.st_gid)}"
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


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return f"#{number}"
