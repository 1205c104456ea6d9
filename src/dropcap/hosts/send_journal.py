"""What a host has begun to send, on its own disk: a fail-over of the database may lose the ledger's rows of it."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dropcap.files.regular import fsync

#: The journal is written anew when it is larger than this (bytes), without what is older than `KEPT` (seconds).
LARGE = 4 << 20
KEPT = 86400.0
#: So much of its end (bytes) is kept whatever the clock says of its age.
NEWEST = 1 << 20


@dataclass(frozen=True)
class BegunSend:
    """An import of which a first byte may have left.

    `place` is where it goes to, in words of the ledger's; `sha256` is empty where it is not known yet; `host` and `commits`: who
    sends it, and how many of that host's writes were acknowledged when this was entered; `at` is in seconds since the epoch.
    """

    job: int
    folder: str
    name: str
    size: int
    place: str
    instance: int | None
    sha256: str
    host: str
    commits: int
    at: float


class SendJournal:
    """`sending.journal` in `state_dir`: a line each. Safe for threads; one process has it at a time (`state_dir/lock`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # the two below
        self._fd = -1
        self._rewrite_at = LARGE

    def append(self, entries: Sequence[BegunSend]) -> None:
        """Enter what is about to be sent, durably. Raises OSError: nothing of it may be sent then."""
        if not entries:
            return
        lines = b"".join(map(_line, entries))
        with self._lock:
            fd = self._opened()
            end = os.fstat(fd).st_size
            try:
                written = os.write(fd, lines)
                while written < len(lines):
                    written += os.write(fd, lines[written:])
                os.fdatasync(fd)
            except OSError as error:
                error.filename = str(self._path)
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, end)
                self._close()  # after a failed flush what the system says of this descriptor counts no more
                raise
            if end + len(lines) > self._rewrite_at:
                with contextlib.suppress(OSError):  # it only stays large, and is tried again
                    self._rewrite()

    def since(self, host: str, commits: int) -> list[BegunSend]:
        """What `host` has entered with this number of its commits or a later one, in order: a fail-over that left that number
        may have lost its rows, or what became of it. Raises OSError.
        """
        return [entry for entry in self.all() if entry.host == host and entry.commits >= commits]

    def all(self) -> list[BegunSend]:
        """All that it still holds, in order. What cannot be read (a power cut tore it) is left out. Raises OSError."""
        with self._lock:
            return [entry for line in self._read().splitlines() if (entry := _entry(line)) is not None]

    def clear(self) -> None:
        """What it holds is settled. Raises OSError."""
        with self._lock:
            fd = self._opened()
            os.ftruncate(fd, 0)
            os.fdatasync(fd)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._close()

    def _opened(self) -> int:
        if self._fd < 0:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._path, flags, 0o600)
            try:
                size = os.fstat(fd).st_size
                if size and os.pread(fd, 1, size - 1) != b"\n":
                    os.write(fd, b"\n")  # the torn last line must not swallow the next
                self._sync_directory()
            except BaseException:
                os.close(fd)
                raise
            self._fd = fd
        return self._fd

    def _read(self) -> bytes:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return b""
        with os.fdopen(fd, "rb") as file:
            return file.read()

    def _rewrite(self) -> None:
        """Without what is old; whole or not at all."""
        text = self._read()
        since = time.time() - KEPT
        old, newest = text[:-NEWEST], text[-NEWEST:]
        border = len(old) + newest.find(b"\n") + 1
        kept = _younger(text[:border].splitlines(keepends=True), since)
        kept.append(text[border:])
        new = self._path.with_name(self._path.name + ".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            if os.geteuid() == 0:
                owner = os.fstat(self._fd)
                os.fchown(fd, owner.st_uid, owner.st_gid)
            file.writelines(kept)
            file.flush()
            fsync(fd, str(new))
        os.rename(new, self._path)
        self._sync_directory()
        self._close()
        self._rewrite_at = max(LARGE, 2 * sum(map(len, kept)))

    def _sync_directory(self) -> None:
        fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fsync(fd, str(self._path.parent))
        finally:
            os.close(fd)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


_FIELDS = {field.name for field in fields(BegunSend)}


def _line(entry: BegunSend) -> bytes:
    # ASCII alone: a name may be of bytes that are no text, which stand in it as lone surrogates.
    return json.dumps(asdict(entry), separators=(",", ":")).encode("ascii") + b"\n"


def _entry(line: bytes) -> BegunSend | None:
    try:
        told = json.loads(line)
        return BegunSend(**{name: value for name, value in told.items() if name in _FIELDS})
    except (ValueError, TypeError, AttributeError):
        return None


def _younger(lines: Iterable[bytes], since: float) -> list[bytes]:
    return [line for line in lines if (entry := _entry(line)) is not None and entry.at >= since]
