"""Those who are told, on loopback: a web hook and a mail server, which can be down."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.site import PATIENCE, eventually


class Hook:
    """Takes Apprise's `json://`; `url` has a secret in its path and query."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        self.asked = 0
        self.port = server.server_address[1]

    @property
    def url(self) -> str:
        return f"json://user:hook-password@127.0.0.1:{self.port}/hook-secret/"

    def texts(self) -> str:
        return "\n".join(f"{one['title']}\n{one['message']}" for one in [*self.got])

    def wait_for(self, text: str) -> str:
        """Until somebody was told so; all that was told by then."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: text in self.texts(), PATIENCE)
        assert text in self.texts(), f"{text!r} is not in what was told:\n{self.texts()}"
        return self.texts()


@contextlib.contextmanager
def hook(port: int = 0) -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.asked += 1
            if made.status == 200:
                made.got.append(json.loads(body))
            self.send_response(made.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        made = Hook(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield made
        server.shutdown()


@contextlib.contextmanager
def mail_server() -> Iterator[tuple[int, list[str]]]:
    """The port of a mail server, and the mails that it takes."""
    mails: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 sink\r\n")
            for line in self.rfile:
                word = line[:4].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    mail = b""
                    while not mail.endswith(b"\r\n.\r\n"):
                        mail += self.rfile.readline()
                    mails.append(mail.decode())
                self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
                if word == b"QUIT":
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1], mails
        server.shutdown()
