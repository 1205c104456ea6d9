"""Whether the folders in which other hosts work are there for this host too: by their markers, each in a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from threading import Thread

from dropcap.config.model import Folder
from dropcap.intake import owner
from dropcap.intake.mounts import open_tree
from dropcap.intake.owner import Away
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.query import Query
from dropcap.threads import NoThread, begin

#: Seconds between two looks at a folder.
_EVERY = 10.0


@dataclass(slots=True)
class _Look:
    """The last look at a folder; a share that hangs lets it last."""

    thread: Thread
    began: float
    there: bool = False


class WithinReach:
    """For one thread. Waits for no share."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._looks: dict[str, _Look] = {}

    def lacking(self, folders: Collection[Folder]) -> frozenset[str]:
        """Those of `folders` that are not known to be there: no directory of theirs is, or another one than in the ledger."""
        now = time.monotonic()
        names = {folder.name for folder in folders}
        # What was seen before this host worked there itself says nothing of now.
        self._looks = {name: look for name, look in self._looks.items() if name in names or look.thread.is_alive()}
        lacking = set()
        for folder in folders:
            last = self._looks.get(folder.name)
            if last is None or (not last.thread.is_alive() and now - last.began > _EVERY):
                self._begin(folder, now, last)
            if (look := self._looks.get(folder.name)) is None or not look.there or now - look.began > 2 * _EVERY:
                lacking.add(folder.name)
        return frozenset(lacking)

    def gone(self) -> frozenset[str]:
        """Those that were looked for last and found not to be there."""
        return frozenset(name for name, look in self._looks.items() if not look.there and not look.thread.is_alive())

    def _begin(self, folder: Folder, now: float, last: _Look | None) -> None:
        def run() -> None:
            there = self._is_there(folder)
            look.there = there

        look = _Look(Thread(), now, last is not None and last.there)
        try:
            look.thread = begin(run, f"reach {folder.name}")
        except NoThread:
            return
        self._looks[folder.name] = look

    def _is_there(self, folder: Folder) -> bool:
        try:
            known = self._query.known_folder(folder.name)
            tree = open_tree(folder.path)
            try:
                marker = owner.read(tree)
            finally:
                tree.close()
        except (OSError, Away, DatabaseError):
            return False
        return known is None or (marker is not None and marker.id == known.marker)
