"""Where a project's token is read from, each time it is needed: a renewed token is taken up by itself."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import Literal

from dropcap.display import shown
from dropcap.secret import Token

_TOKEN = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)
_SUPER_TOKEN = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_LONGEST = 4096  # bytes; no token file has more
_OTHERS = 0o007


class TokenError(Exception):
    """A token that cannot be had: what happened, and what to do. Never holds what was read."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class TokenSource:
    """A token's place: the path of a file, the name of a systemd credential, or of an environment variable."""

    kind: Literal["file", "credential", "env"]
    where: str

    def read(self) -> Token:
        """The token, read afresh.

        Raises TokenError if it is missing, unreadable, open to everybody on this machine, or no token of a project.
        """
        if self.kind == "file":
            text = _file(self.where, private=True)
        elif self.kind == "credential":
            text = _credential(self.where)
        else:
            text = os.environ.get(self.where, "")
            if not text:
                raise TokenError(f"the environment variable {shown(self.where)} is not set", "set it, or use token_file instead")
        return _token(text, str(self))

    def __str__(self) -> str:
        place = {"file": "token file", "credential": "credential", "env": "environment variable"}[self.kind]
        return f"the {place} {shown(self.where)}"


def _credential(name: str) -> str:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise TokenError(
            f"there is no credential {shown(name)}: CREDENTIALS_DIRECTORY is not set",
            f"start dropcap by systemd with LoadCredential={shown(name)}:PATH, or use token_file",
        )
    # systemd guards its folder; under some versions the file's own mode says nothing.
    return _file(os.path.join(folder, name), private=False)


def _file(path: str, private: bool) -> str:
    try:
        # Not blocking: a FIFO in the file's place must not stop the daemon.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise TokenError(
            f"the token file {shown(path)} does not exist", "write the project's API token into it, with mode 0600"
        ) from None
    except (OSError, ValueError) as error:
        raise TokenError(
            f"the token file {shown(path)} cannot be read: {_reason(error)}", "let the account that dropcap runs as read it"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise TokenError(f"{shown(path)} is not a file", "name the file that holds the token")
        if private and status.st_mode & _OTHERS:
            raise TokenError(
                f"everybody on this machine can get at the token file {shown(path)} (mode {status.st_mode & 0o7777:04o})",
                f"run chmod 0600 {shown(path)}, and renew the token in REDCap if others may have read it",
            )
        content = os.read(descriptor, _LONGEST)
    except OSError as error:
        raise TokenError(f"the token file {shown(path)} cannot be read: {_reason(error)}", "check its disk") from None
    finally:
        os.close(descriptor)
    return content.decode("utf-8-sig", errors="replace")  # editors on Windows put a mark at the beginning


def _reason(error: Exception) -> str:
    return error.strerror or "error" if isinstance(error, OSError) else "no such path is possible"


def _token(text: str, place: str) -> Token:
    text = text.strip()
    if _TOKEN.fullmatch(text):
        return Token(text)
    if not text:
        raise TokenError(f"{place} is empty", "write the project's API token into it")
    if _SUPER_TOKEN.fullmatch(text):
        raise TokenError(
            f"{place} holds a super token (64 characters), which creates projects and imports no files",
            "put the API token of one project there (32 characters), and keep the super token away from dropcap",
        )
    raise TokenError(
        f"{place} does not hold a REDCap API token: that is 32 characters 0-9 A-F and nothing else, this has {len(text)}",
        "copy the token again from the project's API page",
    )
