"""Which drop folders this host lacks, as it tells the others: that they may have those instead. Pure but for its memory."""

from __future__ import annotations

from collections.abc import Collection

#: For so long (seconds) a folder is away before another host is to have it.
AWAY = 10.0
#: For so long (seconds) one that was handed over as away counts as lacking, though its marker is seen here: the reason may be one
#: that only shows where it is worked in (a share that cannot be written), and would send it round the hosts.
HANDED_OVER = 300.0


class Lacking:
    """For one thread."""

    def __init__(self) -> None:
        self.folders: frozenset[str] = frozenset()
        self.surely: frozenset[str] = frozenset()  # of them, those that are known not to be there; replaced whole
        self._away_since: dict[str, float] = {}
        self._gone: frozenset[str] = frozenset()
        self._handed_over: dict[str, float] = {}

    def look(
        self,
        held: Collection[str],
        away: Collection[str],
        leaving: Collection[str],
        unseen: Collection[str],
        gone: frozenset[str],
        now: float,
    ) -> frozenset[str]:
        """The folders that this host lacks `now` (monotonic seconds).

        `held` are those in which it works, and of these `away` are not there; `leaving` are to be handed over; `unseen` are those
        of other hosts that are not seen from here, `gone` those that were looked for in vain.
        """
        self._away_since = {name: self._away_since.get(name, now) for name in away}
        long = {name for name, since in self._away_since.items() if now - since > AWAY}
        back, self._gone = self._gone.difference(unseen), gone
        self._handed_over |= dict.fromkeys(self.folders.intersection(leaving), now)
        self._handed_over = {
            name: at
            for name, at in self._handed_over.items()
            if now - at <= HANDED_OVER and name not in back and (name not in held or name in leaving)
        }
        self.folders = frozenset(long).union(self._handed_over, unseen)
        self.surely = self.folders.difference(unseen) | gone
        return self.folders
