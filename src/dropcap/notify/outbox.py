"""What is still to be told, and to whom: kept in state_dir, so that no restart loses it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from dropcap.config.model import Notify
from dropcap.notify.notices import Notice, Notices
from dropcap.reasons import Told

log = structlog.get_logger()

FILE = "notices.json"
#: Notices that are kept for one recipient; of more, the oldest go, and are counted.
MOST = 500
#: Lines of one message; what is more is told by its number.
MOST_LINES = 40
#: Seconds between tries: first, doubling, at most.
FIRST, LONGEST = 10.0, 900.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A text for somebody."""

    to: str
    kind: Told
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """All that waits for one recipient, as one message."""

    to: str
    title: str
    body: str
    entries: tuple[Outgoing, ...]
    good: bool  # nothing but ends of troubles


class Outbox:
    """For one thread at a time. `now` of `due`, `sent` and `failed` is in seconds of a clock that nobody sets."""

    def __init__(self, state_dir: Path, now: float) -> None:
        self._path = state_dir / FILE
        self._told = False  # that it cannot be kept
        self.notices = Notices(now)
        self._entries: list[Outgoing] = []
        self._left_out: dict[str, int] = {}
        self._tries: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._load(now)

    def _load(self, now: float) -> None:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            entries = [Outgoing(str(o["to"]), Told(o["kind"]), float(o["at"]), str(o["text"])) for o in kept["entries"]]
            notices, left_out = Notices.of(kept, now), {str(to): int(number) for to, number in kept["left_out"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.error(
                "notices_lost",
                message=f"{self._path} cannot be read ({type(error).__name__}): what was still to be told is lost",
                remedy="look at dropcap status",
            )
            return
        self.notices, self._entries, self._left_out = notices, entries, left_out

    def keep(self) -> None:
        """Write it down; what cannot be written is kept in memory, and told in the log once."""
        kept: dict[str, Any] = {
            **self.notices.kept(),
            "entries": [asdict(one) for one in self._entries],
            "left_out": self._left_out,
        }
        beside = self._path.with_suffix(".new")
        try:
            with open(
                os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="utf-8"
            ) as file:
                json.dump(kept, file)
                file.flush()
                os.fsync(file.fileno())
            os.rename(beside, self._path)
        except OSError as error:
            if not self._told:
                message = f"{self._path} cannot be written ({error.strerror}): a restart would forget what is still to be told"
                log.error("notices_unkept", message=message, remedy="make room on the disk of state_dir")
            self._told = True
            return
        self._told = False

    def put(self, notices: Iterable[Notice], notify: Notify) -> bool:
        """Enter notices for all whom they concern; whether there was somebody."""
        before = len(self._entries)
        for notice in notices:
            of_all = not notice.projects and not notice.folders
            for one in notify.recipients:
                everybody = of_all and (one.of_all or not any(other.of_all for other in notify.recipients))
                if notice.kind in one.events and (everybody or one.concerned(notice.projects, notice.folders)):
                    text = notice.text + (f" Files: {notice.names}" if one.names and notice.names else "")
                    self._entries.append(Outgoing(one.name, notice.kind, notice.at, text))
        put = len(self._entries) > before
        for one in notify.recipients:
            its = [entry for entry in self._entries if entry.to == one.name]
            if len(its) > MOST:
                gone = set(map(id, its[: len(its) - MOST]))
                self._entries = [entry for entry in self._entries if id(entry) not in gone]
                self._left_out[one.name] = self._left_out.get(one.name, 0) + len(gone)
        return put

    def forget_all_but(self, names: Iterable[str]) -> None:
        """Those who are no longer in the configuration are told nothing."""
        names = set(names)
        self._entries = [entry for entry in self._entries if entry.to in names]

    def due(self, now: float) -> list[Message]:
        """The messages whose time has come."""
        waiting = dict.fromkeys(entry.to for entry in self._entries)
        return [self._message(to) for to in waiting if self._due.get(to, 0.0) <= now]

    def next_due(self) -> float | None:
        """When the next message has its time, if there is one."""
        return min((self._due.get(entry.to, 0.0) for entry in self._entries), default=None)

    def _message(self, to: str) -> Message:
        entries = tuple(entry for entry in self._entries if entry.to == to)
        texts = [f"{_when(entry.at)}: {entry.text}" for entry in entries[-MOST_LINES:]]
        more = len(entries) - len(texts) + self._left_out.get(to, 0)
        if more:
            texts.insert(0, f"{more} earlier messages are left out here; dropcap status tells what is so now.")
        good = all(entry.kind is Told.RESUMED for entry in entries)
        title = "dropcap: it goes on" if good else f"dropcap: {_about(entries)}"
        return Message(to, title, "\n\n".join(texts), entries, good)

    def sent(self, message: Message, now: float, gap: float) -> None:
        """It has gone; the next one to the same recipient has `gap` seconds, so that a storm becomes one message."""
        gone = set(map(id, message.entries))
        self._entries = [entry for entry in self._entries if id(entry) not in gone]
        self._left_out.pop(message.to, None)
        self._tries.pop(message.to, None)
        self._due[message.to] = now + gap

    def failed(self, message: Message, now: float) -> float:
        """It has not gone; seconds until the next try."""
        tries = self._tries[message.to] = self._tries.get(message.to, 0) + 1
        wait = min(LONGEST, FIRST * 2.0 ** min(tries - 1, 20))
        self._due[message.to] = now + wait
        return wait


def _when(at: float) -> str:
    """A message may come hours late: it says when it was true."""
    moment = datetime.fromtimestamp(at).astimezone()
    return f"{moment.day} {moment:%B}, {moment:%H:%M}"


_ABOUT = {
    Told.PAUSED: "something is paused",
    Told.AWAY: "a folder is away or full",
    Told.MISCONFIGURED: "the configuration has a problem",
    Told.LEDGER: "its ledger has trouble",
    Told.FILES: "files wait for somebody",
    Told.EXPECTED: "a file is missing",
    Told.ENDED: "it does not run as it should",
}


def _about(entries: Iterable[Outgoing]) -> str:
    kinds = {entry.kind for entry in entries}
    return ", ".join(text for kind, text in _ABOUT.items() if kind in kinds)
