"""What the operator's page says: its sentences, and the rule tester's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from dropcap.config.model import Config, Folder
from dropcap.delivery.workers import Uploading
from dropcap.display import at_second, shown, size, span, when
from dropcap.filing.why import said_of
from dropcap.language import Language, speaker
from dropcap.ledger.job import OPEN, Event, Job, Pause, Result, State
from dropcap.naming.doctor import diagnose
from dropcap.naming.finding import Diagnosis, Kind
from dropcap.reasons import Reason, Scope, explained
from dropcap.routing.route import NoRoute, Route, ignored, nearest
from dropcap.snapshot import FolderNow, ServerNow, Snapshot

#: Names that are tested at once, and their length.
MOST, LONGEST = 50, 500
#: Folders whose rules are asked what is wrong with one name, and with all names together: each time may take 20 ms.
_FOLDERS, _ASKED = 3, 50
#: Wrong parts of one name that are told.
_TOLD = 3


@dataclass(frozen=True, slots=True)
class ShownPiece:
    """A part of a name. `look` is `cap` (captured), `off` (wrong), or nothing."""

    text: str
    label: str = ""
    look: str = ""


@dataclass(frozen=True, slots=True)
class Tested:
    """What would become of one name."""

    name: str
    mark: str
    head: str
    text: str
    pieces: list[ShownPiece] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def tested(folders: Sequence[Folder], names: Sequence[str]) -> list[Tested]:
    """Each name by the first of these folders that has a rule for it."""
    likely = min(_FOLDERS, _ASKED // max(len(names[:MOST]), 1))
    return [_one(folders, name[:LONGEST], likely) for name in names[:MOST]]


def wrong_with(folder: Folder, name: str) -> list[str]:
    """What is wrong with the name of one file, and which was meant; nothing if a rule takes it (by now)."""
    if isinstance(folder.route(name), Route):
        return []
    return _said(diagnose(folder.rules, folder.name, name))


def _one(folders: Sequence[Folder], name: str, likely: int) -> Tested:
    name = name.strip("/")
    if why := ignored(name):
        return Tested(shown(name), "wait", "Would not be looked at:", shown(why))
    refused: Tested | None = None
    for folder in folders:
        if why := folder.leaves(name):
            refused = refused or Tested(shown(name), "wait", f"Would not be looked at in {folder.name}:", shown(why))
            continue
        answer = folder.route(name)
        if isinstance(answer, Route):
            return _taken(folder, name, answer)
        if answer.rule is not None:
            refused = _bad_value(folder, name, answer)
    return refused or _nowhere(folders, name, likely)


def _taken(folder: Folder, name: str, answer: Route) -> Tested:
    target, settings = answer.target, answer.settings
    if target.record_where:
        record = "the one record with " + ", ".join(f"{key} {shown(value)}" for key, value in target.record_where.items())
    else:
        record = f"record {shown(target.record)}"
    parts = [record, shown(target.event) if target.event is not None else "", shown(target.field)]
    parts.append(f"instance {target.instance}" if target.instance is not None else "")
    where = ", ".join(part for part in parts if part)
    says = f"existing_file: {settings.existing_file}, confirm: {settings.confirm}, missing_record: {settings.missing_record}"
    notes = [f"Folder {folder.name}, project {folder.project}. {says}."]
    if target.must_match:
        notes.append(
            "Only if the record has " + ", ".join(f"{key} {shown(value)}" for key, value in target.must_match.items()) + "."
        )
    text = f"by rule “{shown(answer.rule.name)}”: {where}."
    return Tested(shown(name), "good", "Would go", text, _cut(answer.rule.pattern.subject(name), answer.captures), notes)


def _bad_value(folder: Folder, name: str, answer: NoRoute) -> Tested:
    diagnosis = diagnose(folder.rules, folder.name, name)
    notes = [f"Folder {folder.name}. What to do: {answer.remedy}.", *_said(diagnosis)]
    return Tested(shown(name), "bad", "Would fail.", f"{shown(answer.message)}.", _marked(name, diagnosis), notes)


def _nowhere(folders: Sequence[Folder], name: str, most: int) -> Tested:
    """No rule takes it: what is wrong with it, as the folder says, of the `most` likely ones, whose rules it nearly fits."""
    looked_at = [folder for folder in folders if not ignored(name, folder.ignore)] or list(folders)
    likely = sorted(looked_at, key=lambda folder: _rank(folder, name), reverse=True)[:most]
    asked = [(folder, diagnose(folder.rules, folder.name, name)) for folder in likely]
    if not asked:
        return Tested(shown(name), "bad", "Would fail.", "No rule matches it.", [ShownPiece(shown(name))])
    folder, diagnosis = min(asked, key=lambda pair: _doubt(pair[1]))
    text, notes = "No rule matches it.", _said(diagnosis)
    if diagnosis.rule is not None:
        text = f"The nearest rule is “{shown(diagnosis.rule.name)}” of {folder.name}."
        notes.append(f"Its pattern: {shown(diagnosis.rule.pattern.text)}")
    return Tested(shown(name), "bad", "Would fail.", text, _marked(name, diagnosis), notes)


def _rank(folder: Folder, name: str) -> tuple[int, int]:
    near = nearest(folder.rules, name)
    return (-1, 0) if near is None else near.rank


def _doubt(diagnosis: Diagnosis) -> tuple[bool, bool, bool]:
    """The less, the more is known of what was meant."""
    return diagnosis.suggestion is None, not diagnosis.candidates, diagnosis.rule is None


def _said(diagnosis: Diagnosis) -> list[str]:
    """What is wrong, and which name was meant."""
    say = speaker(Language.EN)
    told = list(dict.fromkeys(said_of(finding, say) for finding in diagnosis.findings))
    notes = told[:_TOLD]
    kinds = [finding.wanted.upper() for finding in diagnosis.findings if finding.kind is Kind.OTHER_KIND and finding.wanted]
    notes += [f"Only {kind} files are taken here." for kind in kinds[:1]]
    if diagnosis.suggestion is not None:
        notes.append(f"Probably meant: {shown(diagnosis.suggestion)}")
        notes += [f"Whether “{shown(part)}” is right, only the paper tells." for part in diagnosis.checks]
    elif diagnosis.candidates:
        notes.append(f"Only the paper tells which was meant: {' or '.join(map(shown, diagnosis.candidates))}")
    return notes


def _marked(name: str, diagnosis: Diagnosis) -> list[ShownPiece]:
    """The name, its wrong parts marked; where something is missing, a sign stands in its place."""
    directory, slash, leaf = name.rpartition("/")
    pieces, at = [ShownPiece(shown(directory + slash))], 0
    for finding in diagnosis.findings:
        if finding.start < at:
            continue
        pieces += [
            ShownPiece(shown(leaf[at : finding.start])),
            ShownPiece(shown(leaf[finding.start : finding.end]) or "∎", "here", "off"),
        ]
        at = finding.end
    return [piece for piece in (*pieces, ShownPiece(shown(leaf[at:]))) if piece.text]


def _cut(subject: str, captures: dict[str, str]) -> list[ShownPiece]:
    """Captures stand in the order of the text."""
    pieces, at = [], 0
    for name, value in captures.items():
        place = subject.find(value, at) if value else -1
        if place < 0:
            continue
        if place > at:
            pieces.append(ShownPiece(shown(subject[at:place])))
        pieces.append(ShownPiece(shown(value), name, "cap"))
        at = place + len(value)
    if at < len(subject):
        pieces.append(ShownPiece(shown(subject[at:])))
    return pieces


def count(number: int, one: str, more: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {one if number == 1 else more}"


def sentence(text: str | None) -> str:
    """What a message or a remedy says, as a sentence of its own; escaped."""
    told = shown(text or "")
    return told[:1].upper() + told[1:] + ("." if told and told[-1] not in ".!?" else "")


def progress(upload: Uploading, now: float) -> str:
    """How far an upload has come."""
    if not upload.sent:
        return f"{size(upload.size)}, begins"
    left = upload.seconds_left(now)
    return f"{size(min(upload.sent, upload.size))} of {size(upload.size)}{f', {span(left)} left' if left is not None else ''}"


def verdict(now: Snapshot) -> tuple[str, str, str]:
    """The mark (good, wait, bad), the state, and what it means."""
    files, ill, down = now.needs_somebody, now.ill, [one for one in now.servers if one.pause is not None]
    servers = ""
    if down:
        one = count(len(now.servers), "server", "servers")
        servers = f"{len(down)} of {one} {'does' if len(down) == 1 else 'do'} not take files for now."
        servers = servers if len(now.servers) > 1 else "REDCap does not take files for now."
    if now.stops == "hangs":
        return "bad", "A part of dropcap hangs.", "Look into its log, then restart it."
    if now.stops:
        return "bad", "The ledger cannot be written.", f"Nothing is taken or sent meanwhile: {now.mend}."
    names = ", ".join(ill[:3]) + (" and others" if len(ill) > 3 else "")
    look = f"{count(len(ill), 'folder needs', 'folders need')} a look: {names}." if ill else ""
    problem = "The configuration has a problem: run dropcap check." if now.problems else ""
    paused = [pause for pause in now.pauses if pause.scope != Scope.SERVER]
    if files:
        still = f"Something is paused. {_stands_still(paused)}" if paused else ""
        more = " ".join(text for text in (servers, look, problem, still) if text)
        return "bad", f"{count(files, 'file needs', 'files need')} a person.", more or "All others go on by themselves."
    if look or problem:
        return "bad", look or problem, " ".join(text for text in (servers, problem if look else "") if text)
    if down or now.pauses:
        pauses = [one.pause for one in down if one.pause is not None] or list(now.pauses)
        known = all(one.passes or one.reason == Reason.BY_HAND for one in pauses)  # to somebody, or nobody is needed
        return "wait" if known else "bad", servers or "Something is paused.", _stands_still(pauses)
    waiting = sum(folder.waiting + (folder.arriving or 0) for folder in now.configured) + len(now.uploads)
    return "good", "All is well.", f"{count(waiting, 'file is', 'files are')} on the way." if waiting else "Nothing waits."


def _stands_still(pauses: Sequence[Pause]) -> str:
    """What files wait for behind these."""
    if any(one.until_resume for one in pauses):
        return "Files wait and are safe. Somebody has to resume it."
    if not all(one.passes for one in pauses):
        return "Files wait and are safe. Somebody has to mend it; then it goes on by itself."
    return "Files wait and are safe. It goes on by itself."


def folder_notes(folder: FolderNow, now: Snapshot) -> list[str]:
    """What there is to say about a folder."""
    found = []
    if now.hosts is not None and not folder.here:
        found.append(f"on {folder.host}" if folder.host else "no host works in it just now")
    pause = now.paused(Scope.FOLDER, folder.name)
    if pause is not None:
        found.append(
            f"{explained(pause.reason).title.lower() if pause.reason == Reason.BY_HAND else 'paused'} since {when(pause.since)}"
        )
    project = next((one for one in now.projects if one.name == folder.project), None)
    if project is not None and project.pause is not None:
        by_hand = project.pause.reason == Reason.BY_HAND
        found.append(
            "its project is paused by hand" if by_hand else f"its project is paused: {explained(project.pause.reason).title}"
        )
    if project is not None and any(server.name == project.server and server.pause for server in now.servers):
        found.append("its REDCap does not take files for now")
    left = 0 if folder.left is None else folder.left.count
    notes = {
        "away": folder.away or folder.name in now.stranded,
        "full": folder.full,
        "takes no finished files": folder.cannot_file,
        "goes on by its last good configuration": folder.mistake,
        f"a file was expected by {when(folder.overdue or 0.0)}": folder.overdue,
        f"{count(folder.stray_count, 'stray', 'strays')} in done/ or failed/": folder.stray_count,
        f"{left} left where they lie": left,
        f"{len(folder.not_taken or ())} not taken": folder.not_taken,
    }
    return found + [note for note, true in notes.items() if true]


def server_note(server: ServerNow) -> str:
    """The state of a server, its budget and when it answered last."""
    if server.pause is not None:
        by_hand = server.pause.reason == Reason.BY_HAND
        state = f"{explained(server.pause.reason).title} since {when(server.pause.since)}."
        again = f" Asked again at {at_second(server.next_try)}." if server.next_try is not None and not by_hand else ""
        return state + again + (f" Last answer at {at_second(server.heard)}." if server.heard is not None else "")
    heard = f"Answered at {at_second(server.heard)}." if server.heard is not None else "Not asked yet."
    budget = f" {server.used:,} of {server.limit:,} requests this minute." if server.limit else ""
    return heard + budget


_WORDS = {
    State.WAITING: ("wait", "waits"),
    State.HELD: ("bad", "held"),
    State.SENDING: ("wait", "being sent"),
    State.UNKNOWN: ("wait", "sent, to be read back"),
    State.STORED: ("good", "stored, to be filed"),
    State.REFUSED: ("bad", "refused, to be filed"),
    State.DONE: ("good", "stored"),
    State.FAILED: ("bad", "failed"),
    State.WITHDRAWN: ("wait", "taken away"),
}


def state_of(job: Job) -> tuple[str, str]:
    """The mark and the words of a job's state."""
    mark, words = _WORDS[job.state]
    if job.state is State.FAILED and job.tried_again is not None:
        return "wait", "failed, dealt with"
    return mark, words


def target_of(job: Job) -> str:
    """Where it goes, as far as that is known."""
    parts = [f"record {job.record}" if job.record else "", job.event or "", job.field]
    parts.append(f"instance {job.instance}" if job.instance is not None else "")
    return shown(", ".join(part for part in parts if part))


@dataclass(frozen=True, slots=True)
class LifeStep:
    """One point of the timeline."""

    at: str
    day: str
    mark: str  # good, wait, bad, or none
    title: str
    note: str


@dataclass(frozen=True, slots=True)
class Share:
    """What a part of the time was spent with; `x` and `width` are of 1000."""

    name: str
    look: str
    time: str
    x: float
    width: float


_TITLES = {
    State.WAITING: ("", "Waits for its turn"),
    State.HELD: ("bad", "Held: somebody has to look"),
    State.SENDING: ("", "Sent"),
    State.UNKNOWN: ("wait", "Sent, and nobody knows whether it arrived"),
    State.STORED: ("good", "REDCap has it"),
    State.REFUSED: ("bad", "Will not be stored as it is"),
    State.DONE: ("good", "Filed in done/"),
    State.FAILED: ("bad", "Filed in failed/"),
    State.WITHDRAWN: ("wait", "Taken away by somebody"),
}
_CONFIRMED = {
    "readback": "REDCap gave back the same bytes",
    "listed": "the record lists a file",
    "none": "not looked at; REDCap's answer alone",
}
_RESULTS: dict[str, str] = {
    Result.STORED: "Stored",
    Result.REPLACED: "Stored, in place of what the field held",
    Result.ALREADY_THERE: "Already there: REDCap held the same bytes",
}
#: Of each state: what the time was spent with, and how that looks.
_SPENT = {
    State.WAITING: ("waiting", "b"),
    State.HELD: ("held", "d"),
    State.SENDING: ("looking and sending", "a"),
    State.UNKNOWN: ("waiting to be read back", "b"),
    State.STORED: ("filing", "c"),
    State.REFUSED: ("filing", "c"),
}


def steps(events: Sequence[Event], rule: str) -> list[LifeStep]:
    """The timeline; the first step of a file is that it was taken."""
    found = []
    for number, event in enumerate(events):
        told = datetime.fromtimestamp(event.at)  # noqa: DTZ006 - people's own time
        mark, title = ("", "Taken") if number == 0 else _TITLES[event.state]
        if event.state is State.SENDING and number == len(events) - 1:
            title = "Being sent"
        word = Reason.of(event.note, Reason.NONE)
        note = explained(word).title if word else shown(event.note)
        if number == 0:
            note = "Moved to in_progress/." + (f" The rule “{shown(rule)}” takes it." if rule else " No rule takes it.")
        found.append(LifeStep(f"{told:%H:%M:%S}", f"{told:%A} {told.day} {told:%B %Y}", mark, title, note[:1].upper() + note[1:]))
    return found


def shares(events: Sequence[Event], job: Job, now: float) -> list[Share]:
    """Where the time went, the parts of each kind together, in the order in which they came first."""
    ends = [*events, Event(job.id, now, job.state, "")] if job.state in OPEN else list(events)
    spent: dict[tuple[str, str], float] = {}
    for begin, end in pairwise(ends):
        kind = _SPENT.get(begin.state)
        if kind is not None:
            spent[kind] = spent.get(kind, 0.0) + max(end.at - begin.at, 0.0)
    total, x = sum(spent.values()), 0.0
    if total <= 0:
        return []
    found = []
    for (name, look), seconds in spent.items():
        width = 1000 * seconds / total
        found.append(Share(name, look, span(seconds), x, max(width - 4, 1)))
        x += width
    return found


def life_in_a_sentence(job: Job) -> tuple[str, str]:
    """The mark and what became of it."""
    mark, words = state_of(job)
    if job.state is State.DONE and job.ended_at is not None:
        took = span(job.ended_at - job.claimed_at)
        how = _CONFIRMED.get(job.confirmed or "", "")
        result = _RESULTS.get(job.result or "", "Stored")
        return mark, f"{result} at {when(job.ended_at)}, {took} after it was taken" + (f": {how}." if how else ".")
    if job.reason:
        return (
            mark,
            f"{words[:1].upper()}{words[1:]} since {when(job.ended_at or job.changed_at)}: {explained(job.reason).title}.",
        )
    return mark, f"{words[:1].upper()}{words[1:]} since {when(job.changed_at)}."


def facts(job: Job, config: Config) -> list[tuple[str, str]]:
    """What stands beside the timeline."""
    project = config.projects.get(job.project)
    digest = job.sha256 or ""
    lies = f"in_progress/{job.name}" if job.state in OPEN else (job.filed_as or "") if job.tried_again is None else ""
    told = {
        "Folder": shown(job.folder),
        "Goes to": target_of(job),
        "Project": job.project + (f", on {project.host}" if project is not None else ""),
        "Rule": shown(job.rule),
        "Dropped as": shown(job.name),
        "Lies in": shown(lies),
        "Size": f"{size(job.size)} ({job.size:,} bytes)" if job.size >= 1024 else size(job.size),
        "Sent": count(job.attempts, "time", "times") if job.attempts else "",
        "Confirmed": _CONFIRMED.get(job.confirmed or "", ""),
        "What REDCap held": "kept: dropcap preserved" if job.preserved_sha256 else "",
        "SHA-256": " ".join(digest[at : at + 8] for at in range(0, len(digest), 8)),
        "Job": str(job.id),
    }
    return [(name, text) for name, text in told.items() if text]


def may_retry(job: Job) -> bool:
    """Whether `retry` can do something for it."""
    return job.state is State.HELD or (job.state is State.FAILED and job.tried_again is None and job.filed_as is not None)
