"""What is wrong, as a list of conditions: each begins and ends, and is told at both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dropcap.ledger.job import Pause
from dropcap.picture.facts import FolderNow, Picture, folders_of
from dropcap.picture.words import title_of
from dropcap.reasons import Reason, Scope, Told


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is not well. `key` is the same for as long as it lasts; `projects` and `folders` are concerned, none: all.

    `text` is for those who are told no names of files; `at_once` is told without waiting for it to end by itself.
    """

    key: str
    kind: Told
    text: str
    remedy: str
    since: float
    projects: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    at_once: bool = False


def conditions(picture: Picture) -> tuple[Condition, ...]:
    """All that is wrong now, but for files that wait for somebody."""
    return (*_of_all(picture), *_pauses(picture), *(one for folder in picture.folders for one in _of_folder(folder, picture.at)))


def _of_all(picture: Picture) -> Iterator[Condition]:
    if picture.damaged:
        remedy = "No file is lost. Find out why the disk damaged it."
        yield Condition("ledger damaged", Told.LEDGER, "The ledger is damaged.", remedy, picture.at, at_once=True)
    elif picture.unwritable:
        text = "The ledger cannot be written: nothing is taken or sent."
        yield Condition("ledger", Told.LEDGER, text, f"{picture.mend[:1].upper()}{picture.mend[1:]}.", picture.at)
    if picture.problems:
        number = len(picture.problems)
        text = f"The configuration has {number} {'problem' if number == 1 else 'problems'}; what they concern is out of service."
        yield Condition(
            "configuration", Told.MISCONFIGURED, text, "Run: dropcap check. Then: dropcap reload", picture.at, at_once=True
        )
    if not picture.alive:
        text = "A part of dropcap hangs."
        yield Condition("alive", Told.ENDED, text, "Look into its log, then restart it.", picture.at)


def _pauses(picture: Picture) -> Iterator[Condition]:
    for pause in picture.pauses:
        named: tuple[str, ...] = (pause.name,)
        if pause.scope == Scope.FOLDER:
            projects, folders = _project_of(picture, pause.name), named
        elif pause.scope == Scope.PROJECT:
            projects, folders = named, folders_of(picture, named)
        else:
            projects = tuple(one.name for one in picture.projects if pause.name in (one.server, one.host))
            folders = folders_of(picture, projects)
        why = " by hand." if pause.reason == Reason.BY_HAND else f". {title_of(pause.reason)}."
        yield Condition(
            f"pause {pause.scope} {pause.name}",
            Told.PAUSED,
            f"The {pause.scope} {pause.name} is paused{why}",
            _what_next(pause),
            pause.since,
            projects,
            folders,
            at_once=pause.until_resume,
        )


def _what_next(pause: Pause) -> str:
    if pause.until_resume:
        return f"It stays so until somebody runs: dropcap resume --{pause.scope} {pause.name}"
    if not pause.passes:
        return "Run: dropcap check. Once that is mended, it goes on by itself. Files wait and are safe."
    return "It is asked again by itself, and goes on once it is well. Files wait and are safe."


def _project_of(picture: Picture, folder: str) -> tuple[str, ...]:
    return tuple(one.project for one in picture.folders if one.name == folder)


def _of_folder(folder: FolderNow, now: float) -> Iterator[Condition]:
    projects, folders = (folder.project,), (folder.name,)
    if folder.away:
        text = f"The folder {folder.name} is away: nothing is taken from it."
        yield Condition(
            f"away {folder.name}", Told.AWAY, text, f"Run: dropcap status --folder {folder.name}", now, projects, folders
        )
    if folder.full or folder.cannot_file:
        text = f"The disk of the folder {folder.name} is full, or takes no files."
        yield Condition(
            f"full {folder.name}", Told.AWAY, text, "Make room there. dropcap goes on by itself.", now, projects, folders
        )
    if folder.mistake:
        text = f"The folder {folder.name} goes on by its last good configuration: the new one has a mistake."
        yield Condition(
            f"mistake {folder.name}", Told.MISCONFIGURED, text, "Run: dropcap check", now, projects, folders, at_once=True
        )
    if folder.overdue is not None:
        text = f"Nothing was dropped into the folder {folder.name}, and a file was expected."
        remedy = "Ask those who drop files there, or look at what writes them."
        yield Condition(f"expected {folder.name}", Told.EXPECTED, text, remedy, folder.overdue, projects, folders, at_once=True)
