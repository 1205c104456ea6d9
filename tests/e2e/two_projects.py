"""One address of two projects, as a real REDCap is: the token says which."""

from __future__ import annotations

import http.client
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from redcap_sandbox import Sandbox

_TOKEN = re.compile(rb'(?:\btoken=|name="token"\r\n\r\n)([0-9A-F]{32})')


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Either side is killed or breaks off as a test wants it."""


class TwoProjects:
    """Hands each request on to the sandbox whose project its token belongs to."""

    def __init__(self, *boxes: Sandbox) -> None:
        self._boxes = boxes
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                there = urlsplit(front._of(body).url)
                connection = http.client.HTTPConnection(there.hostname or "", there.port or 80, timeout=30)
                connection.request("POST", there.path, body, {"Content-Type": self.headers["Content-Type"]})
                reply = connection.getresponse()
                content = reply.read()
                connection.close()
                self.send_response(reply.status)
                for name in ("Content-Type", "Content-Disposition"):
                    if reply.headers[name]:
                        self.send_header(name, reply.headers[name])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/api/"

    def _of(self, body: bytes) -> Sandbox:
        found = _TOKEN.search(body)
        token = found[1].decode() if found else ""
        return next((box for box in self._boxes if token in box.tokens), self._boxes[0])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
