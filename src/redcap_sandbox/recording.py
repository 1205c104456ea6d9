"""The file that a recording is written to, and the one gate before it: nothing passes but known words and counts."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redcap_sandbox.vocabulary import (
    CHARSETS,
    CHOICES,
    CODINGS,
    COLUMNS,
    CONTENTS,
    EXTENSIONS,
    HEADERS,
    MEDIA,
    METHODS,
    PARAMETERS,
    PROTOCOLS,
    SERVERS,
    TAGS,
    UNKNOWN,
    WORDS,
)

#: What the entries of a recording are made of, beside what is known of HTTP and REDCap.
_OWN = """
n after asked answered failed method content action parameters others other_parameters other_headers
format return_format type headers body framing file
length extension place path query status seconds protocol media charset names_a_file server retry_after location shape decoded
complete coding same_as_sent kind form words unread columns rows tags names then password numbers bom own_header sent
api other multipart urlencoded none chunked close same-host other-host relative plain-http
empty blank version error object text broken page binary csv json xml null true false flag flag-text number digits list
document unread name refused certificate proxy tls timed-out reset cut no-http unreachable client-gone
"""
ALLOWED = frozenset(_OWN.split()) | METHODS | PARAMETERS | CONTENTS | CHOICES | HEADERS | MEDIA | CHARSETS | SERVERS | CODINGS
ALLOWED |= EXTENSIONS | PROTOCOLS | COLUMNS | TAGS | WORDS | {UNKNOWN}


def gate(value: Any) -> Any:
    """What may be written of a value: numbers, yes and no, and texts by their known words. Everything else is `…`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return " ".join(word if word in ALLOWED else UNKNOWN for word in value.split(" ")) if value else value
    if isinstance(value, Mapping):
        return {gate(str(name)): gate(inner) for name, inner in value.items()}
    return [gate(inner) for inner in value]


class Recording:
    """`DIR/recording.jsonl`, one exchange a line. Raises OSError if it cannot be made, FileExistsError if it is there."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / "recording.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(self.path, flags, 0o600), "w", encoding="utf-8")
        self._lock = threading.Lock()
        self.count = 0

    def write(self, entry: Mapping[str, Any]) -> None:
        """Add an exchange, numbered."""
        with self._lock:
            if self._file.closed:  # the end came first
                return
            self.count += 1
            self._file.write(json.dumps(gate({"n": self.count, **entry}), ensure_ascii=False) + "\n")
            self._file.flush()

    def discard(self) -> None:
        """Take the file away: nothing has begun."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            self._file.close()
