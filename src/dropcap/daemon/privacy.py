"""`privacy: {names: mask}`: names of files and records stand in the log as a keyed hash, by which lines can still be joined.

What stands in a key of a log line is known for the keys below. Whatever else is text may quote a name, or a server that does, and
is left out, as is every message about a file: nothing has to be recognised for it not to be told.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Collection, MutableMapping
from pathlib import Path
from typing import Any

from dropcap.config.model import Config
from dropcap.daemon.state import NeedsSomebody, StateError, give_to_owner
from dropcap.preflight.renderings import outcomes

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
            "ledger_unwritable",
            "ledger_writable",
            "ledger_restored",
            "commits_lost",
            "failed_over",
            "log_lost",
            "project_changed",
        ),
        *("commits_lost", "failed_over"),
        *("dashboard", "dashboard_refused", "metrics_unwritable", "notices_lost", "notices_unkept", "notify_failed"),
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
