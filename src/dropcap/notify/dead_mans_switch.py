"""The dead man's switch: an address that is called while dropcap works. What watches it tells people when the calls end."""

from __future__ import annotations

import ssl
import threading
import time
from http import HTTPStatus
from typing import Any

import requests
import structlog
import truststore
from requests.adapters import HTTPAdapter

from dropcap import __version__
from dropcap.config.model import CalledAddress
from dropcap.config.secrets import SecretError
from dropcap.threads import spare

log = structlog.get_logger()

#: Seconds for a connection, and for an answer.
_PATIENCE = (10.0, 20.0)
_REMEDY = "check the address, which is read anew each time, and that this machine may reach it; dropcap calls again by itself"


class _SystemTrust(HTTPAdapter):
    """Goes by the system's trust store, where a hospital's own authority is."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


class DeadMansSwitch:
    """`look` is called by one thread, and never waits. Healthchecks and push monitors of Uptime Kuma take such calls (GET)."""

    def __init__(self, called: CalledAddress) -> None:
        self._called = called
        self._next = 0.0  # monotonic
        self._thread: threading.Thread | None = None
        self._failed = ""  # what was told last

    def look(self, alive: bool) -> None:
        """Call it, if that is due and all is alive."""
        now = time.monotonic()
        if alive and now >= self._next and (self._thread is None or not self._thread.is_alive()):
            self._next = now + self._called.every
            self._thread = spare(self._call, "dead man's switch")

    def _call(self) -> None:
        failed = self._failure()
        if failed and failed != self._failed:
            log.warning("heartbeat_failed", message=failed, remedy=_REMEDY)
        self._failed = failed

    def _failure(self) -> str:
        """Why nobody was called; empty if it went well. Nothing of the address, which is a secret."""
        try:
            url = self._called.url.read().reveal()
        except SecretError as error:
            return str(error)
        if not url.startswith(("https://", "http://")):
            return f"{self._called.url} holds no web address"
        try:
            with requests.Session() as session:
                session.mount("https://", _SystemTrust())
                headers = {"User-Agent": f"dropcap/{__version__}"}
                with session.get(url, timeout=_PATIENCE, allow_redirects=False, stream=True, headers=headers) as reply:
                    code = reply.status_code
        except (requests.RequestException, ValueError) as error:
            return f"notify.heartbeat could not be called ({type(error).__name__})"
        return "" if HTTPStatus.OK <= code < HTTPStatus.MULTIPLE_CHOICES else f"notify.heartbeat was answered with {code}"
