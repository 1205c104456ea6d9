"""The sandbox: a REDCap stand-in that speaks HTTP on 127.0.0.1."""

from __future__ import annotations

import logging
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cheroot.server import Gateway, HTTPServer

from redcap_sandbox.exchange import Exchange
from redcap_sandbox.multipart import Limits
from redcap_sandbox.service import serve
from redcap_sandbox.stand_in import StandIn
from redcap_sandbox.structure import Rights, SandboxProject


class Sandbox(StandIn):
    """A server for one project. Use it in a `with`, or with `start()` and `stop()`.

    `token` is made up if none is given. `rate_limit` is the number of requests a minute above which an address is
    banned until `unban()` (0: no limit), with `ban_status`. `storage` is a directory for the files' content (default:
    a temporary one, removed at the end). `maintenance`, which can be set at any time, is the HTTP status of a
    maintenance page that answers everything, or 0; so can `success`, how a stored file is answered: `empty`, as clients see
    it, or `json`, as REDCap documents it.
    Raises OSError if the port is taken.
    """

    def __init__(
        self,
        project: SandboxProject,
        token: str | None = None,
        port: int = 0,
        rate_limit: int = 0,
        storage: str | Path | None = None,
        *,
        rights: Rights | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(project, token, rights, limits, rate_limit, storage)
        self._stopping = threading.Event()
        self._server = _server(self, self._stopping, port)
        self._thread: threading.Thread | None = None
        self.port = port

    def start(self) -> Self:
        self._server.prepare()  # first: if the port is taken, no directory is left behind
        try:
            self.make_room()
        except OSError:
            self._server.stop()  # else its threads would keep the process alive
            raise
        self.port = self._server.bind_addr[1]
        self._thread = threading.Thread(target=self._server.serve, name="sandbox", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving: requests under way are broken off within about a second."""
        self._stopping.set()
        if self._thread is not None:
            self._server.stop()
            self._thread.join()
            self._thread = None
        self.clear_away()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/"


class _Server(HTTPServer):
    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        logging.getLogger("redcap_sandbox").error(msg, exc_info=traceback)


def _server(sandbox: Sandbox, stopping: threading.Event, port: int) -> Any:
    """A server of cheroot's on 127.0.0.1."""

    class OwnGateway(Gateway):
        def respond(self) -> None:
            serve(sandbox, Exchange(self.req, stopping))

    server: Any = _Server(("127.0.0.1", port), OwnGateway, minthreads=24)
    server.keep_alive_conn_limit = None
    server.request_queue_size = socket.SOMAXCONN
    server.timeout = 60
    server.expiration_interval = 0.1  # also how long stop() waits for the accepting thread
    server.shutdown_timeout = 1
    return server
