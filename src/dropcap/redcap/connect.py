"""How a server is reached: whom TLS trusts, which certificate is shown, and through which proxy."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from io import BufferedReader
from pathlib import Path

import truststore
from urllib3.util import connection as tcp

from dropcap.reasons import Reason
from dropcap.secret import Secret


class ConnectError(Exception):
    """Something on the way to the server, and the server was sent nothing. `remedy` is empty if waiting is all there is to do."""

    def __init__(self, reason: Reason, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that connects to servers (CONNECT). `credentials` gives `user:password`, or raises `ConnectError`."""

    host: str
    port: int
    credentials: Callable[[], Secret] | None = None

    def __str__(self) -> str:
        return authority(self.host, self.port)


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Files are PEM. `ca_file` None: the system's trust store; `client_key_file` None: the key is in `client_cert_file`."""

    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    proxy: Proxy | None = None


DIRECT = ConnectionSettings()


def authority(host: str, port: int) -> str:
    """Host and port as HTTP writes them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_PEM = "put {} there, in PEM (text that begins with -----BEGIN {}-----)"


class Trust:
    """The TLS settings of one way. Thread-safe."""

    def __init__(self, connection: ConnectionSettings) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._fingerprint: tuple[tuple[int, int, int], ...] = ()

    def context(self) -> ssl.SSLContext:
        """The settings as the files are now. Raises `ConnectError` if one of them cannot be used."""
        with self._lock:
            fingerprint = tuple(_fingerprint(key, path) for key, path in _files(self._connection))
            if self._context is None or fingerprint != self._fingerprint:
                self._context, self._fingerprint = _context(self._connection), fingerprint
            return self._context


def _files(connection: ConnectionSettings) -> list[tuple[str, Path]]:
    named = (
        ("ca_file", connection.ca_file),
        ("client_cert_file", connection.client_cert_file),
        ("client_key_file", connection.client_key_file),
    )
    return [(key, path) for key, path in named if path is not None]


def _fingerprint(key: str, path: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(path)
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise ConnectError(Reason.CERTIFICATE, f"{key}: there is no {path}", "correct the path") from None
    except OSError as error:
        message = f"{key}: {path} cannot be read ({error.strerror})"
        raise ConnectError(Reason.CERTIFICATE, message, "let dropcap's user read it") from None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _context(connection: ConnectionSettings) -> ssl.SSLContext:
    context: ssl.SSLContext
    if connection.ca_file is None:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        try:
            context = ssl.create_default_context(cafile=str(connection.ca_file))
        except (OSError, ssl.SSLError) as error:
            message = f"ca_file: {connection.ca_file} cannot be used ({_said(error)})"
            raise ConnectError(Reason.CERTIFICATE, message, _PEM.format("the authority's certificate", "CERTIFICATE")) from None
    if connection.client_cert_file is not None:
        _show(context, connection.client_cert_file, connection.client_key_file)
    return context


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    asked = False

    def no_password() -> str:  # else OpenSSL asks at the terminal for that of an encrypted key
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(certificate, key, no_password)
    except (OSError, ssl.SSLError, ValueError) as error:
        where = key or certificate
        if asked:
            message = f"the key in {where} is encrypted, and nobody is there to enter its password"
            raise ConnectError(
                Reason.CERTIFICATE, message, f"write it without one, with mode 0600: openssl pkey -in {where} -out NEW"
            ) from None
        both = f"client_cert_file: {certificate} and its key" + (f" in {key}" if key else "")
        if "MISMATCH" in (getattr(error, "reason", None) or ""):
            message, remedy = f"{both} do not belong together", "name the key that the certificate was made for"
        else:
            message = f"{both} cannot be used ({_said(error)})"
            remedy = _PEM.format("the certificate", "CERTIFICATE") + ", and its key there or in `client_key_file`"
        raise ConnectError(Reason.CERTIFICATE, message, remedy) from None


def _said(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or "it holds none"


#: A longer head is refused, as is a longer line: those of real servers and proxies have a few hundred bytes.
MOST = 64 * 1024


class HeadReadingResponse(http.client.HTTPResponse):
    """http.client's response, whose bodies it goes on to read, with a head of our reading."""

    fp: BufferedReader

    def begin(self) -> None:
        """Read the head. Raises http.client.HTTPException if it is none, or not whole."""
        if self.headers is not None:
            return
        while True:
            lines = self._lines()
            version, status, reason = _status(lines[0])
            if status != http.client.CONTINUE:
                break
        self.code = self.status = status
        self.reason = reason
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = fields(lines[1:])
        self._frame()

    def _frame(self) -> None:
        """Where the body ends, and whether the connection is good for another request."""
        self.chunked = (self.headers.get("transfer-encoding") or "").lower() == "chunked"
        self.chunk_left = None
        self.length = None
        said = (self.headers.get("content-length") or "").strip()
        if said.isascii() and said.isdigit() and not self.chunked:
            self.length = int(said)
        if self.status in (http.client.NO_CONTENT, http.client.NOT_MODIFIED) or self.status < 200:
            self.length = 0
        connection = (self.headers.get("connection") or "").lower()
        kept = "close" not in connection if self.version == 11 else "keep-alive" in connection
        self.will_close = not kept or (not self.chunked and self.length is None)

    def _lines(self) -> list[str]:
        """The lines up to the empty one that ends a head, without their ends."""
        lines: list[str] = []
        left = MOST
        while line := self.fp.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise http.client.LineTooLong("reply's head")
            if not line.endswith(b"\n"):
                break
            text = line.decode("iso-8859-1").rstrip("\r\n")
            if text:
                lines.append(text)
            elif lines:
                return lines
        if not lines and not line:
            raise http.client.RemoteDisconnected("the server closed the connection without a reply")
        raise http.client.BadStatusLine("the reply broke off in its head")


def _status(line: str) -> tuple[str, int, str]:
    version, _, rest = line.partition(" ")
    code, _, reason = rest.strip().partition(" ")
    if not version.startswith(("HTTP/1.", "HTTP/0.9")) or len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise http.client.BadStatusLine(line)
    return version, int(code), reason.strip()


def fields(lines: list[str]) -> http.client.HTTPMessage:
    """The header fields; a line that is none says nothing, one that begins with a space goes on with the one before it."""
    found: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.partition(":")
        if line[0] in " \t":
            if found:
                found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        elif colon and name:
            found.append((name.rstrip(), value.strip()))
    message = http.client.HTTPMessage()
    for name, value in found:
        message.set_raw(name, value)
    return message


#: Seconds for which a user and password that the proxy has refused are not shown to it again: it may lock the account.
HELD_BACK = 900.0
#: 407; tinyproxy says 401 to a wrong password.
_WHO_ARE_YOU = frozenset({HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, HTTPStatus.UNAUTHORIZED})
_LONGEST_HEAD = 16 * 1024
_SCHEMES = ("Basic", "Digest", "Negotiate", "NTLM", "Kerberos", "Bearer")


class Tunnel:
    """Opens connections to servers through one proxy. Thread-safe."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._showing = threading.Lock()  # held while the proxy says for the first time what it makes of the credentials
        self._accepted: Secret | None = None
        self._refused: tuple[Secret, float] | None = None

    def reach(self, timeout: float, options: object) -> socket.socket:
        """A connection to the proxy itself. Raises `ConnectError`."""
        proxy = self._proxy
        try:
            return tcp.create_connection((proxy.host, proxy.port), timeout, socket_options=options)  # type: ignore[arg-type]
        except TimeoutError:
            said = f"it did not answer within {timeout:g} s"
        except (OSError, UnicodeError) as error:  # gaierror among them
            said = getattr(error, "strerror", None) or str(error)
        remedy = "see that the proxy runs and that `proxy` names it; dropcap asks again by itself"
        raise ConnectError(Reason.UNREACHABLE, f"no connection to the proxy {proxy}: {said}", remedy)

    def open(self, sock: socket.socket, host: str, port: int, timeout: float) -> None:
        """Have the proxy connect to a server, within `timeout` seconds. Raises `ConnectError`."""
        server = authority(host, port)
        if self._proxy.credentials is None:
            self._judge(server, *self._ask(sock, server, None, timeout), shown=False)
            return
        credentials = self._proxy.credentials()
        with contextlib.nullcontext() if credentials == self._accepted else self._showing:
            if self._was_refused(credentials):
                raise self._refuses_credentials()
            status, headers = self._ask(sock, server, credentials, timeout)
            if status in _WHO_ARE_YOU:
                self._refused, self._accepted = (credentials, time.monotonic()), None
            else:
                self._accepted = credentials
        self._judge(server, status, headers, shown=True)

    def _was_refused(self, credentials: Secret) -> bool:
        if self._refused is None:
            return False
        shown, when = self._refused
        return shown == credentials and time.monotonic() - when < HELD_BACK

    def _ask(
        self, sock: socket.socket, server: str, credentials: Secret | None, timeout: float
    ) -> tuple[int, http.client.HTTPMessage]:
        lines = [f"CONNECT {server} HTTP/1.1", f"Host: {server}"]
        if credentials is not None:
            lines.append("Proxy-Authorization: Basic " + base64.b64encode(credentials.reveal().encode()).decode())
        try:
            sock.settimeout(timeout)
            sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            head = self._head(sock, time.monotonic() + timeout)
        except TimeoutError:
            message = f"the proxy {self._proxy} did not open the way to {server} within {timeout:g} s"
            raise ConnectError(Reason.UNREACHABLE, message) from None
        except OSError as error:
            message = f"the connection to the proxy {self._proxy} was lost: {error.strerror or error}"
            raise ConnectError(Reason.UNREACHABLE, message) from None
        lines = head.splitlines()
        found = re.match(r"HTTP/1\.[0-9] +([1-5][0-9][0-9])(?: |$)", lines[0]) if lines else None
        if found is None:
            raise ConnectError(
                Reason.PROXY, f"what answers at {self._proxy} is not an HTTP proxy", "correct `proxy`: its host and its port"
            )
        return int(found[1]), fields([line for line in lines[1:] if line])

    def _head(self, sock: socket.socket, end: float) -> str:
        """The head of the answer and not a byte more: what follows is the server's. Empty if it is none."""
        head = bytearray()
        while not head.endswith((b"\r\n\r\n", b"\n\n")):
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
            byte = sock.recv(1)
            if not byte:
                raise OSError("it closed the connection without an answer")
            head += byte
            if len(head) > _LONGEST_HEAD or (len(head) == 5 and head != b"HTTP/"):
                return ""
        return head.decode("iso-8859-1")

    def _judge(self, server: str, status: int, headers: http.client.HTTPMessage, *, shown: bool) -> None:
        """The proxy's own answer. Nothing of what it says is passed on to people, since it may repeat what it was shown."""
        if 200 <= status < 300:
            return
        proxy, said = self._proxy, f"{status}{_phrase(status)}"
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED or (status in _WHO_ARE_YOU and shown):
            offered = _schemes(headers)
            if offered and "Basic" not in offered:
                message = f"the proxy {proxy} accepts no user and password, only {', '.join(offered)} ({status})"
                raise ConnectError(
                    Reason.PROXY, message, "ask the proxy's administrator to let this machine through without a log-in"
                )
            if shown:
                raise self._refuses_credentials()
            remedy = "write user:password into a file of mode 0600 and name it in `proxy_credentials_file`"
            raise ConnectError(Reason.PROXY, f"the proxy {proxy} asks for a user and a password ({status})", remedy)
        if status >= 500 and status not in (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED):
            remedy = "check `url`; if it is right, ask the proxy's administrator; dropcap asks again by itself"
            raise ConnectError(Reason.UNREACHABLE, f"the proxy {proxy} does not reach {server} ({said})", remedy)
        remedy = f"ask the proxy's administrator to allow CONNECT to {server} from this machine, or correct `proxy`"
        raise ConnectError(Reason.PROXY, f"the proxy {proxy} does not let dropcap through to {server} ({said})", remedy)

    def _refuses_credentials(self) -> ConnectError:
        message = f"the proxy {self._proxy} refuses the user and password of `proxy_credentials_file`"
        remedy = (
            "correct the file, which is read again within a minute; what was refused is tried again after 15 minutes only, "
            "so that the account is not locked"
        )
        return ConnectError(Reason.PROXY, message, remedy)


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return f" {HTTPStatus(status).phrase}"
    return ""


def _schemes(headers: http.client.HTTPMessage) -> list[str]:
    asked = ", ".join(headers.get_all("proxy-authenticate") or []).lower()
    return [scheme for scheme in _SCHEMES if re.search(rf"(?:^|, *){scheme.lower()}\b", asked)]
