"""A server on 127.0.0.1 that stands before a real REDCap, hands on what is asked and answered, and records its shape."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from redcap_sandbox.call import Reply
from redcap_sandbox.exchange import ConnectionGoneError, Exchange
from redcap_sandbox.passing import Passing
from redcap_sandbox.recording import Recording
from redcap_sandbox.server import http_server
from redcap_sandbox.telling import Teller
from redcap_sandbox.upstream import Upstream, Way


class Recorder:
    """Serves `url` for `upstream`, the address of a REDCap's API. Use it in a `with`.

    Raises ValueError for an address or a way that is none or would carry the token in clear text, OSError if the port is taken,
    a file cannot be read, the directory cannot be made or holds a recording.
    """

    def __init__(self, upstream: str, directory: Path, port: int = 0, way: Way | None = None) -> None:
        self._upstream = Upstream.of(upstream, way or Way())
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
