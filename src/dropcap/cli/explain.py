"""`dropcap explain`: which rule a name matches and where the file would go, without asking anybody."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.cells import cell_len

from dropcap.cli import completion, screen
from dropcap.cli.configured import config_option, known, stop, usable
from dropcap.config.model import Config, Folder
from dropcap.display import place, shown
from dropcap.naming.doctor import diagnose
from dropcap.reasons import Reason
from dropcap.redcap.request import safe_name
from dropcap.routing.nearest import nearest
from dropcap.routing.pattern import normal
from dropcap.routing.route import NoRoute, Route, ignored

_TAKEN = ("in_progress", "failed")  # what lies there was dropped under the same name
_OWN = ("done", "preserved")


@click.command("explain")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--folder",
    "folder_name",
    metavar="F",
    shell_complete=completion.folders,
    help="The drop folder; else the one that NAME lies in, else all.",
)
@config_option
def explain_command(names: tuple[str, ...], folder_name: str | None, config_path: Path) -> None:
    """Tell which rule each NAME matches and where the file would go; else the nearest rule and where it stops.

    NAME is a file's name, with folders before it if it lies in some, or the path of a file in a drop folder.

    Exit code: 0 every name matches, 1 one does not, 2 the configuration cannot be used.
    """
    config = usable(config_path)
    folders = list(config.folders.values())
    if folder_name is not None:
        folders = [config.folders[known("folder", folder_name, config.folders)]]
    if not folders:
        stop("no folder in the configuration can be used; correct the problems above", 2)
    answers = [_explained(config, folders, name) for name in names]
    for number, (_, lines) in enumerate(answers):
        if number:
            click.echo()
        for line in lines:
            line.tell()
    sys.exit(0 if all(matched for matched, _ in answers) else 1)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line, how far it is indented, and how far what does not fit into it."""

    text: str
    indent: int = 2
    hang: int = 2
    mark: int | None = None  # the column beneath which a caret stands

    def tell(self) -> None:
        """Print it."""
        if self.mark is None:
            screen.line(self.text, self.indent, hang=self.hang)
            return
        text, mark = screen.around(self.text, self.mark)
        click.echo(text)
        click.echo(" " * mark + "^")


def _name(text: str) -> _Line:
    return _Line(text, 0, 4)


def _explained(config: Config, folders: Sequence[Folder], given: str) -> tuple[bool, list[_Line]]:
    """Whether `given` matches in one of `folders`, and what there is to say about it."""
    found = inside(folders, given)
    if found is not None:
        folders, name = [found[0]], found[1]
    else:
        name = given.removeprefix("./")
    if os.path.isabs(name):
        return False, [_name(shown(given)), _Line("lies in none of these folders: " + ", ".join(str(f.path) for f in folders))]
    head, _, rest = name.partition("/")
    if rest and head in _TAKEN:
        name = rest
    elif rest and head in _OWN:
        return False, [_name(shown(given)), _Line(f"lies in {head}/, where dropcap puts files: nothing there is taken")]

    if everywhere := ignored(name):
        return False, [_name(shown(name)), _Line(f"ignored: {shown(everywhere)}")]
    matching: list[_Line] = []
    refusing: list[_Line] = []
    others: list[Folder] = []
    for folder in folders:
        heading = _name(f"{shown(name)}  (folder {folder.name})")
        answer = folder.route(name)
        if why := folder.leaves(name):
            refusing += [heading, _Line(f"ignored: {shown(why)}")]
        elif isinstance(answer, Route):
            matching += [heading, *_route_lines(folder, answer)]
        elif answer.reason == Reason.BAD_VALUE:
            refusing += [heading, _Line(shown(answer.message)), _Line(f"what to do: {answer.remedy}")]
        else:
            others.append(folder)
    if matching or not others:
        return bool(matching), matching or refusing
    return False, refusing + _nearest_lines(others, name)


def inside(folders: Sequence[Folder], given: str) -> tuple[Folder, str] | None:
    """The folder in which the path `given` lies, and its relative name there."""
    if "/" not in given and not os.path.lexists(given):
        return None
    path = os.path.abspath(given)
    for folder in folders:
        for root in (str(folder.path), os.path.realpath(folder.path)):
            if path.startswith(root.rstrip("/") + "/"):
                return folder, path[len(root.rstrip("/")) + 1 :]
    return None


def _route_lines(folder: Folder, answer: Route) -> list[_Line]:
    rule, target = answer.rule, answer.target
    goes_to = f"project {folder.project}, "
    if target.record_where:
        goes_to += f"the one record with {_pairs(target.record_where)}, "
    goes_to += place(target.record, target.event, target.field, target.instance)
    settings = [
        f"{field.name} {_value(getattr(answer.settings, field.name))} ({rule.settings_from.get(field.name, 'built in')})"
        for field in dataclasses.fields(answer.settings)
    ]
    lines = [
        f"rule      {rule.name}: {shown(rule.pattern.text)}",
        f"captures  {_pairs(answer.captures) or 'none'}",
        f"goes to   {goes_to}",
        f"named     {shown(safe_name(target.upload_as))}",
    ]
    if target.must_match:
        lines.append(f"only if   the record has {_pairs(target.must_match)}")
    first, *others = [_Line(f"settings  {text}" if number == 0 else text, 2, 12) for number, text in enumerate(settings)]
    return [*(_Line(text, 2, 12) for text in lines), first, *(replace(one, indent=12) for one in others)]


def _nearest_lines(folders: Sequence[Folder], name: str) -> list[_Line]:
    found = [(near, folder) for folder in folders if (near := nearest(folder.rules, name)) is not None]
    if not found:
        answer = folders[0].route(name)
        assert isinstance(answer, NoRoute)
        return [_name(shown(name)), _Line(shown(answer.message)), *_meant(folders, name), _Line(f"what to do: {answer.remedy}")]
    furthest = max(near.rank for near, _ in found)
    near, folder = next(pair for pair in found if pair[0].rank == furthest)
    text = normal(name)
    caret = cell_len(shown(text[: near.position]))
    return [
        _Line(shown(text), 0, 0, caret),
        _Line(f"no rule matches; the nearest is in folder {folder.name}: {near.message}"),
        _Line(f"its pattern: {shown(near.rule.pattern.text)}"),
        *_meant(folders, name),
    ]


def _meant(folders: Sequence[Folder], name: str) -> list[_Line]:
    """The name that those who drop are told to give the file, if it is clear which: it may be another rule's than the nearest."""
    told = [(folder, diagnose(folder.rules, folder.name, name)) for folder in folders]
    return [
        _Line(f"probably meant: {shown(one.suggestion)} (folder {folder.name}, rule {one.rule.name})")
        for folder, one in told
        if one.suggestion is not None and one.rule is not None
    ]


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{shown(key)}={shown(value)}" for key, value in values.items())


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
