"""Where a project's token is read from, each time it is needed: a renewed token is taken up by itself."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

from dropcap.config.secret_file import SecretError, read_secret
from dropcap.display import shown
from dropcap.secret import Token

_TOKEN = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)
#: What systemd hands to the running service, for commands that people run beside it: root and its user may read it.
SERVICE_CREDENTIALS = "/run/credentials/dropcap.service"
_SUPER_TOKEN = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)


class TokenError(SecretError):
    """A token that cannot be had."""


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
    try:
        path = credential_path(name)
    except SecretError as error:
        raise TokenError(error.message, error.remedy) from None
    # systemd guards its folder; under some versions the file's own mode says nothing.
    return _file(path, private=False)


def credential_path(name: str) -> str:
    """Where systemd has put a credential. Raises SecretError if it has put none anywhere."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder and os.access(os.path.join(SERVICE_CREDENTIALS, name), os.R_OK):
        folder = SERVICE_CREDENTIALS
    if not folder:
        raise SecretError(
            f"there is no credential {shown(name)}: CREDENTIALS_DIRECTORY is not set",
            f"start dropcap by systemd with LoadCredential={shown(name)}:PATH, then run this as dropcap's user or as root; "
            "or use a file with mode 0600",
        )
    return os.path.join(folder, name)


def _file(path: str, private: bool) -> str:
    try:
        return read_secret(path, "token file", "write the project's API token into it, with mode 0600", private=private)
    except SecretError as error:
        raise TokenError(error.message, error.remedy) from None


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
