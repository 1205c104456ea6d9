"""The data of a project: values and files, by record, event, repeating instrument and instance."""

from __future__ import annotations

import hashlib
import io
import itertools
import mimetypes
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

#: Content up to this many bytes stays in memory when no directory was asked for.
IN_MEMORY = 64 * 1024


class RowKey(NamedTuple):
    """One row of a record. `instrument` is empty unless an instrument repeats; `instance` is 0 where nothing repeats."""

    event: str
    instrument: str = ""
    instance: int = 0


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file in a file field."""

    doc_id: int
    name: str
    mime: str
    size: int
    sha256: str
    content: bytes | Path

    def open(self) -> IO[bytes]:
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True, slots=True)
class Holding:
    """What a file field holds, for those who look from outside."""

    record: str
    event: str
    field: str
    instance: int | None
    name: str
    size: int
    sha256: str


@dataclass(slots=True)
class Row:
    values: dict[str, str] = field(default_factory=dict)
    files: dict[str, StoredFile] = field(default_factory=dict)


def _forget(stored: StoredFile | None) -> None:
    """Remove content that nothing refers to any more: a long run would fill the disk. Whoever reads it has it open."""
    if stored is not None and isinstance(stored.content, Path):
        stored.content.unlink(missing_ok=True)


class Upload:
    """Content on its way in: in memory while small, else in a file of `directory`; hashed as it comes."""

    def __init__(self, directory: Path | None, keep_on_disk: bool = False) -> None:
        self._directory = directory
        self._limit = 0 if keep_on_disk else IN_MEMORY
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._path: Path | None = None
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes | memoryview) -> None:
        self._hash.update(chunk)
        self.size += len(chunk)
        if self._file is None and self.size <= self._limit:
            self._memory += chunk
            return
        if self._file is None:
            self._file = tempfile.NamedTemporaryFile(dir=self._directory, prefix="edoc_", delete=False)  # noqa: SIM115
            self._path = Path(self._file.name)
            self._file.write(self._memory)
            self._memory.clear()
        self._file.write(chunk)

    def content(self) -> bytes | Path:
        """What came, for good. Nothing may be written afterwards."""
        if self._file is not None:
            self._file.close()
        return self._path if self._path is not None else bytes(self._memory)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._path, self._file = None, None
        self._memory.clear()


class Store:
    """Records with their rows. Every public method takes the lock, which callers may hold over several."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.records: dict[str, dict[RowKey, Row]] = {}
        self.dags: dict[str, str] = {}
        self.locked: set[tuple[str, RowKey, str]] = set()  # (record, row, form)
        self.keeps_versions = False
        self.versions: dict[tuple[str, RowKey, str], list[StoredFile]] = {}  # what a file field held before, oldest first
        self._doc_ids = itertools.count(1)

    def row(self, record: str, key: RowKey) -> Row | None:
        with self.lock:
            return self.records.get(record, {}).get(key)

    def make_row(self, record: str, key: RowKey) -> Row:
        with self.lock:
            return self.records.setdefault(record, {}).setdefault(key, Row())

    def set_value(self, record: str, key: RowKey, name: str, value: str) -> None:
        """Set one value; an empty one removes it, as REDCap stores no empty values."""
        with self.lock:
            row = self.make_row(record, key)
            if value:
                row.values[name] = value
            else:
                row.values.pop(name, None)

    def put_file(self, record: str, key: RowKey, name: str, filename: str, upload: Upload) -> StoredFile:
        """Put a file into a field, in place of the one that may be there."""
        return self._put(record, key, name, filename, upload.content(), upload.size, upload.sha256)

    def put_bytes(self, record: str, key: RowKey, name: str, filename: str, content: bytes) -> StoredFile:
        """As `put_file`, for content that is at hand; it stays in memory."""
        return self._put(record, key, name, filename, content, len(content), hashlib.sha256(content).hexdigest())

    def _put(
        self, record: str, key: RowKey, name: str, filename: str, content: bytes | Path, size: int, sha256: str
    ) -> StoredFile:
        mime = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        with self.lock:
            stored = StoredFile(next(self._doc_ids), filename, mime, size, sha256, content)
            files = self.make_row(record, key).files
            replaced, files[name] = files.get(name), stored
            self._put_away(record, key, name, replaced)
        return stored

    def _put_away(self, record: str, key: RowKey, name: str, stored: StoredFile | None) -> None:
        if stored is not None and self.keeps_versions:
            self.versions.setdefault((record, key, name), []).append(stored)
        else:
            _forget(stored)

    def file(self, record: str, key: RowKey, name: str) -> StoredFile | None:
        with self.lock:
            row = self.row(record, key)
            return row.files.get(name) if row else None

    def remove_file(self, record: str, key: RowKey, name: str) -> bool:
        with self.lock:
            row = self.row(record, key)
            removed = row.files.pop(name, None) if row else None
            self._put_away(record, key, name, removed)
            return removed is not None

    def delete_row(self, record: str, key: RowKey) -> None:
        with self.lock:
            row = self.records[record].pop(key)
            for stored in row.files.values():
                _forget(stored)

    def delete(self, record: str) -> None:
        with self.lock:
            for key in list(self.records.get(record, ())):
                self.delete_row(record, key)
            self.records.pop(record, None)
            self.dags.pop(record, None)

    def next_name(self) -> str:
        """The record name after the highest numeric one."""
        with self.lock:
            return str(max((int(name) for name in self.records if name.isascii() and name.isdigit()), default=0) + 1)

    def holdings(self) -> Iterator[Holding]:
        with self.lock:
            found = [
                Holding(record, key.event, name, key.instance or None, stored.name, stored.size, stored.sha256)
                for record, rows in self.records.items()
                for key, row in rows.items()
                for name, stored in row.files.items()
            ]
        return iter(sorted(found, key=lambda h: (h.record, h.event, h.field, h.instance or 0)))
