"""What stands in for a REDCap: a project, who may come in, what came, and how it fares. Nothing here speaks HTTP."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

from redcap_sandbox.call import SUCCESSES
from redcap_sandbox.fault import Fault, Illness
from redcap_sandbox.multipart import Limits
from redcap_sandbox.request import Request
from redcap_sandbox.store import Holding, RowKey, Upload
from redcap_sandbox.structure import Rights, SandboxProject

#: So many requests are remembered.
REMEMBERED = 100_000
MINUTE = 60.0


class StandIn:
    """One project and its users. `Sandbox` serves it, and says what the arguments mean. Safe for threads."""

    def __init__(
        self,
        project: SandboxProject,
        token: str | None,
        *,
        rights: Rights | None,
        limits: Limits | None,
        rate_limit: int,
        ban_status: int,
        storage: str | Path | None,
        success: str,
    ) -> None:
        self.project = project
        self.token = token or secrets.token_hex(16).upper()
        self.tokens: dict[str, Rights] = {self.token: rights or Rights()}
        self.limits = limits or Limits()
        self.rate_limit = rate_limit
        self.ban_status = ban_status
        self.maintenance = 0
        if success not in SUCCESSES:
            raise ValueError(f"success is {success!r}; use {' or '.join(SUCCESSES)}")
        self.success = success
        self.illness = Illness()
        self._keep = storage is not None
        self._storage = Path(storage) if storage is not None else None
        self._requests: deque[Request] = deque(maxlen=REMEMBERED)
        self._seen = threading.Condition()
        self._times: dict[str, deque[float]] = {}
        self._banned: set[str] = set()

    # The content of files

    def make_room(self) -> None:
        """Make the directory for the files' content. Raises OSError."""
        if self._storage is None:
            self._storage = Path(tempfile.mkdtemp(prefix="redcap-sandbox-"))
        self._storage.mkdir(parents=True, exist_ok=True)

    def clear_away(self) -> None:
        """Remove that directory, unless it was named by whoever made this."""
        if not self._keep and self._storage is not None:
            shutil.rmtree(self._storage, ignore_errors=True)

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

    def forget(self) -> None:
        """Forget the requests so far: another test begins."""
        with self._seen:
            self._requests.clear()

    def remember(self, request: Request) -> None:
        with self._seen:
            self._requests.append(request)
            self._seen.notify_all()

    def wait_for(self, condition: Callable[[Self], object], timeout: float = 10.0) -> bool:
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
