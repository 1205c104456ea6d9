"""What is remembered of files in a drop folder, also over restarts: cut off since when, and seen on a full disk."""

from __future__ import annotations

import contextlib
import threading
import time

from dropcap.intake.entries import IntakeLedger
from dropcap.intake.settle import Sight
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.job import Mark, MarkKind
from dropcap.threads import NoThread, begin


class FileMarks:
    """The marks of one folder's files, but for a person's word that one is to be sent as it is. For one thread."""

    def __init__(self, ledger: IntakeLedger, folder: str) -> None:
        self._ledger = ledger
        self._folder = folder
        self._marks: dict[tuple[str, MarkKind], Mark] = {
            (mark.name, mark.kind): mark for mark in ledger.marks(folder) if mark.kind is not MarkKind.AS_IS
        }
        self._unsaved: set[tuple[str, MarkKind]] = set()
        self._saving: threading.Thread | None = None

    def names(self) -> set[str]:
        """The files that have one."""
        return {name for name, _ in self._marks}

    def of(self, name: str, kind: MarkKind, sight: Sight, local: bool) -> Mark | None:
        """The mark of a file that is still as it was then. Of a share's own clock the ctime says little."""
        mark = self._marks.get((name, kind))
        if mark is None:
            return None
        then = Sight(mark.size, mark.mtime_ns, mark.ctime_ns, mark.inode)
        return mark if then == sight or (not local and then.same_bytes(sight)) else None

    def make(self, name: str, kind: MarkKind, sight: Sight) -> Mark:
        """Mark a file as it is now; `save` keeps it."""
        mark = Mark(name, kind, sight.size, sight.mtime_ns, sight.ctime_ns, sight.inode, time.time())
        self._marks[name, kind] = mark
        self._unsaved.add((name, kind))
        return mark

    def forget(self, name: str) -> None:
        """The file is taken or gone."""
        for key in ((name, MarkKind.CUT), (name, MarkKind.FULL)):
            if self._marks.pop(key, None) is not None:
                self._unsaved.add(key)

    def save(self) -> None:
        """Have entered in the ledger what has changed since the last time.

        Nobody waits for it: its disk may be the one that is full, and who comes next must be seen meanwhile.
        """
        if self._unsaved and (self._saving is None or not self._saving.is_alive()):
            marks = {key: self._marks.get(key) for key in self._unsaved}
            with contextlib.suppress(NoThread):  # at the next time
                self._saving = begin(self._write, "marks", marks)
                self._unsaved = set()

    def _write(self, marks: dict[tuple[str, MarkKind], Mark | None]) -> None:
        try:
            self._ledger.mark(self._folder, [mark for mark in marks.values() if mark is not None])
            for kind in (MarkKind.CUT, MarkKind.FULL):
                gone = [name for (name, its), mark in marks.items() if mark is None and its is kind]
                if gone:
                    self._ledger.unmark(self._folder, gone, (kind,))
        except DatabaseError:
            pass  # dropcap ends, or the ledger is damaged, of which it tells itself
