"""One project, asked: does it answer, whose token is it, and do the rules agree with it?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dropcap.config.model import Folder, Project
from dropcap.delivery import identity
from dropcap.delivery.lookup import NOBODY, either
from dropcap.delivery.needs import export_reasons, lookup_reasons
from dropcap.delivery.order import Order
from dropcap.ledger.lead import Lead
from dropcap.preflight.disagreement import Disagreement
from dropcap.preflight.remark import Level, Place, Remark, place_of
from dropcap.preflight.rights import instead_of
from dropcap.preflight.rules import asked_fields, inspect, mismatch, needed_fields
from dropcap.reasons import Reason
from dropcap.redcap.client import Redcap, RedcapError
from dropcap.redcap.model import GROUP_COLUMN, Rights
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.reply import remedy_now as remedy_now
from dropcap.redcap.structure import ProjectStructure

#: Reasons of troubles that time may mend; all others want a person.
LATER = frozenset(
    {Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.MAINTENANCE, Reason.BANNED, Reason.RATE_LIMITED, Reason.CAME_BACK_SHORT}
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a project says of itself. `rights` is None if REDCap does not tell them."""

    version: str
    structure: ProjectStructure
    rights: Rights | None


def ask(client: Redcap) -> Answer:
    """Ask a project for everything that rules are compared with.

    Raises:
        RedcapError: it does not answer as it should.
    """
    version = client.version()
    return Answer(version, ProjectStructure.from_api(client), client.rights())


def import_only(folders: Sequence[Folder]) -> Iterator[Remark]:
    """What works with a token that may not export, rule by rule."""
    for folder in folders:
        for rule in folder.rules:
            needing = export_reasons(rule)
            if needing:
                message = f"does not work without API Export: {', '.join(needing)} {'needs' if len(needing) == 1 else 'need'} it"
                yield Remark(
                    "error", place_of(folder, rule), message, "give API export (User Rights), or set " + instead_of(needing)
                )
            else:
                message = "needs no API Export; whether the project has its field and event is not told to this token"
                yield Remark("unsure", place_of(folder, rule), message, "compare it by hand, or try it with one file")


def trouble(project: Project, folders: Sequence[Folder], meaning: Meaning) -> Remark:
    """What it means for a check that the project could not be asked."""
    if meaning.reason == Reason.RIGHTS:
        needing = [f"{folder.name}/{rule.name}" for folder in folders for rule in folder.rules if export_reasons(rule)]
        if needing:
            what = f"may not export, which the rules need ({', '.join(needing[:5])}{' …' if len(needing) > 5 else ''})"
            remedy = "give API export and `Full Data Set` in REDCap (User Rights)"
            return Remark("error", place_of(project), f"the token's user {what}: {meaning.message}", remedy)
        message = f"the token's user may not export, so the rules cannot be compared with the project: {meaning.message}"
        return Remark("unsure", place_of(project), message, "compare them by hand, or give API export for this check")
    return Remark("error", place_of(project), meaning.message, remedy_now(meaning), later=meaning.reason in LATER)


def project_remarks(project: Project, folders: Sequence[Folder], client: Redcap, order: Order) -> Iterator[Remark]:
    """All that REDCap can tell of a project and of its rules; `order` knows which project it was, and learns which it is."""
    where = place_of(project)
    before = order.number(project.name)
    try:
        answer = ask(client)
        order.told(project.name, answer.structure.project)
    except RedcapError as error:
        if error.meaning.reason == Reason.RIGHTS:
            order.hides(project.name)
        yield trouble(project, folders, error.meaning)
        if error.meaning.reason == Reason.RIGHTS:
            yield from import_only(folders)
        return
    except OSError as error:
        message = f"no request can be made: the request window {error.filename or ''} cannot be used ({error.strerror})"
        yield Remark("error", where, message, "run this as dropcap's user")
        return
    yield Remark("ok", where, _described(answer))
    if project.project_id not in (None, answer.structure.project.project_id):
        message, remedy = mismatch(project, answer.structure)
        yield Remark("error", where, message, remedy)
        return  # what another project lacks says nothing
    if before not in (None, answer.structure.project.project_id):
        meaning = identity.mismatch(project, Lead(before, ""), answer.structure.project.project_id)
        yield Remark("error", where, meaning.message, meaning.remedy)
        return
    findings = [(folder, inspect(folder, answer.structure, answer.rights, project)) for folder in folders]
    # What concerns all rules of a project is found with each of its folders, and told once.
    general = {(f.level, f.message, f.remedy) for _, found in findings for f in found if not f.rule}
    for level, message, remedy in sorted(general):
        yield Remark(level, where, message, remedy)
    asked: list[Disagreement] = []
    try:
        asked += _refused(folders, client, answer.structure)
        asked += _unseen(folders, client, answer.structure) if not asked else []
    except RedcapError as error:
        yield Remark("unsure", where, f"it cannot be told whether the token sees what the rules need: {error.meaning.message}")
    yield from _of_rules([(folder, [*found, *(one for one in asked if one.folder == folder.name)]) for folder, found in findings])


def _refused(folders: Sequence[Folder], client: Redcap, structure: ProjectStructure) -> Iterator[Disagreement]:
    """Rules whose question about a record REDCap refuses: it is asked here as it is for a file, though about no record.

    Raises RedcapError for any other trouble.
    """
    told: dict[tuple[object, ...], Meaning | None] = {}
    for folder in folders:
        for rule in folder.rules:
            fields = sorted({structure.record_id_field, *asked_fields(rule, structure)})
            questions: list[dict[str, Any]] = [{"records": [NOBODY], "fields": fields}] if lookup_reasons(rule) else []
            if rule.record_where and all(structure.knows(name) for name in rule.record_where):
                known = sorted({structure.record_id_field, *rule.record_where})
                questions.insert(0, {"fields": known, "filter_logic": either((name, NOBODY) for name in rule.record_where)})
            for question in questions:
                key = tuple(map(str, question.items()))
                if key not in told:
                    told[key] = _refusal(client, question)
                if (meaning := told[key]) is not None:
                    message = f"REDCap refuses what is asked of the record for this rule's files, so they wait: {meaning.message}"
                    yield Disagreement("error", folder.name, rule.name, "lookup", message, meaning.remedy)
                    break


def _refusal(client: Redcap, question: Mapping[str, Any]) -> Meaning | None:
    try:
        client.records(**question)
    except RedcapError as error:
        if error.meaning.verdict is Verdict.REFUSED or error.meaning.reason == Reason.RIGHTS:
            return error.meaning
        raise
    return None


def _unseen(folders: Sequence[Folder], client: Redcap, structure: ProjectStructure) -> list[Disagreement]:
    """Fields that REDCap leaves out of what it tells this token of a record: files that need them are held.

    One record is looked at, so an empty project tells nothing. Raises RedcapError.
    """
    needed = {(folder.name, rule.name): needed_fields(rule, structure) for folder in folders for rule in folder.rules}
    wanted = sorted(set().union(*needed.values()))
    key = structure.record_id_field
    ids = [row[key] for row in client.records(fields=[key]) if row.get(key)] if wanted else []
    if not ids:
        return []
    rows = client.records(records=ids[:1], fields=[key, *wanted])
    hidden = {name for name in wanted if not any(name in row for row in rows)} if rows else set()
    found: list[Disagreement] = []
    for (folder, rule), names in needed.items():
        for name in sorted(names & hidden):
            message = f"REDCap leaves the field {name} out of what it exports to this token: files of this rule are held"
            remedy = "give the token's user `Full Data Set` and access to the form (User Rights)"
            if name == GROUP_COLUMN:
                message = "REDCap tells this token no data access groups: files of this rule are held"
                remedy = f"see that the project has some and the token's user is in none, or take {name} out of must_match"
            found.append(Disagreement("error", folder, rule, "rights", message, remedy))
    return found


def _of_rules(findings: Sequence[tuple[Folder, Sequence[Disagreement]]]) -> Iterator[Remark]:
    """The findings at their rules. What is the same of several rules, such as a missing right, is told once, at the first."""
    places: dict[tuple[Level, str, str, str], list[Place]] = {}
    well: list[Remark] = []
    for folder, found in findings:
        for rule in folder.rules:
            mine = [finding for finding in found if finding.rule == rule.name]
            for finding in mine:
                same = (finding.level, finding.key, finding.message, finding.remedy)
                places.setdefault(same, []).append(place_of(folder, rule))
            if not mine:
                well.append(Remark("ok", place_of(folder, rule), "agrees with the project"))
    for (level, key, message, remedy), where in places.items():
        others = f" (and of {len(where) - 1} more rules: {', '.join(_short(where[1:]))})" if len(where) > 1 else ""
        yield Remark(level, replace(where[0], key=key), message + others, remedy, also=tuple(where[1:]))
    yield from well


def _short(places: Sequence[Place]) -> Iterator[str]:
    """A few places, without their files."""
    for place in places[:5]:
        yield place.called
    if len(places) > 5:
        yield "…"


def _described(answer: Answer) -> str:
    info, structure = answer.structure.project, answer.structure
    events = f"{len(structure.events)} events" if structure.longitudinal else "no events"
    stage = "in production" if info.in_production else "in development"
    who = f"token of {answer.rights.username}" if answer.rights and answer.rights.username else "token accepted"
    fields = len(structure.file_fields())
    return f"REDCap {answer.version}, project {info.project_id} ({info.title}), {stage}, {events}, {fields} file fields; {who}"
