"""A server on 127.0.0.1 that stands before a real REDCap, hands on what is asked and answered, and records its shape."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from redcap_sandbox.call import Reply
from redcap_sandbox.exchange import ConnectionGoneError, Exchange
from redcap_sandbox.passing import Passing, Upstream
from redcap_sandbox.recording import Recording
from redcap_sandbox.server import http_server
from redcap_sandbox.telling import Teller

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Recorder:
    """Serves `url` for `upstream`, the address of a REDCap's API. Use it in a `with`.

    Raises ValueError for an address that is none or would carry the token in clear text, OSError if the port is taken, the
    directory cannot be made or holds a recording.
    """

    def __init__(self, upstream: str, directory: Path, port: int = 0, ca_file: Path | None = None) -> None:
        self._upstream = _upstream(upstream, ca_file)
        self._teller = Teller(self._upstream)
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._server: Any = http_server(self._respond, port, threads=12)
        self._thread: threading.Thread | None = None
        self.recording = Recording(directory)

    def __enter__(self) -> Self:
        try:
            self._server.prepare()
        except OSError:
            self._server.stop()
            self.recording.discard()
            raise
        self._thread = threading.Thread(target=self._server.serve, name="recorder", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        self._server.stop()
        if self._thread is not None:
            self._thread.join()
        self.recording.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.bind_addr[1]}/api/"

    def _respond(self, request: Any) -> None:
        exchange = Exchange(request, self._stopping)
        with contextlib.suppress(ConnectionGoneError):
            if exchange.path not in ("/api/", "/api"):
                exchange.body.drain()
                exchange.send(Reply(404, b"the recorder answers at /api/ alone", "text/plain"))
                return
            passing = Passing(exchange, self._upstream)
            try:
                passing.pass_on()
            finally:
                self.recording.write({"after": round(time.monotonic() - self._began, 1), **self._teller.told(passing)})


def _upstream(address: str, ca_file: Path | None) -> Upstream:
    parts = urlsplit(address)
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("--upstream is no address of an API; write https://redcap.example.org/api/")
    if not secure and parts.hostname not in _LOOPBACK:
        raise ValueError("--upstream is plain http: the token would cross the network in clear text; use https")
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None) if secure else None
    return Upstream(parts.hostname, parts.port or (443 if secure else 80), parts.path or "/", context)
