"""Whether what `keep` says is over is removed at all: `dropcap prune` does, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dropcap.config.model import Config
from dropcap.display import shown
from dropcap.ledger.query import Query
from dropcap.preflight.remark import Remark, in_configuration

#: The word of the installation that says when a folder was pruned last, before the folder's name.
PRUNED = "pruned "
#: Seconds after which somebody should look why it was not.
_OVERDUE = 8 * 86400.0
#: What is later than now by more was entered by a clock that was ahead (seconds).
_AHEAD = 86400.0
REMEDY = "enable its timer (systemctl enable --now dropcap-prune.timer), or run it by hand"


@dataclass(frozen=True, slots=True)
class NotPruned:
    """A folder of which nothing was removed for too long; `since`: when it last was, None if never (seconds since the epoch)."""

    folder: str
    since: float | None


def not_pruned(config: Config, query: Query, folders: Sequence[str], now: float) -> list[NotPruned]:
    """Those of these folders that `dropcap prune` has not dealt with for eight days, or never, while `keep` is set."""
    if not config.keep.ends:
        return []
    last = {folder: float(at) for folder, at in query.metas(PRUNED).items()}
    found = []
    for folder in folders:
        pruned = last.get(folder)
        if pruned is not None and pruned > now + _AHEAD:
            pruned = None
        known = query.known_folder(folder)
        since = pruned if pruned is not None else known.first_seen if known is not None else now
        if now - since > _OVERDUE:
            found.append(NotPruned(folder, pruned))
    return found


def told(overdue: Sequence[NotPruned]) -> str:
    """That these were not pruned, in a sentence without its end."""
    names = ", ".join(shown(one.folder) for one in overdue)
    return f"`keep` is set, but `dropcap prune` has not run for 8 days, so nothing is removed and the disks fill up: {names}"


def retention_remarks(config: Config, query: Query, folders: Sequence[str], now: float) -> Iterator[Remark]:
    """The same for `check`."""
    if overdue := not_pruned(config, query, folders, now):
        yield Remark("warning", in_configuration(f"{config.path}: keep"), told(overdue), REMEDY)
