"""One project, asked: does it answer, whose token is it, do the rules agree with it, and what do files cost?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Any
from urllib.parse import urlsplit

from dropcap.config.model import REQUESTS_PER_MINUTE, Folder, Project
from dropcap.config.values import is_loopback
from dropcap.delivery.lookup import GROUP, NOBODY, either
from dropcap.delivery.order import Order, takes_next
from dropcap.delivery.plan import export_reasons, looks_at_field, lookup_reasons
from dropcap.delivery.project_client import wrong_project
from dropcap.display import many
from dropcap.ledger.store import Lead
from dropcap.preflight.remark import Place, Remark, place_of
from dropcap.preflight.rules import asked_fields, inspect, instead_of, mismatch, needed_fields
from dropcap.reasons import Reason
from dropcap.redcap.client import GROUP_COLUMN, ProjectStructure, Redcap, RedcapError, Rights
from dropcap.redcap.reply import Meaning, Verdict, remedy_now
from dropcap.redcap.window import WINDOW
from dropcap.routing.pattern import Capture, Element, Group, Literal, Wildcard
from dropcap.routing.route import Route, matches
from dropcap.routing.rule import Confirm, MissingRecord, Rule

#: Reasons of troubles that time may mend; all others want a person.
LATER = frozenset({Reason.UNREACHABLE, Reason.SERVER_ERROR, Reason.MAINTENANCE, Reason.BANNED, Reason.RATE_LIMITED})


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
    if meaning.of_rights:
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
        order.learn(project.name, answer.structure.project)
    except RedcapError as error:
        if error.meaning.of_rights:
            order.hides(project.name)
        yield trouble(project, folders, error.meaning)
        if error.meaning.of_rights:
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
        meaning = wrong_project(project, Lead(before, ""), answer.structure.project.project_id)
        yield Remark("error", where, meaning.message, meaning.remedy)
        return
    findings = [(folder, inspect(folder, answer.structure, answer.rights, project)) for folder in folders]
    # What concerns all rules of a project is found with each of its folders, and told once.
    general = {(f.level, f.message, f.remedy) for _, found in findings for f in found if not f.where.rule}
    for level, message, remedy in sorted(general):
        yield Remark(level, where, message, remedy)
    asked: list[Remark] = []
    try:
        asked += _refused(folders, client, answer.structure)
        asked += _unseen(folders, client, answer.structure) if not asked else []
    except RedcapError as error:
        yield Remark("unsure", where, f"it cannot be told whether the token sees what the rules need: {error.meaning.message}")
    findings += [(folder, [one for one in asked if one.where.name == folder.name]) for folder in folders]
    yield from _of_rules(folders, [one for _, found in findings for one in found if one.where.rule])


def _refused(folders: Sequence[Folder], client: Redcap, structure: ProjectStructure) -> Iterator[Remark]:
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
                    yield Remark("error", place_of(folder, rule, "lookup"), message, meaning.remedy)
                    break


def _refusal(client: Redcap, question: Mapping[str, Any]) -> Meaning | None:
    try:
        client.records(**question)
    except RedcapError as error:
        if error.meaning.verdict is Verdict.REFUSED or error.meaning.of_rights:
            return error.meaning
        raise
    return None


def _unseen(folders: Sequence[Folder], client: Redcap, structure: ProjectStructure) -> list[Remark]:
    """Fields that REDCap leaves out of what it tells this token of a record: files that need them are held.

    One record is looked at, so an empty project tells nothing. Raises RedcapError.
    """
    needed = {place_of(f, rule, "rights"): needed_fields(rule, structure) for f in folders for rule in f.rules}
    wanted = sorted(set().union(*needed.values()))
    key = structure.record_id_field
    ids = [row[key] for row in client.records(fields=[key]) if row.get(key)] if wanted else []
    if not ids:
        return []
    rows = client.records(records=ids[:1], fields=[key, *wanted])
    hidden = {name for name in wanted if not any(name in row for row in rows)} if rows else set()
    found: list[Remark] = []
    for where, names in needed.items():
        for name in sorted(names & hidden):
            message = f"REDCap leaves the field {name} out of what it exports to this token: files of this rule are held"
            remedy = "give the token's user `Full Data Set` and access to the form (User Rights)"
            if name == GROUP_COLUMN:
                message = "REDCap tells this token no data access groups: files of this rule are held"
                remedy = f"see that the project has some and the token's user is in none, or take {name} out of must_match"
            found.append(Remark("error", where, message, remedy))
    return found


def _of_rules(folders: Sequence[Folder], findings: Sequence[Remark]) -> Iterator[Remark]:
    """The findings at their rules. What is the same of several rules, such as a missing right, is told once, at the first."""
    rules = [place_of(folder, rule) for folder in folders for rule in folder.rules]
    same: dict[tuple[str, str, str, str], list[Remark]] = {}
    for place in rules:
        for one in findings:
            if one.where.called == place.called:
                same.setdefault((one.level, one.where.key, one.message, one.remedy), []).append(one)
    for first, *others in same.values():
        also = tuple(replace(one.where, key="") for one in others)
        more = f" (and of {len(also)} more rules: {', '.join(_short(also))})" if also else ""
        yield replace(first, message=first.message + more, also=also)
    troubled = {one.where.called for one in findings}
    yield from (Remark("ok", place, "agrees with the project") for place in rules if place.called not in troubled)


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


_MINUTE, _DAY = 60, 86_400


@dataclass(frozen=True, slots=True)
class Cost:
    """`each`: requests of a file that goes into an empty field. `shared`: those that up to 100 files which come together share.

    `looks` is 1 if what the field holds is exported first, which is another request only where `each` has none for it (`held`);
    if it is the same, or is not to be replaced, nothing more is asked. `logged`: entries of `each` in REDCap's log. A refused
    export of an empty field is none; the shared ones are entries too. `created`: requests more, at most, for a file whose
    record is created: another look-up for names that are almost the same, the record itself, and the look-up once it is there.
    """

    each: int
    shared: int
    held: int
    looks: int
    logged: int
    created: int = 0

    def files(self, per_minute: int, seconds: float) -> float:
        """How many files the limit allows in so many seconds at most, into empty fields and in large groups."""
        return per_minute * seconds / WINDOW * GROUP / (self.each * GROUP + self.shared)

    def text(self, per_minute: int) -> str:
        """The sentence for people; `per_minute` 0: no limit."""
        requests = [many(self.each, "request") + " a file"]
        logged = [many(self.logged, "entry") + " a file"]
        if self.shared:
            requests.append(f"{self.shared} for up to {GROUP} files that come together")
            logged.append(f"{self.shared} for those files")
        if self.held:
            requests.append("1 more where the field holds a file already")
        if self.created:
            requests.append(f"up to {self.created} more where the record is created")
            logged.append(f"up to {self.created} more where the record is created")
        if self.looks:
            requests.append("1 in all where it holds the same file")
            logged.append("1 more where the field holds a file already")
        most = "no limit is set"
        if per_minute:
            minute, day = self.files(per_minute, _MINUTE), int(self.files(per_minute, _DAY))
            few = f"{minute:.1f}" if minute < 10 else f"{int(minute):,}"
            most = f"at {per_minute} requests a minute at most {few} files a minute, {day:,} a day"
        return f"{', '.join(requests)}; in REDCap's log {', '.join(logged)}; {most}"


def cost(rule: Rule) -> Cost:
    """The cost of one file of a rule."""
    asks = bool(lookup_reasons(rule))
    chooses = takes_next(rule.instance)
    looks = looks_at_field(rule.settings, chooses)
    confirms = rule.settings.confirm is Confirm.READBACK
    return Cost(
        each=1 + looks + confirms,
        # A record that is found by its values is looked up once more when its files' place in the order is known.
        shared=int(asks) + 2 * bool(rule.record_where) + (rule.settings.confirm is Confirm.LISTED),
        held=int(asks and not looks),
        looks=int((asks or looks) and not chooses),  # a new instance holds nothing
        logged=1 + confirms,
        created=3 if rule.settings.missing_record is MissingRecord.CREATE else 0,
    )


def limit_remark(project: Project, limit: int) -> Remark:
    """What the request limit of a project's server leaves to others, and what to ask for before it is raised."""
    whose = f"the address of the proxy {project.proxy}" if project.proxy is not None else "this machine's address"
    others = (
        f"REDCap counts everything that comes from {whose}, the browsers of others behind it too, and bans the "
        "address for good above its own limit (600 a minute, if nobody has changed it)"
    )
    first = "ask its administrator for an exception for this address"
    if is_loopback(urlsplit(project.url).hostname or ""):  # a stand-in, or a gateway that people have put there
        message = f"at most {limit} requests in any minute" if limit else "any number of requests"
        return Remark("ok", place_of(project), f"{message} go to {project.host}, which is this machine itself")
    if not limit:
        message = f"no limit is set for the requests to {project.host}: {others}"
        return Remark("warning", place_of(project), message, f"set requests_per_minute, or {first}")
    message = f"at most {limit} requests in any minute go to {project.host}: {others}"
    if limit > REQUESTS_PER_MINUTE:
        return Remark("warning", place_of(project), message, f"{first}, or take {REQUESTS_PER_MINUTE}")
    return Remark("ok", place_of(project), message, f"before you raise requests_per_minute, {first}")


#: What people, cameras and browsers put behind a name, before its extension.
SUFFIXES = ("-2", "_2", "2", " 2", ".2", "(2)", " (2)", "-x", "_x")
#: So many names of a pattern are tried at most, and fewer where a folder has many rules: each is compared with each of them.
MOST = 24
_COMPARED = 150_000
_SAMPLES = {"digits": "1", "letters": "a", "alnum": "a", "word": "a", "date": "2026-01-02"}


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Two names of the same record, and where they go. The second has a suffix more."""

    first: Route
    second: Route
    name: str
    longer: str


def look_alikes(folder: Folder) -> Iterator[LookAlike]:
    """Pairs of rules, each pair once, that a suffix alone tells apart although they lead to different events."""
    told: set[tuple[str, str]] = set()
    most = max(1, min(MOST, _COMPARED // (len(SUFFIXES) * len(folder.rules) ** 2)))
    for rule in folder.rules:
        if rule.event is None:
            continue
        for name in islice(_names([unit.element for unit in rule.pattern.units]), most):
            first = folder.route(name)
            if not isinstance(first, Route) or first.rule is not rule:
                continue
            for second, longer in _longer(folder, first, name):
                pair = (rule.name, second.rule.name)
                if pair not in told:
                    told.add(pair)
                    yield LookAlike(first, second, name, longer)


def _longer(folder: Folder, first: Route, name: str) -> Iterator[tuple[Route, str]]:
    stem, dot, extension = name.rpartition(".")
    for suffix in SUFFIXES:
        longer = f"{stem}{suffix}{dot}{extension}" if dot else name + suffix
        if not matches(folder.rules, longer):  # `route` would look for the nearest rule, which takes its time
            continue
        second = folder.route(longer)
        if not isinstance(second, Route) or second.rule is first.rule:
            continue
        one, other = first.target, second.target
        same_record = (one.record, one.record_where) == (other.record, other.record_where)
        if same_record and other.event is not None and one.event != other.event:
            yield second, longer


def _names(elements: Sequence[Element]) -> Iterator[str]:
    """Names that a pattern matches: every word, each optional part there and not; of other captures one value."""
    texts = [list(_texts(element)) for element in elements]
    if tuple(elements[-2:]) == (Literal("."), Wildcard(many=True)):
        texts[-1] = ["pdf"]
    for parts in product(*texts):
        yield "".join(parts)


def _texts(element: Element) -> Iterator[str]:
    match element:
        case Literal(character):
            yield character
        case Wildcard(many):
            yield "" if many else "x"
        case Group(parts):
            yield ""
            yield from islice(_names(parts), MOST)
        case Capture(kind="words", words=words):
            yield from words[:MOST]
        case Capture():
            sample = _SAMPLES.get(element.kind, "x")
            yield sample if element.kind == "date" else sample * element.low
