"""What REDCap held before it is replaced: on disk, whole and durable, before anything is sent."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dropcap.display import shown
from dropcap.files import names
from dropcap.files.staged import Staged
from dropcap.files.tree import Tree

DIRECTORY = "preserved"
#: Room in a name for ` (NNNNN)` and `.json`.
_ROOM = 16
_UNWANTED = frozenset('/\\<>:"|?*')


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the bytes that are preserved came from; `when` has a time zone, and its day names the directory."""

    project: str
    job: int
    record: str
    field: str
    original_name: str
    when: datetime
    event: str | None = None
    instance: int | None = None


class PreserveSink:
    """Takes the bytes as they come from REDCap; `commit` lets them appear in `preserved/`."""

    def __init__(self, tree: Tree, staged: Staged) -> None:
        self._tree = tree
        self._staged = staged
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes. Raises OSError (ENOSPC, say)."""
        self._staged.write(data)
        self._digest.update(data)
        self.size += len(data)

    def commit(self, origin: Origin) -> str:
        """Make the copy durable under its own name, with a `.json` beside it; returns that name. Raises OSError."""
        directory = f"{DIRECTORY}/{origin.when.date().isoformat()}"
        told = json.dumps(
            {
                "project": origin.project,
                "job": origin.job,
                "record": origin.record,
                "event": origin.event,
                "field": origin.field,
                "instance": origin.instance,
                "original_name": origin.original_name,
                "size": self.size,
                "sha256": self.sha256,
                "preserved_at": origin.when.isoformat(timespec="milliseconds"),
            },
            indent=2,
        )
        with self._tree.stage(DIRECTORY) as beside:
            beside.write(told.encode() + b"\n")
            beside.seal()  # so that a full disk is noticed before anything appears
            for leaf in names.candidates(preserved_name(origin)):
                name = names.join(directory, leaf)
                if self._tree.exists(name + ".json"):
                    continue
                try:
                    self._staged.place(name)
                except FileExistsError:
                    continue
                break
            beside.place(name + ".json")
        return name


@contextlib.contextmanager
def preserve_sink(tree: Tree, min_free: int) -> Iterator[PreserveSink]:
    """A sink for one file. What is not committed leaves nothing behind. Raises OSError: ENOSPC below `min_free` bytes."""
    with tree.stage(DIRECTORY) as staged:
        free = tree.free_bytes(DIRECTORY)
        if free < min_free:
            message = f"Only {free} bytes are free, min_free asks for {min_free}; make room"
            raise OSError(errno.ENOSPC, message, DIRECTORY)
        yield PreserveSink(tree, staged)


def preserved_name(origin: Origin) -> str:
    """`RECORD_FIELD[_EVENT][_INSTANCE]_ORIGINALNAME`, without what a share or a shell could stumble over."""
    target = [origin.record, origin.field, origin.event or "", "" if origin.instance is None else str(origin.instance)]
    prefix = "_".join(_plain(part) for part in target if part)
    stem, extension = os.path.splitext(_plain(origin.original_name) or "file")
    if len(os.fsencode(extension)) > names.LONGEST // 4:
        stem, extension = stem + extension, ""
    return names.fitted(f"{prefix}_{stem}".lstrip(".~"), extension, names.LONGEST - _ROOM)


def _plain(text: str) -> str:
    return "".join("_" if c in _UNWANTED or shown(c) != c else c for c in text).strip(" .")
