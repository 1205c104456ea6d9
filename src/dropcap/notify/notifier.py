"""Keeps what is to be told, and has a process carry each message."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from dropcap import child
from dropcap.config.model import Notify, Recipient
from dropcap.config.secrets import SecretError
from dropcap.ledger.reports import Figures
from dropcap.notify.notices import MOST_NAMES, Files, Message, Notice, Outbox
from dropcap.reasons import NoticeKind
from dropcap.snapshot import Snapshot
from dropcap.threads import begin

#: Seconds that one message may take.
PATIENCE = 60.0
#: What to do where the library that sends is missing.
INSTALL = "install it: pip install 'dropcap-redcap[notify]'"


def can_carry() -> bool:
    """Whether the library that sends is there."""
    return importlib.util.find_spec("apprise") is not None


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of a message: empty if it has gone, else what happened and what to do."""

    message: str = ""
    remedy: str = ""

    @property
    def well(self) -> bool:
        return not self.message


class Carrier:
    """One message at a time; `stop` breaks off the one that is under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def carry(self, to: Recipient, title: str, body: str, good: bool) -> Carried:
        """Send it; what came of it. Takes `PATIENCE` at most."""
        if not can_carry():
            return Carried("notifications need apprise", INSTALL)
        try:
            urls = [line.strip() for line in to.url.read().reveal().splitlines() if line.strip() and not line.startswith("#")]
        except SecretError as error:
            return Carried(error.message, error.remedy)
        asked = json.dumps({"urls": urls, "title": title, "body": body, "good": good}).encode()
        try:
            with self._lock:
                if self._stopped:
                    return Carried("dropcap ends", "nothing: it is sent after the next start")
                self._process = process = child.start("dropcap.notify.send", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            return Carried(
                f"no process can be started ({error.strerror})", "see that there is memory; dropcap tries again by itself"
            )
        try:
            answer, said = process.communicate(asked, PATIENCE)
            told = json.loads(answer)
        except subprocess.TimeoutExpired:
            return Carried(
                f"there was no answer within {PATIENCE:g} s",
                "check the address, if it stays so; a message of a running dropcap is tried again by itself",
            )
        except ValueError:
            return Carried(
                f"the process that sends it has ended {child.why(process, said)}",
                "look for a lack of memory or an installation that is not whole; a running dropcap tries again by itself",
            )
        finally:
            self._end(process)
        return (
            Carried() if told.get("sent") else Carried(str(told.get("message") or "it was refused"), str(told.get("remedy", "")))
        )

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        child.close(process)
        with self._lock:
            self._process = None

    def stop(self) -> None:
        """Break off what is under way; nothing more is sent."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                with contextlib.suppress(OSError):
                    self._process.kill()


log = structlog.get_logger()

#: How the name of a file is told.
Naming = Callable[[str], str]

#: Seconds between two messages to one recipient, at most; less where `after` is less.
_GAP = 60.0


class Notifier:
    """`look` is called by one thread, and never waits for a message. `naming` says how names of files are told now."""

    def __init__(self, state_dir: Path, notify: Notify, naming: Callable[[], Naming]) -> None:
        self._lock = threading.Lock()  # of the outbox
        self._outbox = Outbox(state_dir, time.time())
        self._carrier = Carrier()
        self._wake = threading.Event()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._notify = notify
        self._naming = naming
        self.configure(notify)
        if not can_carry():
            log.error(
                "check_problem",
                message="notify: is set, and its library is missing: nobody is told of anything",
                remedy=INSTALL,
            )

    def configure(self, notify: Notify) -> None:
        """Go by another configuration."""
        with self._lock:
            self._notify = notify
            self._outbox.forget_all_but(one.name for one in notify.recipients)

    def look(self, now: Snapshot, figures: Figures) -> None:
        """Tell what is to be told. Raises DatabaseError."""
        with self._lock:
            notices, notify = self._outbox.notices, self._notify
            told = notices.look(now, notify)
            notices.files_until = min(notices.files_until, now.at)  # the clock may have been set back
            fresh = figures.failed_since(notices.files_until, now.at)
            if notices.pending(now, bool(fresh), notify.digest):
                told += notices.digest(now, self._files(figures, fresh, notices.files_until))
            self._outbox.put(told, notify)
            if told:
                self._outbox.keep()
        if told:
            self._wake.set()
        self._start()

    def _files(self, figures: Figures, fresh: dict[tuple[str, str], int], since: float) -> dict[str, Files]:
        found: dict[str, Files] = {}
        name_of = self._naming() if any(one.names for one in self._notify.recipients) else None
        for (folder, reason), number in fresh.items():
            found.setdefault(folder, Files()).reasons[reason] = number
        for folder, files in found.items():
            if name_of is not None:
                files.names = tuple(
                    name_of(job.name) for job in figures.failed(folder, MOST_NAMES) if (job.ended_at or 0.0) > since
                )
        return found

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = begin(self._run, "notify")

    def _run(self) -> None:
        while not self._stopped:
            with self._lock:
                due = self._outbox.due(time.monotonic())
                recipients = {one.name: one for one in self._notify.recipients}
                gap = min(_GAP, self._notify.after)
            for message in due:
                if message.to in recipients and not self._stopped:
                    self._carry(recipients[message.to], message, gap)
            with self._lock:
                next_due = self._outbox.next_due()
            self._wake.wait(3600.0 if next_due is None else min(max(next_due - time.monotonic(), 0.5), 3600.0))
            self._wake.clear()

    def _carry(self, to: Recipient, message: Message, gap: float) -> None:
        carried = self._carrier.carry(to, message.title, message.body, message.good)
        with self._lock:
            if carried.well:
                self._outbox.sent(message, time.monotonic(), gap)
            elif not self._stopped:
                wait = self._outbox.failed(message, time.monotonic())
            self._outbox.keep()
        if carried.well:
            log.info("notified", to=to.name, count=len(message.entries))
        elif not self._stopped:
            log.warning("notify_failed", to=to.name, message=carried.message, remedy=carried.remedy, in_seconds=round(wait, 1))

    def ends(self, why: str) -> None:
        """dropcap is about to end for a reason that people should know: kept, and told now or after the next start."""
        with self._lock:
            self._outbox.put([Notice(NoticeKind.ENDED, why, time.time())], self._notify)
            self._outbox.keep()
        self._wake.set()

    def stop(self) -> None:
        """Break off what is under way; what has not gone is kept."""
        self._stopped = True
        self._carrier.stop()
        self._wake.set()
