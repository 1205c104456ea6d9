"""A server that answers like REDCap and keeps nothing: what the uploaders are measured against.

`sink.py [--latency SECONDS] [--hash] [--tls FILE]` prints its port and serves 127.0.0.1 until it is ended. A file import gets
an empty 200, as late as `latency` says; what a client asks about the project gets the answers of a small classic project. With
`--hash` it hashes what it gets: a receiver that does something with the bytes. With `--tls` it speaks TLS, by the certificate and
key in FILE.
`GET /received` gives [file name, size, monotonic time of the first byte and of the last] of every import since the last asking.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import socket
import ssl
import threading
import time
from urllib.parse import parse_qs

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect: *100-continue", re.IGNORECASE)
_FILE = re.compile(rb'filename="([^"]*)"')
#: Of a body only the beginning is kept, where the fields stand. Bytes.
_KEPT = 8192

_FIELDS = [
    {"field_name": "record_id", "form_name": "base", "field_type": "text", "text_validation_type_or_show_slider_number": ""},
    {"field_name": "consent_pdf", "form_name": "base", "field_type": "file", "text_validation_type_or_show_slider_number": ""},
]
_ANSWERS: dict[str, bytes] = {
    "version": b"14.5.2",
    "metadata": json.dumps(_FIELDS).encode(),
    "project": json.dumps(
        {"project_id": 1, "project_title": "bench", "is_longitudinal": 0, "has_repeating_instruments_or_events": 0}
    ).encode(),
}


class Sink(asyncio.Protocol):
    """One connection; requests come one after the other."""

    latency = 0.0
    hashes = False
    received: list[tuple[str, int, float, float]] = []  # noqa: RUF012 - shared by all connections

    def __init__(self) -> None:
        self._buffer = b""
        self._left = -1  # bytes of the body still to come; -1: the head is not there yet
        self._size = 0
        self._began = 0.0
        self._digest = hashlib.sha256()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport | _TlsTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left >= 0:
            self._body(data)
            return
        if not self._buffer:
            self._began = time.monotonic()
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = self._buffer[:end], self._buffer[end + 4 :]
        if head.startswith(b"GET "):
            self._buffer = b""
            self._answer(json.dumps(Sink.received).encode())
            Sink.received.clear()
            return
        if _EXPECT.search(head):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = _LENGTH.search(head)
        self._left = self._size = int(length[1]) if length else 0
        self._buffer = b""
        self._body(rest)

    def _body(self, data: bytes) -> None:
        self._left -= len(data)
        if Sink.hashes:
            self._digest.update(data)
        if len(self._buffer) < _KEPT:
            self._buffer += data[:_KEPT]
        if self._left > 0:
            return
        body, self._buffer, self._left = self._buffer, b"", -1
        file = _FILE.search(body)
        if file is None:
            content = parse_qs(body.decode()).get("content", [""])[0]
            known = _ANSWERS.get(content)
            self._answer(known or b'{"error":"not in this project"}', b"200 OK" if known else b"400 Bad Request")
            return
        Sink.received.append((file[1].decode(), self._size, self._began, time.monotonic()))
        if Sink.latency:
            asyncio.get_running_loop().call_later(Sink.latency, self._answer, b"")
        else:
            self._answer(b"")

    def _answer(self, body: bytes, status: bytes = b"200 OK") -> None:
        kind = b"application/json; charset=utf-8" if body else b"text/html; charset=UTF-8"
        self._transport.write(
            b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, kind, len(body), body)
        )


class _TlsTransport(asyncio.BaseTransport):
    """What `Sink` needs of a transport. asyncio's own TLS would be what is measured."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__()
        self._sock = sock
        self.write = sock.sendall

    def serve(self) -> None:
        """Until the connection ends."""
        sink, buffer = Sink(), bytearray(256 * 1024)
        sink.connection_made(self)
        while count := self._sock.recv_into(buffer):
            sink.data_received(bytes(memoryview(buffer)[:count]))
        self._sock.close()


def serve_tls(file: str, hashes: bool) -> None:
    """Serve until the process ends, each connection in a thread."""
    Sink.hashes = hashes
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    while True:
        plain, _ = listener.accept()
        one = _TlsTransport(context.wrap_socket(plain, server_side=True))
        threading.Thread(target=one.serve, daemon=True).start()


async def serve(latency: float, hashes: bool) -> None:
    """Serve until the process ends."""
    Sink.latency, Sink.hashes = latency, hashes
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--latency", type=float, default=0.0)
    options.add_argument("--hash", action="store_true")
    options.add_argument("--tls")
    chosen = options.parse_args()
    if chosen.tls:
        serve_tls(chosen.tls, chosen.hash)
    else:
        asyncio.run(serve(chosen.latency, chosen.hash))
