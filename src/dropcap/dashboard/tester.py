"""The rule tester: which rule takes a name, cut into its pieces, and where it would go. Nobody is asked, nothing is moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.filing.words import said_of
from dropcap.language.speaker import Language, speaker
from dropcap.naming.doctor import diagnose
from dropcap.naming.finding import Diagnosis, Kind
from dropcap.routing.nearest import nearest
from dropcap.routing.route import NoRoute, Route, ignored

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
