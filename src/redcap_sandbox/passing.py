"""One exchange on its way through the recorder: to the real server and back, byte for byte, and what it was like."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import time
from dataclasses import dataclass, field

from redcap_sandbox.exchange import SLICE, ConnectionGoneError, Exchange
from redcap_sandbox.multipart import Limits, Post, parse_body
from redcap_sandbox.store import Upload
from redcap_sandbox.upstream import ProxyRefusedError, Upstream

#: So much of a reply is looked at; of a larger one only the length is told.
LOOKED_AT = 16 * 1024**2
#: What concerns one connection, and is written anew for the next.
_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"})


class Measured(Upload):
    """A file on its way through: counted and hashed, kept nowhere."""

    def __init__(self) -> None:
        super().__init__(None)
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes | memoryview) -> None:
        self._digest.update(chunk)
        self.size += len(chunk)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@dataclass(slots=True)
class Answer:
    """The real server's answer. `head` is a part of it, for the shape; `complete`: whether it came whole."""

    status: int
    protocol: int
    headers: list[tuple[str, str]]
    seconds: float
    chunked: bool
    announced: int | None
    length: int = 0
    head: bytearray = field(default_factory=bytearray)
    sha256: str = ""
    complete: bool = False

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")


class Passing:
    """An exchange that is handed on. `failed` names what kept it from an answer."""

    def __init__(self, exchange: Exchange, upstream: Upstream) -> None:
        self.exchange = exchange
        self.upstream = upstream
        self.post = Post()
        self.answer: Answer | None = None
        self.failed = ""
        self.sent = 0
        self._began = time.monotonic()
        self._broken = False

    def pass_on(self) -> None:
        """Hand the request on and the answer back. Raises ConnectionGoneError where the connection ends without one."""
        connection: http.client.HTTPConnection | None = None
        try:
            connection = self.upstream.connect()
            self._ask(connection)
            self._answer(connection)
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a header that cannot be one
            self.failed = self.failed or _failure(error)
            self.exchange.reset()
        finally:
            self.post.discard()
            if connection is not None:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        exchange, upstream = self.exchange, self.upstream
        target = upstream.path + (f"?{exchange.query}" if exchange.query else "")
        connection.putrequest(exchange.method, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", upstream.host if upstream.port in (80, 443) else f"{upstream.host}:{upstream.port}")
        for name, value in exchange.headers():
            if name.lower() not in _HOP | {"host", "expect"}:
                connection.putheader(name, value.encode("latin-1", "replace"))
        chunked = exchange.length is None
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("Connection", "close")
        connection.endheaders()
        if exchange.method == "POST" or exchange.length:
            self.post = parse_body(
                exchange.content_type, exchange.length, lambda size: self._hand_on(connection, size), Limits(), Measured
            )
        if exchange.body.cut_off:
            self.failed = "client-gone"
            raise ConnectionGoneError
        if chunked and not self._broken:
            connection.send(b"0\r\n\r\n")

    def _hand_on(self, connection: http.client.HTTPConnection, size: int) -> bytes:
        """A piece of the body, which has gone to the server too; none once the server takes no more."""
        if self._broken:
            return b""
        chunk = self.exchange.body.read(size)
        if not chunk:
            return b""
        try:
            connection.send(b"%x\r\n%s\r\n" % (len(chunk), chunk) if self.exchange.length is None else chunk)
        except OSError:  # it may have answered all the same
            self._broken = True
            return b""
        self.sent += len(chunk)
        return chunk

    def _answer(self, connection: http.client.HTTPConnection) -> None:
        exchange = self.exchange
        reply = connection.getresponse()
        answer = self.answer = Answer(
            reply.status, reply.version, reply.getheaders(), time.monotonic() - self._began, bool(reply.chunked), reply.length
        )
        if self._broken or answer.protocol == 10 or (not answer.chunked and answer.announced is None):
            exchange.close()
        exchange.send_bytes(_head(reply.status, reply.reason, answer, exchange.closes))
        digest = hashlib.sha256()
        while chunk := reply.read1(SLICE):
            digest.update(chunk)
            answer.length += len(chunk)
            answer.head += chunk[: LOOKED_AT - len(answer.head)]
            exchange.send_bytes(b"%x\r\n%s\r\n" % (len(chunk), chunk) if answer.chunked else chunk)
        answer.sha256 = digest.hexdigest()
        if answer.announced is not None and answer.length < answer.announced and exchange.method != "HEAD":
            raise http.client.IncompleteRead(b"")
        answer.complete = True
        if answer.chunked:
            exchange.send_bytes(b"0\r\n\r\n")


def _head(status: int, reason: str, answer: Answer, closes: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name}: {value}" for name, value in answer.headers if name.lower() not in _HOP]
    if answer.chunked:
        lines.append("Transfer-Encoding: chunked")
    if closes:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _failure(error: Exception) -> str:
    kinds: tuple[tuple[type[Exception], str], ...] = (
        (ProxyRefusedError, "proxy"),
        (ssl.SSLCertVerificationError, "certificate"),
        (ssl.SSLError, "tls"),
        (ConnectionRefusedError, "refused"),
        (ConnectionError, "reset"),
        (TimeoutError, "timed-out"),
        (http.client.IncompleteRead, "cut"),
        (http.client.HTTPException, "no-http"),
    )
    found = next((word for kind, word in kinds if isinstance(error, kind)), "")
    return found or ("name" if type(error).__name__ == "gaierror" else "unreachable")
