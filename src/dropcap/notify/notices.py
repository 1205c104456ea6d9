"""What is to be told: a trouble at its beginning and at its end, and files that wait for somebody, gathered.

What is still to be told, and to whom, is kept in state_dir, so that no restart loses it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from dropcap.config.model import Notify
from dropcap.ledger.job import Pause
from dropcap.reasons import NoticeKind, Reason, Scope, explained
from dropcap.snapshot import FolderNow, Snapshot

#: Names of files in one notification, for those who may have them.
MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell. Concerned are `projects` and `folders`, or, without any, all. `names` is for those who may have it."""

    kind: NoticeKind
    text: str
    at: float
    projects: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    names: str = ""


@dataclass(slots=True)
class _Known:
    """A condition since it was met first. `gone` is since when it is not met any more."""

    kind: str
    text: str
    projects: tuple[str, ...]
    folders: tuple[str, ...]
    first: float
    told: bool = False
    gone: float | None = None


@dataclass(slots=True)
class Files:
    """Files of one folder that have come to wait for somebody: how many for each reason, and the first of their names."""

    reasons: dict[str, int] = field(default_factory=dict)
    strays: int = 0
    names: tuple[str, ...] = ()


class Notices:
    """What was told already, kept over restarts by `kept` and `of`."""

    def __init__(self, now: float) -> None:
        self._known: dict[str, _Known] = {}
        self.files_until = now  # what came to wait for somebody until then is told
        self._strays: dict[str, int] = {}  # how many were told
        self._pending: float | None = None  # since when there are files to tell of

    @classmethod
    def of(cls, kept: Mapping[str, Any], now: float) -> Notices:
        """As it was kept. Raises KeyError, TypeError or ValueError for anything else."""
        notices = cls(min(float(kept["files_until"]), now))  # a clock that was ahead does not keep it silent
        notices._strays = {str(folder): int(number) for folder, number in kept["strays"].items()}
        for key, one in kept["known"].items():
            known = _Known(
                one["kind"],
                one["text"],
                tuple(one["projects"]),
                tuple(one["folders"]),
                min(float(one["first"]), now),
                one["told"],
            )
            notices._known[str(key)] = known
        return notices

    def kept(self) -> dict[str, Any]:
        """What `of` takes."""
        known = {
            key: {"kind": o.kind, "text": o.text, "projects": o.projects, "folders": o.folders, "first": o.first, "told": o.told}
            for key, o in self._known.items()
        }
        return {"files_until": self.files_until, "strays": self._strays, "known": known}

    def look(self, now: Snapshot, notify: Notify) -> list[Notice]:
        """What is to be told of troubles now."""
        met = {one.key: one for one in conditions(now)}
        told = [notice for one in met.values() for notice in self._begun(one, now.at, notify.after)]
        return told + [notice for key in [*self._known] if key not in met for notice in self._ended(key, now, notify.after)]

    def _begun(self, one: Condition, now: float, after: float) -> Iterable[Notice]:
        known = self._known.setdefault(one.key, _Known(one.kind, one.text, one.projects, one.folders, now))
        known.gone, known.first = None, min(known.first, now)  # the clock may have been set back
        if known.told or not (one.at_once or now - known.first >= after):
            return
        known.told, known.text = True, one.text
        yield Notice(one.kind, f"{one.text} {one.remedy}", now, one.projects, one.folders)

    def _ended(self, key: str, now: Snapshot, after: float) -> Iterable[Notice]:
        """What goes and comes is told once: it has to stay away as long as it had to last."""
        known = self._known[key]
        known.gone = now.at if known.gone is None else min(known.gone, now.at)
        if known.told and now.at - known.gone < after:
            return
        del self._known[key]
        if known.told:
            there = {folder.name for folder in now.configured} | {project.name for project in now.projects}
            left = known.folders and not there & {*known.folders, *known.projects}
            how = "It is no longer in the configuration" if left else "Over"
            yield Notice(NoticeKind.RESUMED, f"{how}: {known.text}", now.at, known.projects, known.folders)

    def pending(self, now: Snapshot, waits: bool, digest: float) -> bool:
        """Whether it is time to tell of files; `waits` says whether some have come to wait for somebody since the last time."""
        strays = any(folder.stray_count > self._strays.get(folder.name, 0) for folder in now.here)
        for folder in now.here:  # those that are put right count anew
            self._strays[folder.name] = min(folder.stray_count, self._strays.get(folder.name, 0))
        if not (waits or strays):
            self._pending = None
            return False
        self._pending = now.at if self._pending is None else min(self._pending, now.at)
        return now.at - self._pending >= digest

    def digest(self, now: Snapshot, waiting: Mapping[str, Files]) -> list[Notice]:
        """One notice a folder, of files that have come to wait for somebody until now."""
        notices = []
        for folder in now.here:
            its = waiting.get(folder.name) or Files()
            its.strays = folder.stray_count - self._strays.get(folder.name, 0)
            self._strays[folder.name] = folder.stray_count
            if its.reasons or its.strays > 0:
                text = f"{folder.name}: {'. '.join(_sentences(its))}. Run: dropcap status --folder {folder.name}"
                notices.append(Notice(NoticeKind.FILES, text, now.at, (folder.project,), (folder.name,), ", ".join(its.names)))
        self._pending, self.files_until = None, now.at
        return notices


def _sentences(its: Files) -> list[str]:
    total = sum(its.reasons.values())
    said = [f"{total} {'file waits' if total == 1 else 'files wait'} for somebody"] if total else []
    said += [f"{explained(reason).title}: {number}" for reason, number in sorted(its.reasons.items(), key=lambda of: -of[1])]
    if its.strays > 0:
        said.append(
            f"{its.strays} {'file lies' if its.strays == 1 else 'files lie'} in done/ or failed/ that dropcap did not put there"
        )
    return said


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is not well. `key` is the same for as long as it lasts; `projects` and `folders` are concerned, none: all.

    `text` is for those who are told no names of files; `at_once` is told without waiting for it to end by itself.
    """

    key: str
    kind: NoticeKind
    text: str
    remedy: str
    since: float
    projects: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    at_once: bool = False


def conditions(now: Snapshot) -> tuple[Condition, ...]:
    """All that is wrong now, but for files that wait for somebody."""
    return (*_of_all(now), *_pauses(now), *(one for folder in now.configured for one in _of_folder(folder, now)))


def _of_all(now: Snapshot) -> Iterator[Condition]:
    if now.damaged:
        remedy = "No file is lost. Find out why the disk damaged it."
        yield Condition("ledger damaged", NoticeKind.LEDGER, "The ledger is damaged.", remedy, now.at, at_once=True)
    elif now.unwritable:
        text = "The ledger cannot be written: nothing is taken or sent."
        yield Condition("ledger", NoticeKind.LEDGER, text, f"{now.mend[:1].upper()}{now.mend[1:]}.", now.at)
    if now.problems:
        number = len(now.problems)
        text = f"The configuration has {number} {'problem' if number == 1 else 'problems'}; what they concern is out of service."
        yield Condition(
            "configuration", NoticeKind.MISCONFIGURED, text, "Run: dropcap check. Then: dropcap reload", now.at, at_once=True
        )
    if not now.alive:
        text = "A part of dropcap hangs."
        yield Condition("alive", NoticeKind.ENDED, text, "Look into its log, then restart it.", now.at)


def _pauses(now: Snapshot) -> Iterator[Condition]:
    for pause in now.pauses:
        named: tuple[str, ...] = (pause.name,)
        if pause.scope == Scope.FOLDER:
            projects, folders = _project_of(now, pause.name), named
        elif pause.scope == Scope.PROJECT:
            projects, folders = named, _folders_of(now, named)
        else:
            projects = tuple(one.name for one in now.projects if pause.name in (one.server, one.host))
            folders = _folders_of(now, projects)
        why = " by hand." if pause.reason == Reason.BY_HAND else f". {explained(pause.reason).title}."
        yield Condition(
            f"pause {pause.scope} {pause.name}",
            NoticeKind.PAUSED,
            f"The {pause.scope} {pause.name} is paused{why}",
            _what_next(pause),
            pause.since,
            projects,
            folders,
            at_once=pause.until_resume,
        )


def _what_next(pause: Pause) -> str:
    if pause.until_resume:
        return f"It stays so until somebody runs: dropcap resume --{pause.scope} {pause.name}"
    if not pause.passes:
        return "Run: dropcap check. Once that is mended, it goes on by itself. Files wait and are safe."
    return "It is asked again by itself, and goes on once it is well. Files wait and are safe."


def _project_of(now: Snapshot, folder: str) -> tuple[str, ...]:
    return tuple(one.project for one in now.configured if one.name == folder)


def _folders_of(now: Snapshot, projects: Iterable[str]) -> tuple[str, ...]:
    wanted = set(projects)
    return tuple(one.name for one in now.configured if one.project in wanted)


def _of_folder(folder: FolderNow, now: Snapshot) -> Iterator[Condition]:
    projects, folders = (folder.project,), (folder.name,)
    if folder.away or folder.name in now.stranded:
        text = f"The folder {folder.name} is away: nothing is taken from it."
        yield Condition(
            f"away {folder.name}", NoticeKind.AWAY, text, f"Run: dropcap status --folder {folder.name}", now.at, projects, folders
        )
    if folder.full or folder.cannot_file:
        text = f"The disk of the folder {folder.name} is full, or takes no files."
        yield Condition(
            f"full {folder.name}", NoticeKind.AWAY, text, "Make room there. dropcap goes on by itself.", now.at, projects, folders
        )
    if folder.mistake:
        text = f"The folder {folder.name} goes on by its last good configuration: the new one has a mistake."
        yield Condition(
            f"mistake {folder.name}",
            NoticeKind.MISCONFIGURED,
            text,
            "Run: dropcap check",
            now.at,
            projects,
            folders,
            at_once=True,
        )
    if folder.overdue is not None:
        text = f"Nothing was dropped into the folder {folder.name}, and a file was expected."
        remedy = "Ask those who drop files there, or look at what writes them."
        yield Condition(
            f"expected {folder.name}", NoticeKind.EXPECTED, text, remedy, folder.overdue, projects, folders, at_once=True
        )


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
    kind: NoticeKind
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
            entries = [Outgoing(str(o["to"]), NoticeKind(o["kind"]), float(o["at"]), str(o["text"])) for o in kept["entries"]]
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
        good = all(entry.kind is NoticeKind.RESUMED for entry in entries)
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
    NoticeKind.PAUSED: "something is paused",
    NoticeKind.AWAY: "a folder is away or full",
    NoticeKind.MISCONFIGURED: "the configuration has a problem",
    NoticeKind.LEDGER: "its ledger has trouble",
    NoticeKind.FILES: "files wait for somebody",
    NoticeKind.EXPECTED: "a file is missing",
    NoticeKind.ENDED: "it does not run as it should",
}


def _about(entries: Iterable[Outgoing]) -> str:
    kinds = {entry.kind for entry in entries}
    return ", ".join(text for kind, text in _ABOUT.items() if kind in kinds)
