"""One HTTP request and its reply at the level of the socket, where replies can be cut off and connections reset."""

from __future__ import annotations

import socket
import struct
import threading
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

from redcap_sandbox.call import Reply

SLICE = 256 * 1024
#: PHP behind Apache sends chunks of up to so many bytes.
CHUNK = 8 * 1024


class ConnectionGoneError(Exception):
    """The client went away, or a fault ended the connection: nothing more can be sent."""


class Body:
    """The request's body. What `peek` has shown is read again; `cut_off` tells whether the client sent less than announced."""

    def __init__(self, rfile: Any, length: int | None, stopping: threading.Event) -> None:
        self._rfile = rfile
        self._length = length
        self._stopping = stopping
        self._ahead = b""
        self.bytes_per_second = 0  # 0: as fast as they come
        self.size = 0
        self.cut_off = False

    def peek(self, size: int) -> bytes:
        if not self._ahead:
            self._ahead = self._take(size)
        return self._ahead

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        if self.bytes_per_second:
            size = min(size, 1024)
        if self._ahead:
            chunk, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            chunk = self._take(size)
        if self.bytes_per_second and chunk:
            self._stopping.wait(len(chunk) / self.bytes_per_second)
        return chunk

    def drain(self) -> None:
        while self.read(SLICE):
            pass

    def _take(self, size: int) -> bytes:
        if self._length is not None:
            size = min(size, self._length - self.size)
            if size <= 0:
                return b""
        try:
            chunk = bytes(self._rfile.read(size))
        except (OSError, ValueError):  # reset, timed out, or chunks that are none
            chunk = b""
            self.cut_off = True
        self.size += len(chunk)
        if self._length is not None and not chunk:
            self.cut_off = True
        return chunk


class Exchange:
    """What the sandbox does with one request of cheroot's."""

    def __init__(self, request: Any, stopping: threading.Event) -> None:
        self._request = request
        self._stopping = stopping
        request.sent_headers = True  # everything that is sent is sent here
        self.method: str = request.method.decode("latin-1")
        self.path: str = request.path.decode("latin-1")
        self.query: str = (request.qs or b"").decode("latin-1")
        self.address: str = request.conn.remote_addr or ""
        self.content_type = self._header(b"Content-Type")
        chunked = bool(request.chunked_read)
        self.length = None if chunked else int(self._header(b"Content-Length") or 0)
        self.body = Body(request.rfile, self.length, stopping)
        if request.response_protocol == "HTTP/1.0":
            request.close_connection = True

    def _header(self, name: bytes) -> str:
        value: bytes = self._request.inheaders.get(name, b"")
        return value.decode("utf-8", "replace")

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the sandbox runs."""
        self._stopping.wait(seconds)

    @property
    def _socket(self) -> socket.socket:
        found: socket.socket = self._request.conn.socket
        return found

    def head(self, reply: Reply, length: int | None = None, *, chunked: bool = False) -> bytes:
        """The reply's head; `length` in bytes, where it is not to be the body's."""
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {reply.length if length is None else length}"
        try:
            phrase = HTTPStatus(reply.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [
            f"HTTP/1.1 {reply.status} {phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Type: {reply.content_type}",
            *(f"{name}: {value}" for name, value in reply.headers),
            framing,
        ]
        if self._request.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")

    def send(self, reply: Reply) -> None:
        """Send the reply. Raises ConnectionGoneError if the client does not take it."""
        head = self.head(reply)
        if self.method == "HEAD":
            self.send_bytes(head)
        elif reply.stream is None:
            self.send_bytes(head + reply.body)
        else:
            self.send_bytes(head)
            with reply.stream as stream:
                while chunk := stream.read(SLICE):
                    self.send_bytes(chunk)

    def send_bytes(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            self._request.close_connection = True
            raise ConnectionGoneError from error

    def send_chunked(self, reply: Reply, body: bytes, *, whole: bool = True) -> None:
        """Send the body in chunks, or, if not `whole`, half of the one chunk that was announced."""
        head = self.head(reply, chunked=True)
        if not whole:
            self.close()
            self.send_bytes(head + b"%x\r\n" % len(body) + body[: len(body) // 2])
            return
        chunks = (body[start : start + CHUNK] for start in range(0, len(body), CHUNK))
        self.send_bytes(head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n")

    def send_slowly(self, data: bytes, bytes_per_second: int) -> None:
        """Send in about ten slices a second, or byte by byte where that is too many."""
        step = max(1, bytes_per_second // 10)
        for start in range(0, len(data), step):
            if self._stopping.is_set():
                raise ConnectionGoneError
            self.send_bytes(data[start : start + step])
            self.wait(step / bytes_per_second)

    def close(self) -> None:
        """Let cheroot close the connection in order (FIN) after this exchange."""
        self._request.close_connection = True

    def close_lingering(self, seconds: float) -> None:
        """End our half, take what still comes for so long, then close."""
        self.close()
        connection = self._socket
        try:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(max(seconds, 0.001))
            while seconds and connection.recv(SLICE):
                pass
        except OSError:
            pass

    def reset(self) -> None:
        """End the connection at once with RST."""
        self.close()
        connection = self._socket
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._request.conn.linger = True  # keeps cheroot from a FIN before the RST
            connection.close()
        except OSError:
            pass
        raise ConnectionGoneError
