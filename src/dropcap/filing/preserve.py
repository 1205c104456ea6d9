"""What REDCap held before it is replaced: on disk, whole and durable, before anything is sent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dropcap.display import shown
from dropcap.files import names
from dropcap.files.private import PrivateTree
from dropcap.files.staged import Staged
from dropcap.filing.copies import Copy, Index
from dropcap.filing.keep import Keep, NoCopy

#: Where copies lay in drop folders once, and the directory in `state_dir` where they lie now.
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
    """Takes the bytes as they come from REDCap; `commit` keeps them.

    Whether they need to be kept is known only once all have come: until `commit`, no trouble in the place is anybody's.
    """

    def __init__(self, keep: Keep, job: int) -> None:
        self._keep = keep
        self._job = job
        self._begun = False
        self._staged: Staged | None = None  # the place's own thread alone works with it
        self._trouble: NoCopy | None = None
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written so far, in hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes. Never raises."""
        self._digest.update(data)
        self.size += len(data)
        if self._trouble is None:
            self._begun = True
            try:
                self._keep.do(lambda tree, _: self._write(tree, data), len(data))
            except NoCopy as trouble:
                self._trouble = trouble
                self.close()  # half a file takes room

    def commit(self, origin: Origin) -> str:
        """Make the copy durable under its own name, with a `.json` beside it; returns its path. Raises NoCopy.

        The same bytes of the same place that were kept before are not kept again.
        """
        self._begun = True
        try:
            kept = self._keep.do(
                lambda tree, index: self._kept(tree, index, origin) or self._place(tree, index, origin), self.size
            )
        except NoCopy:
            self._keep.failed(self._job, self.size)
            raise
        self._keep.failed(self._job, None)
        return str(self._keep.path / kept)

    def close(self) -> None:
        """Let go of what was not committed; it leaves nothing behind."""
        if self._begun:
            self._keep.later(self._drop)

    # -- by the thread that works in the place

    def _write(self, tree: PrivateTree, data: bytes) -> None:
        self._keep.room(tree, len(data))
        if self._staged is None:
            self._staged = tree.stage()
        self._staged.write(data)

    def _drop(self) -> None:
        staged, self._staged = self._staged, None
        if staged is not None:
            staged.__exit__(None, None, None)

    def _kept(self, tree: PrivateTree, index: Index, origin: Origin) -> str | None:
        """The copy of these bytes from this place that is there already."""
        for copy in index.beginning(_beginning(origin)):
            if (copy.sha256, copy.size) != (self.sha256, self.size) or not _same_place(copy, origin):
                continue
            if not copy.intact(tree):
                if tree.exists(copy.name):
                    continue
                self._whole(tree).place(copy.name)  # a crash came between what tells of it and itself, or a person took it away
            copy.touch(tree)
            return copy.name
        return None

    def _whole(self, tree: PrivateTree) -> Staged:
        """The bytes, all of them on the disk. Raises NoCopy if there was no keeping them."""
        if self._trouble is not None:
            raise self._trouble
        if self._staged is None:
            self._write(tree, b"")  # REDCap holds an empty file
        assert self._staged is not None
        self._staged.seal()
        return self._staged

    def _place(self, tree: PrivateTree, index: Index, origin: Origin) -> str:
        whole = self._whole(tree)
        directory = origin.when.date().isoformat()
        with tree.stage() as beside:
            beside.write(json.dumps(_told(origin, self.size, self.sha256), indent=2).encode() + b"\n")
            for leaf in names.candidates(preserved_name(origin)):
                name = names.join(directory, leaf)
                if tree.exists(name):
                    continue
                try:
                    beside.place(name + ".json")
                except FileExistsError:
                    continue
                break
        # What tells of the copy is there first, so that a copy never lies there unexplained.
        whole.place(name)
        index.add(name)
        return name


@contextlib.contextmanager
def preserve_sink(keep: Keep, job: int) -> Iterator[PreserveSink]:
    """A sink for what `job` is to replace. What is not committed leaves nothing behind.

    Raises NoCopy, before anything is asked of REDCap, if a copy could not be kept for this job and still cannot be.
    """
    keep.expect(job)
    sink = PreserveSink(keep, job)
    try:
        yield sink
    finally:
        sink.close()


def preserved_name(origin: Origin) -> str:
    """`RECORD_FIELD[_EVENT][_INSTANCE]_ORIGINALNAME`, without what a share or a shell could stumble over."""
    stem, extension = os.path.splitext(_plain(origin.original_name) or "file")
    if len(os.fsencode(extension)) > names.LONGEST // 4:
        stem, extension = stem + extension, ""
    return names.fitted(f"{_target(origin)}_{stem}".lstrip(".~"), extension, names.LONGEST - _ROOM)


def _target(origin: Origin) -> str:
    target = [origin.record, origin.field, origin.event or "", "" if origin.instance is None else str(origin.instance)]
    return "_".join(_plain(part) for part in target if part)


def _beginning(origin: Origin) -> str:
    """What the names of all copies from this place begin with, however they were cut."""
    return f"{_target(origin)}_".lstrip(".~")[:40]


def _plain(text: str) -> str:
    return "".join("_" if c in _UNWANTED or shown(c) != c else c for c in text).strip(" .")


def _same_place(copy: Copy, origin: Origin) -> bool:
    there = (copy.project, copy.record, copy.event, copy.field, copy.instance)
    return there == (origin.project, origin.record, origin.event, origin.field, origin.instance)


def _told(origin: Origin, size: int, sha256: str) -> dict[str, object]:
    return {
        "project": origin.project,
        "job": origin.job,
        "record": origin.record,
        "event": origin.event,
        "field": origin.field,
        "instance": origin.instance,
        "original_name": origin.original_name,
        "size": size,
        "sha256": sha256,
        "preserved_at": origin.when.isoformat(timespec="milliseconds"),
    }
