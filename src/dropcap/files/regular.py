"""Regular files: opened without following links, flushed to disk, and whether anybody has them open for writing."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from enum import Enum

import structlog

from dropcap.display import shown

_log = structlog.get_logger()
_REFUSED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_told: set[int] = set()


def fsync(fd: int, what: str) -> None:
    """fsync(2) on `fd`. A file system that refuses it is noted once in the log; every other error is raised."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _REFUSED:
            error.filename = what
            raise
        device = os.fstat(fd).st_dev
        if device not in _told:
            _told.add(device)
            _log.warning(
                "check_problem",
                file=shown(what),
                message="this file system refuses fsync: after a power cut the last renames may be undone",
                remedy="put the folder on a file system that knows fsync, if it matters",
            )


_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class NotRegular(OSError):  # noqa: N818
    """The name leads to a link, a directory, a FIFO, a socket or a device."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(errno.EINVAL, f"This is {what} and not a regular file; put the file itself here", name)


def kind_of(mode: int) -> str:
    """What a `st_mode` stands for, in words."""
    for test, word in (
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return word
    return "a device"


def open_regular(directory: int, leaf: str, shown_as: str | None = None, *, write: bool = False) -> tuple[int, os.stat_result]:
    """A descriptor for reading `leaf` in the directory `directory`, or for reading and writing it, and its stat; never blocks,
    follows no link.

    Raises NotRegular, or OSError as open(2) does.
    """
    name = leaf if shown_as is None else shown_as
    try:
        # Merely to open a device can act on it (a tape rewinds), so look first; the look after the opening is
        # the one that counts.
        before = os.stat(leaf, dir_fd=directory, follow_symlinks=False).st_mode
        if not stat.S_ISREG(before):
            raise NotRegular(name, kind_of(before))
        fd = os.open(leaf, (os.O_RDWR if write else os.O_RDONLY) | _FLAGS, dir_fd=directory)
    except NotRegular:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegular(name, "a link") from None
        error.filename = name
        raise
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return fd, status
    os.close(fd)
    raise NotRegular(name, kind_of(status.st_mode))


def read_regular(directory: int, leaf: str, limit: int) -> tuple[bytes, os.stat_result]:
    """The content of `leaf`, at most `limit` + 1 bytes of it, and the stat of the very file that was read.

    Raises NotRegular, or OSError as open(2) and read(2) do.
    """
    with os.fdopen(open_regular(directory, leaf)[0], "rb") as file:
        return file.read(limit + 1), os.fstat(file.fileno())


#: For people; `dropcap check` names the very line.
REMEDY = "remount it writable; under systemd, name it in ReadWritePaths= (`dropcap check` tells the line), then restart dropcap"


#: Whether SIGIO does nothing to this process.
_harmless = False


class Lease(Enum):
    """What the kernel says about writers of a file."""

    FREE = "free"  # nobody has it open for writing
    WRITER = "writer"  # somebody has
    UNKNOWN = "unknown"  # no lease to be had: not our file and no CAP_LEASE, or the file system has none


def writer_free(fd: int) -> Lease:
    """Ask whether the regular file open for reading as `fd` is open for writing anywhere on this machine.

    On a network file system the answer does not speak for the other machines; see `mounts`.

    Raises:
        OSError: `fd` is not open.
    """
    lease = hold(fd)
    if lease is Lease.FREE:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return lease


def hold(fd: int) -> Lease:
    """Ask the same; if it is free, opening it for writing waits from now on until `fd` is closed. For a moment only."""
    try:
        # Should a writer come while the lease is held, the kernel signals us.
        # SIGIO would end the process; SIGURG is ignored unless somebody asks for it.
        if not _harmless:
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        return Lease.WRITER if error.errno == errno.EAGAIN else Lease.UNKNOWN
    return Lease.FREE


def held(fd: int) -> bool:
    """Whether nobody has come to write since `hold`."""
    return fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK


def ignore_lease_breaks() -> None:
    """Make SIGIO harmless for the process. Main thread only.

    `writer_free` need not ask for SIGURG in its place then, and where it has, the kernel may fall back to SIGIO.

    Raises:
        ValueError: called from another thread.
    """
    global _harmless
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    _harmless = True
