"""Opening a file that must be a regular one, whatever somebody has put under its name."""

from __future__ import annotations

import errno
import os
import stat

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
