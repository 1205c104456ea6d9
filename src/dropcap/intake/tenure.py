"""A folder as it is lent to those who send and file, from its opening until the last of them is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from dropcap.files.tree import Tree
from dropcap.intake.owner import Away, NoMarker
from dropcap.intake.presence import Presence


class Tenure:
    """The directory in which a channel works now, if it is there and ours. Safe for threads."""

    def __init__(self, holds: Callable[[], bool] = lambda: True) -> None:
        """`holds`: whether no other host may work there at this moment."""
        self._holds = holds
        self._held: tuple[Tree, Presence] | None = None
        self._covered: Presence | None = None  # somebody has put something else over its marker

    def begin(self, tree: Tree, presence: Presence) -> None:
        """The folder was opened."""
        self._held, self._covered = (tree, presence), None

    def end(self, why: Exception | None = None) -> None:
        """The folder is away, or others work there now: the directory is closed once nobody uses it any more."""
        held, self._held = self._held, None
        if held is not None:
            held[1].end()
            self._covered = held[1] if isinstance(why, NoMarker) else None

    def restore(self) -> None:
        """The folder is to be opened again: if its marker was covered and what covered it is gone, it is written anew."""
        if self._covered is not None:
            with contextlib.suppress(Away, OSError):  # opening it tells
                self._covered.restore()

    @property
    def lent(self) -> Tree | None:
        """The directory, None if it is not known to be ours at this moment. Touches no file system."""
        held = self._held
        return held[0] if held is not None and held[1].sure() and self._holds() else None

    def confirm(self) -> Callable[[], bool] | None:
        """Read in the marker whether the folder is still ours, which may hang: None if not, else what tells so without a look."""
        held = self._held
        if held is None or not self._holds():
            return None
        try:
            held[1].confirm()
        except (Away, OSError):
            return None
        return lambda: held[1].sure() and self._holds()

    def leave(self, within: float) -> None:
        """Say in the marker that nobody works there any more. Waits for the share so long at most (seconds)."""
        held = self._held
        if held is not None:
            held[1].end(say_so=True, within=within)

    @property
    def kept(self) -> bool:
        """Whether the marker is still kept."""
        held = self._held
        return held is not None and held[1].goes_on

    def leave_once(self, idle: Callable[[], bool] | None) -> None:
        """The same, once `idle` tells that nothing is under way; not at all, if it is None."""
        held = self._held
        if held is not None:
            held[1].end_once(idle)
