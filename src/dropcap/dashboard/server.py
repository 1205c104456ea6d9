"""The page's server: a thread with an event loop of its own, beside the work."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import weakref
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dropcap.config.secret_file import SecretError
from dropcap.config.telling import SHORTEST_SECRET, Dashboard
from dropcap.dashboard.app import application
from dropcap.dashboard.sessions import Sessions
from dropcap.dashboard.wires import Wires
from dropcap.ledger.act import Who
from dropcap.threads import NoThread, begin

log = structlog.get_logger()

#: Connections at once; more are closed at once, so that the descriptors of those who work are left alone.
MOST = 100
#: Seconds until a connection has asked something, and that it may last in all: a browser opens another.
_FIRST_WORD, _LASTS = 20.0, 120.0


class _Listening(socket.socket):
    """Lets in no more than `MOST` at once, those too who have not said a word of TLS yet."""

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._inside: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ConnectionAbortedError, which the event loop takes for a visitor who has gone."""
        connection, address = super().accept()
        if sum(one.fileno() >= 0 for one in self._inside) >= MOST:
            connection.close()
            raise ConnectionAbortedError
        self._inside.add(connection)
        return connection, address


class _Bounded(H11Protocol):
    """A connection that does not stay for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._ends = (self.loop.call_later(_FIRST_WORD, self._silent), self.loop.call_later(_LASTS, transport.abort))

    def _silent(self) -> None:
        if self.cycle is None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        for end in self._ends:
            end.cancel()
        super().connection_lost(exc)


class DashboardServer:
    """One page at one address. A crash in it is told, and it is begun anew by the next `start`."""

    def __init__(self, page: Dashboard, wires: Wires) -> None:
        self.page = page
        self.sessions = Sessions(page.secret.read)
        self._app = application(page, wires, self.sessions)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._told = ""
        quiet = logging.getLogger("uvicorn")
        quiet.handlers, quiet.propagate = [logging.NullHandler()], False

    def start(self) -> None:
        """Listen, if that is not done yet; what keeps it from that is told once, and the next call tries again."""
        if self._thread is not None and self._thread.is_alive():
            return
        try:
            if len(self.page.secret.read().reveal()) < SHORTEST_SECRET:
                raise SecretError(
                    f"{self.page.secret} has fewer than {SHORTEST_SECRET} characters",
                    "write a longer one: openssl rand -base64 24",
                )
            self._server = uvicorn.Server(self._settings())
            listening = self._listening()
            self._thread = begin(self._run, "dashboard", self._server, listening)
        except SecretError as error:
            self._trouble(error.message, error.remedy)
        except NoThread as error:
            self._trouble(f"the operator's page cannot be served: {error.strerror}", "nothing: dropcap tries again by itself")
        except OSError as error:
            where = f"{self.page.host}:{self.page.port}"
            self._trouble(
                f"the operator's page cannot be served at {where} ({error.strerror or error})",
                "choose another port in dashboard.listen, end what listens there, or mend the certificate",
            )
        else:
            self._told = ""
            log.info("dashboard", message=f"the operator's page is at {self.page.address}")

    def _settings(self) -> uvicorn.Config:
        """Raises OSError for a certificate that cannot be used."""
        certificate: dict[str, Any] = {}
        if self.page.cert_file is not None:
            certificate = {"ssl_certfile": self.page.cert_file, "ssl_keyfile": self.page.key_file or self.page.cert_file}
        settings = uvicorn.Config(
            self._app,
            http=_Bounded,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
            **certificate,
        )
        settings.load()
        return settings

    def _listening(self) -> socket.socket:
        """Raises OSError."""
        found = _Listening(socket.AF_INET6 if ":" in self.page.host else socket.AF_INET)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((self.page.host, self.page.port))
            found.listen(64)
        except OSError:
            found.close()
            raise
        return found

    def _run(self, server: uvicorn.Server, listening: socket.socket) -> None:
        try:
            with listening:
                server.run([listening])
        except Exception as error:
            log.error("internal_error", where="dashboard", error=f"{type(error).__name__}: {error}", exc_info=True)

    def _trouble(self, message: str, remedy: str) -> None:
        if message != self._told:
            log.error("check_problem", message=message, remedy=remedy)
        self._told = message

    def link(self, who: Who) -> str:
        """The address of the page with a code that signs `who` in once."""
        return f"{self.page.address}/link?code={self.sessions.link(who)}"

    def stop(self) -> None:
        """End it, waiting for nobody."""
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
