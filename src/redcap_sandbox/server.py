"""The sandbox: a REDCap stand-in that speaks HTTP on 127.0.0.1."""

from __future__ import annotations

import logging
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cheroot.server import Gateway, HTTPServer

from redcap_sandbox.exchange import Exchange
from redcap_sandbox.fault import Fault, Illness
from redcap_sandbox.multipart import Limits
from redcap_sandbox.request import Request
from redcap_sandbox.service import serve
from redcap_sandbox.store import Holding, RowKey, Upload
from redcap_sandbox.structure import Rights, SandboxProject

#: So many requests are remembered.
REMEMBERED = 100_000
MINUTE = 60.0


class Sandbox:
    """A server for one project. Use it in a `with`, or with `start()` and `stop()`.

    `token` is made up if none is given. `rate_limit` is the number of requests a minute above which an address is
    banned until `unban()` (0: no limit), with `ban_status`. `storage` is a directory for the files' content (default:
    a temporary one, removed at the end). `maintenance`, which can be set at any time, is the HTTP status of a
    maintenance page that answers everything, or 0.
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
        ban_status: int = 403,
        threads: int = 24,
    ) -> None:
        self.project = project
        self.token = token or secrets.token_hex(16).upper()
        self.tokens: dict[str, Rights] = {self.token: rights or Rights()}
        self.limits = limits or Limits()
        self.rate_limit = rate_limit
        self.ban_status = ban_status
        self.maintenance = 0
        self.illness = Illness()
        self.stopping = threading.Event()
        self._keep = storage is not None
        self._storage = Path(storage) if storage is not None else None
        self._requests: deque[Request] = deque(maxlen=REMEMBERED)
        self._seen = threading.Condition()
        self._times: dict[str, deque[float]] = {}
        self._banned: set[str] = set()
        self._server = _server(self, port, threads)
        self._thread: threading.Thread | None = None
        self._port = port

    def start(self) -> Self:
        self._server.prepare()  # first: if the port is taken, no directory is left behind
        try:
            if self._storage is None:
                self._storage = Path(tempfile.mkdtemp(prefix="redcap-sandbox-"))
            self._storage.mkdir(parents=True, exist_ok=True)
        except OSError:
            self._server.stop()  # else its threads would keep the process alive
            raise
        self._port = self._server.bind_addr[1]
        self._thread = threading.Thread(target=self._server.serve, name="sandbox", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving: requests under way are broken off within about a second."""
        self.stopping.set()
        if self._thread is not None:
            self._server.stop()
            self._thread.join()
            self._thread = None
        if not self._keep and self._storage is not None:
            shutil.rmtree(self._storage, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/api/"

    def new_upload(self) -> Upload:
        return Upload(self._storage, keep_on_disk=self._keep)

    # What it holds

    def holdings(self) -> list[Holding]:
        """Every file, in the order of record, event, field and instance."""
        return list(self.project.store.holdings())

    def content(self, record: str, field: str, event: str | None = None, instance: int | None = None) -> bytes:
        """A file's bytes; `event` defaults to the first, `instance` to 1 where the field repeats.

        Raises KeyError if there is none.
        """
        event = event or self.project.events[0].unique_name
        repeats = self.project.repeats(event, self.project.fields[field].form)
        key = RowKey(event) if repeats is None else RowKey(event, repeats, instance or 1)
        with self.project.store.lock:
            stored = self.project.store.file(record, key, field)
            if stored is None:
                raise KeyError(f"no file in {field} of record {record}, event {event}, instance {instance}")
            return stored.read()

    # Who comes, and what came

    def grant(self, token: str, rights: Rights) -> None:
        """Let a token in, or change what it may do."""
        self.tokens[token] = rights

    def revoke(self, token: str) -> None:
        self.tokens.pop(token, None)

    @property
    def requests(self) -> list[Request]:
        """The API requests so far (the last 100,000), oldest first."""
        with self._seen:
            return list(self._requests)

    def remember(self, request: Request) -> None:
        with self._seen:
            self._requests.append(request)
            self._seen.notify_all()

    def wait_for(self, condition: Callable[[Sandbox], object], timeout: float = 10.0) -> bool:
        """Wait until `condition` holds, looking after every request; False if it does not within `timeout` seconds."""
        with self._seen:
            return self._seen.wait_for(lambda: bool(condition(self)), timeout)

    def admits(self, address: str) -> bool:
        """Count a request of this address; False if it is banned, or is by this request."""
        with self._seen:
            if address in self._banned:
                return False
            if not self.rate_limit:
                return True
            now, times = time.monotonic(), self._times.setdefault(address, deque())
            times.append(now)
            while times[0] <= now - MINUTE:
                times.popleft()
            if len(times) > self.rate_limit:
                self._banned.add(address)
                return False
            return True

    @property
    def banned(self) -> frozenset[str]:
        """The addresses that are banned."""
        with self._seen:
            return frozenset(self._banned)

    def unban(self) -> None:
        """Let everyone in again and begin to count anew."""
        with self._seen:
            self._banned.clear()
            self._times.clear()

    # How it is

    def ill(self, fault: Fault) -> None:
        """Add a fault; several strike in the order in which they came."""
        self.illness.add(fault)

    def well(self) -> None:
        """End all faults."""
        self.illness.clear()


class _Server(HTTPServer):
    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        logging.getLogger("redcap_sandbox").error(msg, exc_info=traceback)


def _server(box: Sandbox, port: int, threads: int) -> Any:
    class SandboxGateway(Gateway):
        def respond(self) -> None:
            serve(box, Exchange(self.req, box.stopping))

    server: Any = _Server(("127.0.0.1", port), SandboxGateway, minthreads=threads)
    server.keep_alive_conn_limit = None
    server.request_queue_size = socket.SOMAXCONN
    server.timeout = 60
    server.expiration_interval = 0.1  # also how long stop() waits for the accepting thread
    server.shutdown_timeout = 1
    return server
