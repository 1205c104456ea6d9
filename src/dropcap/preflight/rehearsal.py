"""What would become of the files that lie in a folder. Nothing is claimed, created or sent."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from dropcap.config.model import Folder
from dropcap.content.reader import UNDECIDED, Wholeness
from dropcap.content.worker import is_volume, judged
from dropcap.delivery.lookup import Question, look_up
from dropcap.delivery.plan import Create, Facts, Send, impossible, plan
from dropcap.delivery.project_client import ProjectClient
from dropcap.delivery.work import not_in_its_group
from dropcap.files.names import is_temporary
from dropcap.files.regular import Lease, writer_free
from dropcap.files.tree import Entry, Tree
from dropcap.intake import owner
from dropcap.intake.arrivals import OWN, Fingerprint, Observation, RestTime, settled_at, top
from dropcap.intake.content import CUT_OFF, DISK_WAS_FULL
from dropcap.intake.owner import lies_above
from dropcap.intake.strays import Marks, is_left
from dropcap.ledger.job import Held, Refused, WaitForRecord
from dropcap.reasons import Reason
from dropcap.redcap.client import ProjectStructure
from dropcap.routing.route import NoRoute, Route, ignored
from dropcap.routing.rule import NEXT, ContentCheck, ExistingFile, MissingRecord, Target

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
    return [judged for _, _, judged in sorted(found, key=itemgetter(0, 1))]


def _entries(folder: Folder, tree: Tree) -> Iterator[Entry]:
    for entry in tree.scan():
        if entry.kind == "dir":
            ours = folder.subfolders and top(entry.name) not in OWN and ignored(entry.name, folder.ignore) is None
            entry.enter = ours and not lies_above(tree, f"{entry.name}/")
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
    found = folder.route(prospect.name)
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
    message, found = "it has been there since before the folder was watched", folder.route(prospect.name)
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
    seen = Observation(Fingerprint.of(status), now - age, now - age)
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
        return None  # taking it meets the same error, and reports it
    if finding.is_cut and check is not ContentCheck.OFF:
        return f"{CUT_OFF}: {finding.why}"
    return DISK_WAS_FULL if full and finding.verdict is not Wholeness.WHOLE else None


#: Files whose records are looked up together.
GROUP = 500


def rehearse(client: ProjectClient, structure: ProjectStructure, lying: Sequence[Lying]) -> Iterator[Prospect]:
    """What REDCap says to the files of one project, in their order.

    Raises:
        RedcapError: it did not answer as it should; the files that were not yielded were not asked about.
    """
    creates = any(one.route.settings.missing_record is MissingRecord.CREATE for one in lying)
    booked = _Booked(structure, client.group() if creates else "")
    for start in range(0, len(lying), GROUP):
        group = lying[start : start + GROUP]
        refused = [_hopeless(client, structure, one) for one in group]
        questions = [
            Question(number, one.route.target, one.route.settings) for number, one in enumerate(group) if refused[number] is None
        ]
        facts = look_up(client.redcap, structure, questions) if questions else {}
        for number, one in enumerate(group):
            hopeless = refused[number]
            if hopeless is not None:
                yield _refusal(one.prospect, hopeless)
            else:
                yield booked.outcome(one, facts[number])


def _hopeless(client: ProjectClient, structure: ProjectStructure, one: Lying) -> Refused | None:
    target = one.route.target
    return client.refuses(one.prospect.size, target.upload_as) or impossible(structure, target)


class _Booked:
    """What the files before would have changed: places filled, instances taken, records created."""

    def __init__(self, structure: ProjectStructure, group: str) -> None:
        """`group` is the data access group of the token's user, as far as it is told."""
        self._group = group
        self._structure = structure
        self._filled: dict[tuple[Any, ...], str] = {}
        self._instances: dict[tuple[Any, ...], int] = {}
        self._created: dict[str, int] = {}
        self._new: set[str] = set()

    def outcome(self, one: Lying, facts: Facts) -> Prospect:
        prospect, target, settings = one.prospect, one.route.target, one.route.settings
        if target.record in self._new and facts.record is None:
            facts = _created(target)
        step = plan(target, replace(settings, suggest_records=True), facts)  # who asks here may see them
        if isinstance(step, Refused):
            return _refusal(replace(prospect, record=facts.record or prospect.record), step)
        if isinstance(step, WaitForRecord):
            remedy = "create the record in REDCap; dropcap looks again by itself for 7 days"
            return replace(prospect, outcome="waits", message=step.message, remedy=remedy)
        if isinstance(step, Create) and self._group:
            step = not_in_its_group(step.record, self._group)
        if isinstance(step, Held):
            return replace(prospect, outcome=step.reason, message=step.message, remedy=step.remedy)
        if isinstance(step, Create):
            return self._creates(one)
        assert isinstance(step, Send)  # nothing else comes of a file that was never sent
        return self._sends(one, step)

    def _creates(self, one: Lying) -> Prospect:
        prospect, limit = one.prospect, one.route.settings.create_limit
        if self._created.get(prospect.folder, 0) >= limit:
            message = f"its record would be created, and create_limit allows {limit} a day"
            return replace(
                prospect, outcome=Reason.CREATE_LIMIT, message=message, remedy="check that so many new records are right"
            )
        step = plan(one.route.target, one.route.settings, _created(one.route.target))
        if not isinstance(step, Send):
            assert isinstance(step, Refused)  # a new record has no values that must_match could find
            return _refusal(prospect, step)
        self._created[prospect.folder] = self._created.get(prospect.folder, 0) + 1
        self._new.add(prospect.record)
        landed = self._sends(one, step)
        return replace(landed, outcome="creates_record", message=f"its record would be created, then: {landed.message}")

    def _sends(self, one: Lying, step: Send) -> Prospect:
        prospect, settings = one.prospect, one.route.settings
        instance = step.instance
        if one.route.target.instance == NEXT:
            group = (step.record, step.event, self._structure.fields[step.field].form)
            instance = self._instances[group] = max(instance or 1, self._instances.get(group, 0) + 1)
        place = (step.record, step.event, step.field, instance)
        prospect = replace(prospect, record=step.record, instance=str(instance or ""))
        before = self._filled.get(place)
        if before is None and not step.shows:
            self._filled[place] = prospect.name
            return replace(prospect, outcome="stored", message="would land in an empty field")
        holds = f"{before} of this list would be there already" if before else "the field holds a file already"
        if settings.existing_file is ExistingFile.REFUSE:
            message = f"{holds}: refused unless it is the same (existing_file: refuse)"
            return replace(prospect, outcome=Reason.FILE_EXISTS, message=message, remedy="remove one of the two")
        self._filled[place] = prospect.name
        kept = "a copy is kept, then replaced" if settings.existing_file is ExistingFile.PRESERVE else "replaced"
        return replace(prospect, outcome="replaces", message=f"{holds}: {kept}, unless it is the same")


def _created(target: Target) -> Facts:
    """The facts of a record that was just created with nothing but its id."""
    return Facts(target.record, next_instance=1, differing=tuple(target.must_match))


def _refusal(prospect: Prospect, refused: Refused) -> Prospect:
    return replace(prospect, outcome=refused.reason, message=refused.message, remedy=refused.remedy)


def missing_records(prospects: Sequence[Prospect]) -> Mapping[str, int]:
    """The records that REDCap does not have, and how many files each of them keeps from landing."""
    counts: dict[str, int] = {}
    for one in prospects:
        if one.outcome in (Reason.NO_RECORD, "waits") and one.record:
            counts[one.record] = counts.get(one.record, 0) + 1
    return counts
