"""A proxy's address, and the user and password that it asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from dropcap.config.secret_file import SecretError, read_secret
from dropcap.config.values import BadValueError, quote
from dropcap.display import shown
from dropcap.secret import Secret

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
