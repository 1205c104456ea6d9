"""The real server that a recorder stands before, and the way to it: authorities, a certificate to show, a proxy."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

#: Seconds of silence after which the real server is given up.
TIMEOUT = 600.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Way:
    """The files and the proxy that lead to a server, as dropcap's keys of these names take them."""

    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    proxy: str | None = None
    proxy_credentials_file: Path | None = None


class ProxyRefusedError(OSError):
    """The proxy is not there, or does not let the connection through."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server's API. `proxy` is the host and port that is asked to connect, with `shown` in its request."""

    host: str
    port: int
    path: str
    context: ssl.SSLContext | None = None
    proxy: tuple[str, int] | None = None
    shown: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, address: str, way: Way) -> Upstream:
        """What an address and a way lead to. Raises ValueError for one that is none, or would show the token in clear text."""
        parts = urlsplit(address)
        secure = parts.scheme == "https"
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("--upstream is no address of an API; write https://redcap.example.org/api/")
        if not secure and parts.hostname not in _LOOPBACK:
            raise ValueError("--upstream is plain http: the token would cross the network in clear text; use https")
        if not secure and way != Way():
            raise ValueError("certificates and a proxy are for an --upstream with https")
        port = parts.port or (443 if secure else 80)
        context = _context(way) if secure else None
        return cls(parts.hostname, port, parts.path or "/", context, _proxy(way), _credentials(way))

    def connect(self) -> http.client.HTTPConnection:
        """A connection to it that stands. Raises OSError, `ProxyRefusedError` where the proxy is at fault."""
        if self.context is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
            connection.connect()
            return connection
        if self.proxy is None:
            secure = http.client.HTTPSConnection(self.host, self.port, timeout=TIMEOUT, context=self.context)
            secure.connect()
            return secure
        secure = http.client.HTTPSConnection(*self.proxy, timeout=TIMEOUT, context=self.context)
        secure.set_tunnel(self.host, self.port, dict(self.shown))
        try:
            secure.connect()
        except ssl.SSLError:  # so the tunnel stood
            raise
        except (OSError, http.client.HTTPException) as error:
            raise ProxyRefusedError(str(error)) from error
        return secure


def _context(way: Way) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(way.ca_file) if way.ca_file else None)
    except OSError as error:  # ssl's own errors are some too
        raise ValueError(f"--ca-file {way.ca_file} cannot be used: {error.strerror or error}") from error
    if way.client_cert_file is None:
        if way.client_key_file is not None:
            raise ValueError("--client-key-file goes with --client-cert-file; name the certificate too")
        return context
    try:
        context.load_cert_chain(way.client_cert_file, way.client_key_file, password=lambda: "")  # nobody is there to type one
    except OSError as error:
        files = " and ".join(str(file) for file in (way.client_cert_file, way.client_key_file) if file)
        raise ValueError(
            f"{files} cannot be used as certificate and key (PEM, no password): {error.strerror or error}"
        ) from error
    return context


def _proxy(way: Way) -> tuple[str, int] | None:
    if way.proxy is None:
        return None
    try:
        parts = urlsplit(way.proxy)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.scheme != "http" or parts.username or parts.path not in ("", "/"):
        raise ValueError("--proxy is no address of a proxy; write http://proxy.example.org:3128")
    return host, port


def _credentials(way: Way) -> dict[str, str]:
    if way.proxy_credentials_file is None:
        return {}
    if way.proxy is None:
        raise ValueError("--proxy-credentials-file goes with --proxy; name the proxy too")
    text = way.proxy_credentials_file.read_text(encoding="utf-8-sig").strip()
    if ":" not in text or len(text.splitlines()) != 1:
        raise ValueError(f"{way.proxy_credentials_file} does not hold user:password in one line")
    return {"Proxy-Authorization": "Basic " + base64.b64encode(text.encode()).decode()}
