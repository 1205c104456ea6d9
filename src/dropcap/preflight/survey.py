"""The files that lie in a drop folder, and which of them would be taken now. Nothing is claimed or written."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dropcap.config.model import Folder
from dropcap.content.finding import UNDECIDED, Wholeness
from dropcap.content.formats import is_volume, judged
from dropcap.files.lease import Lease, writer_free
from dropcap.files.names import is_temporary
from dropcap.files.tree import Entry, Tree
from dropcap.intake import owner
from dropcap.intake.content import CUT_OFF, DISK_WAS_FULL
from dropcap.intake.left import Marks, is_left
from dropcap.intake.owner import lies_above
from dropcap.intake.settle import RestTime, Seen, Sight, settled_at
from dropcap.intake.walk import OWN, top
from dropcap.reasons import Reason
from dropcap.routing.ignored import ignored
from dropcap.routing.route import NoRoute, Route, route
from dropcap.routing.target import ContentCheck

_OURS = frozenset({owner.NAME, "_STATUS.html"})
#: Outcomes of files that would land in REDCap; all others, but for `ignored`, would not or not yet.
LANDS = frozenset({"stored", "replaces", "creates_record"})
QUIET = LANDS | {"ignored"}


@dataclass(frozen=True, slots=True)
class Prospect:
    """What would become of one file. `outcome` is one of LANDS, `ignored`, `unsettled`, `incomplete`, `waits`, `left`,
    `not_a_file`, `not_asked`, or the reason for which it would be refused (design, part 6)."""

    folder: str
    name: str
    size: int
    outcome: str
    message: str
    remedy: str = ""
    project: str = ""
    rule: str = ""
    record: str = ""
    event: str = ""
    field: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Lying:
    """A file that would be taken, with the way that its name gives it."""

    prospect: Prospect
    route: Route


@dataclass(frozen=True, slots=True)
class FirstWatched:
    """When the folder was first watched (None: never), and what was left there for that."""

    since_ns: int | None
    marks: Marks


def survey(folder: Folder, tree: Tree, local: bool, first: FirstWatched, open_names: frozenset[str]) -> list[Prospect | Lying]:
    """Everything in the folder, in the order in which it would be taken.

    `open_names` lie in in_progress/ already.

    Raises:
        OSError: the folder cannot be listed.
    """
    found: list[tuple[int, str, Prospect | Lying]] = []
    for entry in _entries(folder, tree):
        prospect = Prospect(folder.name, entry.name, 0, "", "", project=folder.project)
        try:
            if entry.error is not None:
                raise entry.error
            status = entry.stat
        except OSError as error:
            message = f"it cannot be read ({error.strerror})"
            hidden = replace(prospect, outcome=Reason.UNREADABLE, message=message, remedy="let dropcap's user read it")
            found.append((0, entry.name, hidden))
            continue
        if status is None:
            continue  # gone meanwhile
        judged = _judged(folder, tree, entry, status, replace(prospect, size=status.st_size), local, first, open_names)
        found.append((status.st_ctime_ns, entry.name, judged))
    return [judged for _, _, judged in sorted(found, key=lambda one: one[:2])]


def _entries(folder: Folder, tree: Tree) -> Iterator[Entry]:
    def enter(name: str) -> bool:
        ours = folder.subfolders and top(name) not in OWN and ignored(name, folder.ignore) is None
        return ours and not lies_above(tree, f"{name}/")

    for entry in tree.scan("", enter=enter):
        own = top(entry.name) in OWN | _OURS or is_temporary(entry.name)  # the page that a running dropcap writes
        if not own and (entry.kind != "dir" or entry.error is not None):
            yield entry


def _judged(
    folder: Folder,
    tree: Tree,
    entry: Entry,
    status: os.stat_result,
    prospect: Prospect,
    local: bool,
    first: FirstWatched,
    open_names: frozenset[str],
) -> Prospect | Lying:
    why = ignored(entry.name, folder.ignore)
    if why is not None:
        return replace(prospect, outcome="ignored", message=why)
    if not stat.S_ISREG(status.st_mode):
        return replace(
            prospect, outcome="not_a_file", message="it is a link, or not a plain file", remedy="put the file itself there"
        )
    if is_left(folder, entry.name, status, first.since_ns, first.marks):
        return _left(folder, prospect)
    if entry.name in open_names:
        return replace(prospect, outcome="waits", message="a file of this name is on its way in in_progress/")
    waiting = _unsettled(folder, tree, entry.name, status, local)
    if waiting is not None:
        return replace(prospect, outcome="unsettled", message=waiting, remedy="ask again once it is whole")
    return _routed(folder, tree, prospect)


def _routed(folder: Folder, tree: Tree, prospect: Prospect) -> Prospect | Lying:
    """A file that has settled: is it for a rule, and whole?"""
    found = route(folder.rules, folder.name, prospect.name)
    if isinstance(found, NoRoute):
        rule = found.rule.name if found.rule else ""
        return replace(prospect, outcome=found.reason, message=found.message, remedy=found.remedy, rule=rule)
    cut_off = _cut_off(tree, prospect.name, found.settings.content_check)
    if cut_off is not None:
        return replace(prospect, outcome=Reason.INCOMPLETE, message=cut_off, remedy="save or copy it again", rule=found.rule.name)
    target = found.target
    told = replace(
        prospect,
        rule=found.rule.name,
        record=target.record,
        event=target.event or "",
        field=target.field,
        instance=str(target.instance or ""),
    )
    return Lying(told, found)


def _left(folder: Folder, prospect: Prospect) -> Prospect:
    message, found = "it has been there since before the folder was watched", route(folder.rules, folder.name, prospect.name)
    if folder.first_start == "leave":
        remedy = "rename it or drop it again to have it taken"
        return replace(prospect, outcome="left", message=f"{message} (first_start: leave)", remedy=remedy)
    why = found.message if isinstance(found, NoRoute) else ""
    remedy = "give it a name that a rule matches, or add a rule for such names"
    return replace(prospect, outcome="left", message=f"{message}, and {why}", remedy=remedy)


def _unsettled(folder: Folder, tree: Tree, name: str, status: os.stat_result, local: bool) -> str | None:
    """What keeps the file from being taken now. One look tells less than the daemon's many: the times are believed."""
    lease = Lease.UNKNOWN
    if local:
        try:
            fd = tree.open(name)
        except OSError as error:
            return f"it cannot be opened ({error.strerror})"
        try:
            lease = writer_free(fd)
        finally:
            os.close(fd)
    if lease is Lease.WRITER:
        return "somebody is writing to it"
    now, wall = time.monotonic(), time.time_ns()
    age = max(0, wall - max(status.st_mtime_ns, status.st_ctime_ns)) / 1e9
    seen = Seen(Sight.of(status), now - age, now - age)
    left = settled_at(seen, RestTime(folder.settle_closed, folder.settle_quiet, local), lease) - now
    return f"it was changed just now: it must rest for {left:.0f} s more" if left > 0.5 else None


def _cut_off(tree: Tree, name: str, check: ContentCheck) -> str | None:
    """Why the file may not be all there, though nobody writes to it."""
    try:
        full = tree.free_bytes(name.rpartition("/")[0]) == 0
        if is_volume(name) or (check is ContentCheck.OFF and not full):
            finding = UNDECIDED
        else:
            fd = tree.open(name)
            try:
                finding = judged(fd)
            finally:
                os.close(fd)
    except OSError:
        return None  # whoever takes it meets the same and tells
    if finding.is_cut and check is not ContentCheck.OFF:
        return f"{CUT_OFF}: {finding.why}"
    return DISK_WAS_FULL if full and finding.verdict is not Wholeness.WHOLE else None
