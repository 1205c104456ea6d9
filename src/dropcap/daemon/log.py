"""The log: lines, priorities, masked names, the chains' heads."""

from __future__ import annotations

import atexit
import contextlib
import hmac
import json
import logging
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Collection, MutableMapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from dropcap.config.model import Config
from dropcap.daemon.state import NeedsSomebody, StateError, give_to_owner, replace
from dropcap.display import shown
from dropcap.ledger.chain import AuditAction, AuditActor, AuditChannel, Head, heads_in
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.store import Ledger
from dropcap.preflight.rules import outcomes
from dropcap.secret import without_tokens
from dropcap.threads import begin

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}


def reads(stream: TextIO) -> bool:
    """Whether what is written to `stream` goes to the journal: JOURNAL_STREAM names it by its device and inode, since what a
    service starts inherits the variable, though its output may go elsewhere.
    """
    named = os.environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def with_priority(text: str, level: str) -> str:
    """`text`, each of its lines with the priority of a log level."""
    mark = f"<{_PRIORITIES.get(level, 6)}>"
    return "\n".join(mark + line for line in text.split("\n"))


_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FIRST = ("timestamp", "level", "event")

#: Lines that wait to be written at most; further ones are counted and lost.
MOST = 100_000
#: Seconds in which lines come together for one write, and those that the end waits for a reader that hangs.
TOGETHER, LAST = 0.005, 2.0


def set_up(
    format_: str | None = None,
    level: str = "info",
    stream: TextIO | None = None,
    *,
    background: bool = False,
    mask: Processor | None = None,
) -> None:
    """Write the log to `stream` (standard error). `format_` None: text on a terminal, else JSON.

    `mask` takes names out of a line. `background`: lines are written a few milliseconds later, by a thread of its own; the
    daemon's way.
    """
    stream = stream or sys.stderr
    lines = _background(stream) if background else _Lines(stream)
    if format_ is None:
        format_ = "text" if stream.isatty() else "json"
    last: list[Any]
    masks = [mask] if mask is not None else []
    if format_ == "json":
        last = [_one_line_exceptions, _redact, *masks, _ordered, _as_json]
    else:
        last = [structlog.processors.format_exc_info, _redact, *masks, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    if reads(stream):
        last[-1] = _for_the_journal(last[-1])
    structlog.configure(
        processors=[_stamp, structlog.processors.add_log_level, _escape, *last],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: lines,
        # A reload changes all of this for loggers that are there: one that `bind` has made would keep what it was made with.
        cache_logger_on_first_use=False,
    )
    # watchdog, urllib3 and others speak through logging; what they warn of belongs into the same log.
    logging.basicConfig(handlers=[_Others()], level=logging.WARNING, force=True)


@cache
def _background(stream: TextIO) -> _Background:
    return _Background(stream)


class _Lines:
    """Writes whole lines, one write each, and never fails: a log that cannot be written must not stop a file."""

    _lock = threading.Lock()

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, message: str) -> None:
        try:
            with self._lock:
                self._stream.write(message + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = log = msg


class _Background(_Lines):
    """Lines that another thread writes, many at once where many come: a reader that hangs then stops no file either."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        self._lost = 0
        self._losing = threading.Lock()
        self._thread = begin(self._run, "log")
        atexit.register(self.flush)

    def msg(self, message: str) -> None:
        if self._lines.qsize() < MOST or threading.get_ident() == self._thread.ident:
            self._lines.put(message)
        else:
            with self._losing:
                self._lost += 1

    debug = info = warning = error = critical = exception = log = msg

    def flush(self) -> None:
        """Wait until all lines so far are written, unless the reader hangs."""
        written = threading.Event()
        self._lines.put(written)
        written.wait(LAST)

    def _run(self) -> None:
        while True:
            taken = [self._lines.get()]
            time.sleep(TOGETHER)
            with contextlib.suppress(queue.Empty):
                while True:
                    taken.append(self._lines.get_nowait())
            if lines := [line for line in taken if isinstance(line, str)]:
                super().msg("\n".join(lines))
            for waiting in taken:
                if isinstance(waiting, threading.Event):
                    waiting.set()
            if self._lost:
                with self._losing:
                    lost, self._lost = self._lost, 0
                structlog.get_logger().error("log_lost", lines=lost, message="nobody read the log for too long")


class _Others(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().warning("library", library=record.name, message=without_tokens(record.getMessage()))


def _stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    seconds, rest = divmod(time.time_ns(), 10**9)
    event["timestamp"] = f"{_second(seconds)}.{rest // 10**6:03d}Z"
    return event


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _escape(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # Whatever comes from a name or a server may hold control or bidi characters, or bytes that are not UTF-8.
    for key, value in event.items():
        if type(value) is str and not (value.isascii() and value.isprintable()):
            event[key] = shown(value)
    return event


def _one_line_exceptions(_: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if event.get("exc_info"):
        return structlog.processors.format_exc_info(None, method, event)
    return event


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    # Whatever a library could not make sense of may stand in its error.
    for key in ("error", "exception"):
        if type(event.get(key)) is str:
            event[key] = without_tokens(event[key])
    return event


def _plain(value: Any) -> str:
    return repr(value)


_JSON = json.JSONEncoder(ensure_ascii=False, default=_plain)  # made once: json.dumps makes one for each line


def _for_the_journal(render: Any) -> Any:
    def rendered(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        return with_priority(str(render(logger, method, event)), str(event.get("level", method)))

    return rendered


def _as_json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return _JSON.encode(event)


def _ordered(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: event[key] for key in _FIRST if key in event} | dict(event)


#: In state_dir, mode 0600: who has it can try out names against the hashes.
KEY = "privacy.key"
#: What stands in the place of a text that may hold a name.
LEFT_OUT = "left out (privacy: names: mask); dropcap status and dropcap history tell it"

_DIGITS = 16
#: Keys whose values are never about a person: numbers, words of ours, what stands in the configuration.
_PLAIN = frozenset(
    {
        *("timestamp", "level", "event", "job", "folder", "folders", "project", "projects"),
        *("instance", "size", "seconds", "since_claim", "attempt", "attempts", "in_seconds", "reason", "scope", "name"),
        *("result", "confirmed", "outcome", "sha256", "count", "version", "config", "state_dir", "heads", "under_way"),
        *("within", "again_of", "back_of", "found", "free", "min_free", "path", "mount", "where", "library", "lines"),
        *("rule", "key", "keeps", "disables", "days", "slots", "server", "well", "sent"),
        *("to", "do", "way"),
    }
)
#: Keys that hold the name of a file, alone or behind where dropcap has put it.
_FILES = frozenset({"file", "filed_as", "kept_as", "renamed_from"})
#: Keys whose values a rule says, or takes from a file's name.
_SAID = frozenset({"field", "redcap_event"})
#: Events whose texts are about the configuration, this machine or a server's being there, and quote nobody.
_QUOTE_NOBODY = frozenset(
    {
        *("started", "ready", "stopping", "stopped", "reloaded", "recovered", "clock_set", "config_problem"),
        *("check_problem", "folder_watched", "folder_away", "folder_back", "folder_full", "resumed", "chain_heads"),
        *(
            "ledger_damaged",
            "ledger_kept",
            "ledger_unwritable",
            "ledger_writable",
            "ledger_restored",
            "commits_lost",
            "failed_over",
            "log_lost",
            "project_changed",
        ),
        *("commits_lost", "failed_over"),
        *(
            "dashboard",
            "dashboard_refused",
            "metrics_unwritable",
            "notices_lost",
            "notices_unkept",
            "notify_failed",
            "heartbeat_failed",
        ),
    }
)
_PLACES = ("in_progress", "failed", "done")


class Mask:
    """Masks names by one key. Safe for threads."""

    def __init__(self, key: bytes, said: Collection[str] = ()) -> None:
        """`said` are the events and fields that the configuration says, whatever a file is called."""
        self._key = key
        self._said = said

    @classmethod
    def of(cls, state_dir: Path, said: Collection[str] = ()) -> Mask:
        """The mask of this installation; its key is made if there is none.

        Raises:
            StateError: it cannot be read or made.
        """
        path = state_dir / KEY
        try:
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                key = path.read_bytes()
                if len(key) < 32:
                    message = f"{path} is no key: remove it, then start dropcap; from then on names have other masks"
                    raise NeedsSomebody(message) from None
                return cls(key, said)
            with open(fd, "wb") as file:
                key = secrets.token_bytes(32)
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
            give_to_owner(state_dir, path)
        except OSError as error:
            raise StateError(f"{path} cannot be used ({error.strerror}): let dropcap's user read and write state_dir") from None
        return cls(key, said)

    def file(self, name: str) -> str:
        """A file's name (relative to its drop folder), masked; the same wherever dropcap has put the file under that name."""
        head, _, rest = name.partition("/")
        if head in _PLACES and rest:
            day, _, behind = rest.partition("/")
            rest, before = (behind, f"done/{day}/") if head == "done" and behind else (rest, f"{head}/")
            return before + self._masked("file", rest)
        return self._masked("file", name)

    def record(self, name: str) -> str:
        """A record's name, masked."""
        return self._masked("record", name)

    def _masked(self, kind: str, text: str) -> str:
        digest = hmac.digest(self._key, f"{kind}\0{text}".encode("utf-8", "surrogateescape"), "sha256").hex()
        return f"{kind}-{digest[:_DIGITS]}"

    def _path(self, path: str) -> str:
        directory, _, name = path.rpartition("/")
        return f"{directory}/{self._masked('file', name)}"

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A line of the log without names; for structlog."""
        texts = event.get("event") in _QUOTE_NOBODY and "file" not in event
        for key, value in event.items():
            if key in _PLAIN:
                continue
            if key in _FILES and isinstance(value, str):
                event[key] = self._path(value) if value.startswith("/") else self.file(value)
            elif key == "record" and isinstance(value, str):
                event[key] = self.record(value)
            elif key in _SAID and isinstance(value, str):
                event[key] = value if value in self._said else self._masked(key, value)
            elif key == "first" and isinstance(value, list | tuple):
                event[key] = [self.file(str(name)) for name in value]
            elif key == "exception" and isinstance(value, str):
                event[key] = _steps(value)
            elif isinstance(value, bool | int | float) or value is None or (texts and key in ("message", "remedy")):
                continue
            else:
                event[key] = LEFT_OUT
        return event


def mask_of(config: Config) -> Mask | None:
    """What takes names out of the log; None where they may stand there. Raises StateError as `Mask.of`."""
    return Mask.of(config.state_dir, _said(config)) if config.privacy.names == "mask" else None


def _said(config: Config) -> set[str]:
    """The events and fields to which files can go by the words of the configuration alone."""
    return {
        text
        for folder in config.folders.values()
        for rule in folder.rules
        for template in (rule.event, rule.field)
        if template is not None
        for outcome in outcomes(rule.pattern, {"": template}) or ()
        for text in outcome.values()
    }


def _steps(trace: str) -> str:
    """Where an error came from, without what it said: of the other lines the kind of error alone."""
    lines = [line for line in trace.splitlines() if not line.startswith("    ")]
    return "\n".join(line if line.startswith(("  File ", "Traceback")) else line.partition(":")[0] for line in lines)


log = structlog.get_logger()

#: In state_dir: the heads as they were told last.
HEADS = "heads"
#: Seconds from one telling to the next.
DAY = 86400.0


class Daily:
    """Tells the heads at first and once a day."""

    def __init__(self, ledger: Ledger, state_dir: Path) -> None:
        self._ledger = ledger
        self._state_dir = state_dir
        self._next = 0.0  # monotonic

    def look(self) -> None:
        """Tell them if it is time."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + DAY
            with contextlib.suppress(DatabaseError):  # the ledger itself tells
                tell(self._ledger, self._state_dir)


def stopped(ledger: Ledger, state_dir: Path) -> None:
    """The end of a run: what it has entered is told."""
    if ledger.trouble.unwritable:
        return
    with contextlib.suppress(DatabaseError):
        ledger.act(AuditActor.me(AuditChannel.ITSELF), AuditAction.STOPPED)
        tell(ledger, state_dir)


def tell(ledger: Ledger, state_dir: Path) -> None:
    """Log the heads and keep them beside the ledger. Raises DatabaseError."""
    heads = ledger.query.heads()
    log.info("chain_heads", heads=[str(head) for head in heads])
    try:
        keep(state_dir, heads)
    except OSError as error:
        log.warning(
            "check_problem", message=f"{state_dir / HEADS} cannot be written ({error.strerror})", remedy="make room there"
        )


def keep(state_dir: Path, heads: Sequence[Head]) -> None:
    """Keep them beside the ledger. Raises OSError."""
    replace(state_dir, HEADS, "".join(f"{head}\n" for head in heads))


def known(state_dir: Path) -> list[Head]:
    """The heads as they were told last; none if they never were."""
    try:
        return list(heads_in((state_dir / HEADS).read_text(errors="replace")))
    except OSError:
        return []


def compare(ledger: Ledger, state_dir: Path) -> None:
    """A run begins. If the ledger lacks what was in it when its heads were told last, that becomes an act which carries them."""
    lost = [head for head in known(state_dir) if not ledger.query.has_head(head)]
    if lost:
        ledger.act(AuditActor.me(AuditChannel.ITSELF), AuditAction.RESTORED, lost=[str(head) for head in lost])
        log.error(
            "ledger_restored",
            message="the ledger lacks entries that it had when its heads were told last: it is an older copy, or was changed",
            remedy="if it was not restored on purpose, compare it with its backups and with the log: dropcap verify --chain",
            heads=[str(head) for head in lost],
        )
