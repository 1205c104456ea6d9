"""Which drop folders are not there, and for how long: whose files are waited for. For the deciding thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from dropcap.delivery.queue import FolderQueue
from dropcap.ledger.passing import NOBODY, Absent

#: Seconds for which files to the same place wait for one whose folder is absent.
WAITED_FOR = 3600.0


class Absence:
    """Looks which folders are absent: those that are away or do not answer, and those that are not in the configuration now,
    which may be a slip. A folder that is paused by hand is not: its files are waited for. Nor is one in which another
    host works, that alone has it in its configuration.
    """

    def __init__(self, elsewhere: Callable[[], Collection[str]] = tuple) -> None:
        """`elsewhere` tells in which folders other hosts work now."""
        self._elsewhere = elsewhere
        self._since: dict[str, float] = {}
        self._unknown: frozenset[str] = frozenset()  # not in the configuration, though they have files on their way
        self.absent = NOBODY

    def configured(self, folders: Iterable[str], with_files: Iterable[str]) -> None:
        """`folders` are those of the configuration, `with_files` those that have files on their way."""
        self._unknown = frozenset(with_files).difference(folders)

    def look(self, folders: Mapping[str, FolderQueue], paused: Collection[str], now: float) -> bool:
        """See how it is `now` (monotonic seconds); whether that lets files go that had to wait. `paused` are by hand.

        What a folder keeps in memory is read anew once it is seen to be back, and waits until then: it may have been passed.
        """
        unknown = self._unknown.difference(paused, self._elsewhere()) if self._unknown else self._unknown
        away = {name for name, folder in folders.items() if folder.absent()} | unknown
        for name, folder in folders.items():
            folder.may_be_passed = name in away
        for name in self._since.keys() - away:
            del self._since[name]
            if (back := folders.get(name)) is not None:
                back.forget()
        for name in away:
            self._since.setdefault(name, now)
        long = {name for name, since in self._since.items() if now - since > WAITED_FOR}
        before, self.absent = self.absent, Absent(frozenset(long), frozenset(away))
        return bool((self.absent.long - before.long) or (self.absent.now - before.now))
