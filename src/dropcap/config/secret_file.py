"""Files that hold a secret and nothing else, read each time it is needed: a renewed one is taken up by itself."""

from __future__ import annotations

import os
import stat

from dropcap.display import shown

_LONGEST = 4096  # bytes; no secret of ours has more
_OTHERS = 0o007


class SecretError(Exception):
    """A secret that cannot be had: what happened, and what to do. Never holds what was read."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


def read_secret(path: str, what: str, absent: str, *, private: bool = True) -> str:
    """The text of the file, which people call `what`; `absent` says what to do if there is none.

    Raises SecretError if it is missing, unreadable, no regular file, or, where it has to be `private`, open to everybody on this
    machine.
    """
    try:
        # Not blocking: a FIFO in the file's place must not stop the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise SecretError(f"the {what} {shown(path)} does not exist", absent) from None
    except (OSError, ValueError) as error:
        raise SecretError(
            f"the {what} {shown(path)} cannot be read: {_reason(error)}", "let the account that dropcap runs as read it"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SecretError(f"{shown(path)} is not a file", f"name the {what}")
        if private and status.st_mode & _OTHERS:
            raise SecretError(
                f"everybody on this machine can get at the {what} {shown(path)} (mode {status.st_mode & 0o7777:04o})",
                f"run chmod 0600 {shown(path)}, and renew what it holds if others may have read it",
            )
        content = os.read(descriptor, _LONGEST)
    except OSError as error:
        raise SecretError(f"the {what} {shown(path)} cannot be read: {_reason(error)}", "check its disk") from None
    finally:
        os.close(descriptor)
    return content.decode("utf-8-sig", errors="replace")  # editors on Windows put a mark at the beginning


def _reason(error: Exception) -> str:
    return error.strerror or "error" if isinstance(error, OSError) else "no such path is possible"
