"""The rule tester: which rule takes a name, cut into its pieces, and where it would go. Nobody is asked, nothing is moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dropcap.config.model import Folder
from dropcap.display import shown
from dropcap.routing.ignored import ignored
from dropcap.routing.nearest import nearest
from dropcap.routing.route import NoRoute, Route, route
from dropcap.routing.table import normal

#: Names that are tested at once, and their length.
MOST, LONGEST = 50, 500


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a name. `look` is `cap` (captured), `off` (where it stops), `rest` (after that), or nothing."""

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
    pieces: list[Piece] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def tested(folders: Sequence[Folder], names: Sequence[str]) -> list[Tested]:
    """Each name by the first of these folders that has a rule for it."""
    return [_one(folders, name[:LONGEST]) for name in names[:MOST]]


def _one(folders: Sequence[Folder], name: str) -> Tested:
    name = name.strip("/")
    if (why := ignored(name)) is not None and why:
        return Tested(shown(name), "wait", "Would not be looked at:", shown(why))
    refused: Tested | None = None
    for folder in folders:
        why = ignored(name, folder.ignore) or (
            "this folder has subfolders: false" if "/" in name and not folder.subfolders else ""
        )
        if why:
            refused = refused or Tested(shown(name), "wait", f"Would not be looked at in {folder.name}:", shown(why))
            continue
        answer = route(folder.rules, folder.name, name)
        if isinstance(answer, Route):
            return _taken(folder, name, answer)
        if answer.rule is not None:
            refused = _bad_value(folder, name, answer)
    return refused or _nowhere(folders, name)


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
    return Tested(shown(name), "bad", "Would fail.", f"{shown(answer.message)}.", [Piece(shown(name), "", "")],
                  [f"Folder {folder.name}. What to do: {answer.remedy}."])  # fmt: skip


def _nowhere(folders: Sequence[Folder], name: str) -> Tested:
    found = [(near, folder) for folder in folders if (near := nearest(folder.rules, name)) is not None]
    if not found:
        return Tested(shown(name), "bad", "Would fail.", "No rule matches it.", [Piece(shown(name))])
    near, folder = max(found, key=lambda pair: pair[0].rank)
    text = normal(name)
    here = text[near.position : near.position + max(len(near.found), 1)] if near.found else ""
    pieces = [Piece(shown(text[: near.position]))] if near.position else []
    pieces += [Piece(shown(here) or "∎", "here", "off"), Piece(shown(text[near.position + len(here) :]), "", "rest")]
    notes = [f"Its pattern: {shown(near.rule.pattern.text)}"]
    what = f"The nearest rule, “{shown(near.rule.name)}” of {folder.name}, expects {near.expected} here."
    return Tested(shown(name), "bad", "Would fail.", what, [piece for piece in pieces if piece.text], notes)


def _cut(subject: str, captures: dict[str, str]) -> list[Piece]:
    """Captures stand in the order of the text."""
    pieces, at = [], 0
    for name, value in captures.items():
        place = subject.find(value, at) if value else -1
        if place < 0:
            continue
        if place > at:
            pieces.append(Piece(shown(subject[at:place])))
        pieces.append(Piece(shown(value), name, "cap"))
        at = place + len(value)
    if at < len(subject):
        pieces.append(Piece(shown(subject[at:])))
    return pieces
