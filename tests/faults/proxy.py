"""A small TCP proxy between dropcap and the sandbox that spoils chosen requests, as a sick network does."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "reset_before_body",
    "reset_during_body",
    "reset_after_body",
    "cut_head",
    "cut_body",
    "drip",
    "delay",
    "early_413",
    "early_503",
    "gateway_502",
    "black_hole",
    "black_hole_after_body",
]
Action = Literal["import", "export", ""]

_FIRST = 8 * 1024
_CHUNK = 64 * 1024
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: How a request says what it is for, in a form or in a multipart body.
_ACTIONS: dict[Action, tuple[bytes, bytes]] = {
    "import": (b'name="action"\r\n\r\nimport', b"action=import"),
    "export": (b'name="action"\r\n\r\nexport', b"action=export"),
}


@dataclass
class Trouble:
    """One kind of trouble for the next `times` requests of an action (any, if empty)."""

    kind: Kind
    action: Action = ""
    times: int = 1
    struck: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Listens on loopback; what is not in trouble goes through as it is."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._lock = threading.Lock()
        self._troubles: list[Trouble] = []
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"

    def trouble(self, kind: Kind, action: Action = "", times: int = 1) -> Trouble:
        """Spoil the next requests of an action."""
        made = Trouble(kind, action, times)
        with self._lock:
            self._troubles.append(made)
        return made

    def close(self) -> None:
        """Break off everything."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    # -- one connection

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.ExitStack() as stack:
            server = socket.create_connection(("127.0.0.1", self._upstream))
            for sock in (client, server):
                stack.callback(self._forget, sock)
                with self._lock:
                    self._open.add(sock)
            rest = b""
            while True:
                rest = self._one(client, server, rest)

    def _forget(self, sock: socket.socket) -> None:
        with self._lock:
            self._open.discard(sock)
        sock.close()

    def _one(self, client: socket.socket, server: socket.socket, rest: bytes) -> bytes:
        """Pass one request and its reply; what came of the next request. Raises EOFError or OSError at the connection's end."""
        head, begin = _head(client, rest)
        length = _length(head)
        while len(begin) < min(length, _FIRST):
            begin += _some(client)
        trouble = self._strike(begin)
        kind = trouble.kind if trouble else None
        match kind:
            case "reset_before_body":
                raise _reset(client)
            case "early_413" | "early_503":
                client.sendall(_page("413 Too Large" if kind == "early_413" else "503 Unavailable"))
                raise EOFError
            case "black_hole":
                self._closing.wait()
                raise EOFError
        wanted = length // 2 if kind == "reset_during_body" else length
        server.sendall(head + begin[:wanted])
        passed = len(begin)
        while passed < wanted:
            data = client.recv(min(_CHUNK, wanted - passed))
            if not data:
                raise EOFError
            server.sendall(data)
            passed += len(data)
        if kind == "reset_during_body":
            raise _reset(client)
        reply_head, reply = _head(server, b"")
        while len(reply) < _length(reply_head):
            reply += _some(server)
        self._answer(client, kind, reply_head, reply)
        return begin[length:]

    def _answer(self, client: socket.socket, kind: Kind | None, head: bytes, body: bytes) -> None:
        match kind:
            case "reset_after_body":
                raise _reset(client)
            case "black_hole_after_body":
                self._closing.wait()
                raise EOFError
            case "cut_head":
                client.sendall(head[: len(head) // 2])
                raise EOFError
            case "cut_body":
                client.sendall((head + body)[: -max(1, len(body) // 2)])
                raise EOFError
            case "gateway_502":
                client.sendall(_page("502 Bad Gateway"))
                raise EOFError
            case "drip":
                for byte in head + body:
                    client.sendall(bytes((byte,)))
                    self._closing.wait(0.002)
            case "delay":
                self._closing.wait(0.7)
                client.sendall(head + body)
            case _:
                client.sendall(head + body)

    def _strike(self, begin: bytes) -> Trouble | None:
        with self._lock:
            for trouble in self._troubles:
                if trouble.action and not any(mark in begin for mark in _ACTIONS[trouble.action]):
                    continue
                trouble.times -= 1
                if not trouble.times:
                    self._troubles.remove(trouble)
                trouble.struck.set()
                return trouble
        return None


@contextlib.contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """A proxy before the server on `port`."""
    made = Proxy(port)
    try:
        yield made
    finally:
        made.close()


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(_CHUNK)
    if not data:
        raise EOFError
    return data


def _head(sock: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
    while b"\r\n\r\n" not in rest:
        rest += _some(sock)
    head, _, body = rest.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


def _page(status: str) -> bytes:
    body = f"<html><body><h1>{status}</h1></body></html>".encode()
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )


def _reset(sock: socket.socket) -> EOFError:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return EOFError()
