"""Where tokens, passwords and proxy credentials are read from, each time they are needed."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from dropcap.config.values import BadValueError, quote
from dropcap.display import shown
from dropcap.secret import Secret, Token

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


_TOKEN = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)
#: What systemd hands to the running service, for commands that people run beside it: root and its user may read it.
SERVICE_CREDENTIALS = "/run/credentials/dropcap.service"
_SUPER_TOKEN = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TokenSource:
    """A token's place: the path of a file, the name of a systemd credential, or of an environment variable."""

    kind: Literal["file", "credential", "env"]
    where: str

    def read(self) -> Token:
        """The token, read afresh.

        Raises SecretError if it is missing, unreadable, open to everybody on this machine, or no token of a project.
        """
        if self.kind == "env":
            text = os.environ.get(self.where, "")
            if not text:
                raise SecretError(f"the environment variable {shown(self.where)} is not set", "set it, or use token_file instead")
        else:
            path = self.where if self.kind == "file" else credential_path(self.where)
            absent = "write the project's API token into it, with mode 0600"
            # systemd guards its folder; under some versions the file's own mode says nothing.
            text = read_secret(path, "token file", absent, private=self.kind == "file")
        return _token(text, str(self))

    def __str__(self) -> str:
        place = {"file": "token file", "credential": "credential", "env": "environment variable"}[self.kind]
        return f"the {place} {shown(self.where)}"


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


def _token(text: str, place: str) -> Token:
    text = text.strip()
    if _TOKEN.fullmatch(text):
        return Token(text)
    if not text:
        raise SecretError(f"{place} is empty", "write the project's API token into it")
    if _SUPER_TOKEN.fullmatch(text):
        raise SecretError(
            f"{place} holds a super token (64 characters), which creates projects and imports no files",
            "put the API token of one project there (32 characters), and keep the super token away from dropcap",
        )
    raise SecretError(
        f"{place} does not hold a REDCap API token: that is 32 characters 0-9 A-F and nothing else, this has {len(text)}",
        "copy the token again from the project's API page",
    )


_FORM = "write it as http://proxy.example.org:3128"


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """Host (in lower case) and port of an HTTP proxy."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_address(text: str) -> ProxyAddress:
    """The reader of `proxy`."""
    url = text.strip()
    if "@" in url:  # not shown: it may hold a password
        raise BadValueError(
            "the address holds a user or a password",
            "write user:password into a file with mode 0600, and name that in proxy_credentials_file",
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        raise BadValueError(f"{quote(url)} is not the address of a proxy", _FORM) from None
    if parts.scheme in ("https", "socks", "socks4", "socks5", "socks5h"):
        raise BadValueError(f"{parts.scheme}:// proxies are not in this version", f"name an HTTP proxy: {_FORM}")
    if parts.scheme != "http" or not host or re.search(r"[\s\\]", url):
        raise BadValueError(f"{quote(url)} is not the address of a proxy", _FORM)
    if port is None or parts.path not in ("", "/") or "?" in url or "#" in url:
        raise BadValueError(f"{quote(url)} is not a proxy's host and port alone", _FORM)
    if port == 0:
        raise BadValueError("0 is not a port", _FORM)
    return ProxyAddress(host, port)


@dataclass(frozen=True, slots=True)
class ProxyCredentials:
    """The file that holds `user:password` for the proxy."""

    file: str

    def read(self) -> Secret:
        """`user:password`, read afresh. Raises SecretError."""
        absent = "write user:password for the proxy into it, with mode 0600"
        text = read_secret(self.file, "proxy_credentials_file", absent).strip("\r\n")
        user, colon, password = text.partition(":")
        if not (user and colon and password) or not text.isprintable():
            raise SecretError(
                f"the proxy_credentials_file {shown(self.file)} does not hold user:password in one line",
                "write the proxy's user, a colon and the password into it, and nothing else",
            )
        return Secret(text)
