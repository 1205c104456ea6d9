"""Does anybody have this file open for writing? The kernel knows: it grants a read lease only if nobody has."""

from __future__ import annotations

import errno
import fcntl
import signal
from enum import Enum

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
    """Ask the same; if it is free, whoever opens it for writing waits from now on until `fd` is closed. For a moment only."""
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
