"""A server of scripted bytes: each accepted connection is given to the next script, the last one serves all that follow."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 0\r\n\r\n"


def reply(body: bytes | str, status: str = "200 OK", *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else body.encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@dataclass
class Request:
    head: bytes
    body: bytes
    complete: bool

    @property
    def headers(self) -> dict[str, str]:
        parsed = BytesParser().parsebytes(self.head.partition(b"\r\n")[2])
        return {key.lower(): str(value) for key, value in parsed.items()}

    def parts(self) -> dict[str, tuple[str, bytes]]:
        """Fields of a multipart body: name -> (Content-Disposition, bytes), in order."""
        boundary = b"--" + self.headers["content-type"].partition("boundary=")[2].encode()
        found: dict[str, tuple[str, bytes]] = {}
        assert self.body.endswith(b"\r\n" + boundary + b"--\r\n")
        for piece in self.body.split(boundary)[1:-1]:
            head, _, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            disposition = head.split(b"\r\n")[0].decode()
            found[disposition.split('name="', 1)[1].split('"', 1)[0]] = (disposition, value.removesuffix(b"\r\n"))
        return found


@dataclass
class Peer:
    """The server's end of one connection."""

    sock: socket.socket
    stop: threading.Event
    requests: list[Request]
    received: int = 0
    _buffer: bytes = b""

    def head(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def request(self, keep: bool = True) -> Request:
        """Read one request; its body is counted but thrown away unless `keep`."""
        head = self.head()
        wanted = int(Request(head, b"", False).headers.get("content-length", "0"))
        body, rest = self._buffer[:wanted], self._buffer[wanted:]
        got = len(body)
        kept = [body]
        self._buffer = rest
        while got < wanted:
            data = self.sock.recv(min(1 << 20, wanted - got))
            if not data:
                break
            got += len(data)
            if keep:
                kept.append(data)
        self.received = got
        request = Request(head, b"".join(kept), got == wanted)
        self.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, data: bytes = OK) -> None:
        self.request()
        self.send(data)

    def drip(self, data: bytes, every: float) -> None:
        """One byte at a time until the data, the connection or the test ends."""
        with contextlib.suppress(OSError):
            for index in range(len(data)):
                self.send(data[index : index + 1])
                if self.stop.wait(every):
                    return

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Peer], None]


def forever(data: bytes = OK) -> Script:
    """Answer every request of the connection with `data`."""

    def script(peer: Peer) -> None:
        while True:
            peer.answer(data)

    return script


def once(data: bytes) -> Script:
    """Answer one request with `data` and close."""
    return lambda peer: peer.answer(data)


@dataclass
class RawServer:
    scripts: list[Script]
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    #: Released whenever a connection's script has ended.
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._peers: list[socket.socket] = []
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://localhost:{self.port}/api/" if self.tls else self.plain_url

    @property
    def plain_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            script = self.scripts[min(self.connections, len(self.scripts) - 1)]
            self.connections += 1
            self._peers.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, script: Script) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                if self.tls is not None:
                    sock = self.tls.wrap_socket(sock, server_side=True)
                    self._peers.append(sock)
                script(Peer(sock, self.stop, self.requests))
        finally:
            sock.close()
            self.ended.release()

    def close(self) -> None:
        self.stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in self._peers:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(peer, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


@contextlib.contextmanager
def serving(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    server = RawServer(list(scripts), tls)
    try:
        yield server
    finally:
        server.close()
