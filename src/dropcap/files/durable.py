"""fsync, where a file system may not know it."""

from __future__ import annotations

import errno
import os

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
