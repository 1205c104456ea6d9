"""Which drop folders are not there, and for how long: whose files are waited for. For the deciding thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dropcap.delivery.queue import FolderQueue
from dropcap.ledger.passing import NOBODY, Absent

#: Seconds for which files to the same place wait for one whose folder is absent.
WAITED_FOR = 3600.0


class Absence:
    """Looks which folders are absent. A folder that is paused by hand is not: its files are waited for."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._unknown: frozenset[str] = frozenset()  # not in the configuration, though they have files on their way
        self.absent = NOBODY

    def configured(self, folders: Iterable[str], with_files: Iterable[str]) -> None:
        """`folders` are those of the configuration, `with_files` those that have files on their way."""
        self._unknown = frozenset(with_files).difference(folders)

    def look(self, folders: Mapping[str, FolderQueue], now: float) -> bool:
        """See how it is `now` (monotonic seconds); whether that lets files go that had to wait.

        What a folder keeps in memory is read anew once it is back: its files may have been passed.
        """
        away = {name for name, folder in folders.items() if folder.absent()}
        for name in self._since.keys() - away:
            del self._since[name]
            if (back := folders.get(name)) is not None:
                back.forget()
        for name in away:
            self._since.setdefault(name, now)
        long = {name for name, since in self._since.items() if now - since > WAITED_FOR}
        before, self.absent = self.absent, Absent(self._unknown | long, frozenset(away))
        return bool((self.absent.long - before.long) or (self.absent.now - before.now))
