"""A folder as it is lent to those who send and file, from its opening until the last of them is done."""

from __future__ import annotations

from collections.abc import Callable

from dropcap.files.tree import Tree
from dropcap.intake.owner import Away
from dropcap.intake.presence import Presence


class Tenure:
    """The directory in which a channel works now, if it is there and ours. Safe for threads."""

    def __init__(self) -> None:
        self._held: tuple[Tree, Presence] | None = None

    def begin(self, tree: Tree, presence: Presence) -> None:
        """The folder was opened."""
        self._held = (tree, presence)

    def end(self) -> None:
        """The folder is away, or others work there now: the directory is closed once nobody uses it any more."""
        held, self._held = self._held, None
        if held is not None:
            held[1].end()

    @property
    def lent(self) -> Tree | None:
        """The directory, None if it is not known to be ours at this moment. Touches no file system."""
        held = self._held
        return held[0] if held is not None and held[1].sure() else None

    def confirm(self) -> Callable[[], bool] | None:
        """Read in the marker whether the folder is still ours, which may hang: None if not, else what tells so without a look."""
        held = self._held
        if held is None:
            return None
        try:
            held[1].confirm()
        except (Away, OSError):
            return None
        return held[1].sure

    def leave(self, within: float) -> None:
        """Say in the marker that nobody works there any more. Waits for the share so long at most (seconds)."""
        held = self._held
        if held is not None:
            held[1].end(say_so=True, within=within)

    def leave_once(self, idle: Callable[[], bool] | None) -> None:
        """The same, once `idle` tells that nothing is under way; not at all, if it is None."""
        held = self._held
        if held is not None:
            held[1].end_once(idle)
