"""What `dropcap check` says: a line each part that is well, then what is not, the worst last."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from dropcap.cli import screen
from dropcap.cli.screen import many
from dropcap.config.model import Config, Folder
from dropcap.display import shown
from dropcap.preflight.cost import cost
from dropcap.preflight.remark import Level, Part, Remark

_COLOURS: dict[str, str] = {"ok": screen.GOOD, "warning": screen.WAIT, "error": screen.BAD, "unsure": "cyan"}
_TITLES = {
    Part.CONFIGURATION: "Configuration",
    Part.MACHINE: "This machine",
    Part.FOLDER: "Folders",
    Part.PROJECT: "Projects",
    Part.RULE: "Rules",
}
_ORDER: tuple[Level, ...] = ("ok", "unsure", "warning", "error")
#: The columns at which the part and what is said of it begin.
_PART, _TEXT = 9, 24
#: Names of a part that is well, before they are only counted.
_NAMES = 12


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check has found of these folders."""

    config: Config
    folders: Sequence[Folder]
    found: Sequence[Remark]
    offline: bool
    at_once: bool = False  # what was done to adopt folders was told as it was done

    @property
    def code(self) -> int:
        """What the command ends with."""
        errors = [remark for remark in self.found if remark.level == "error"]
        if self.config.fatal:
            return 2
        return 0 if not errors else 3 if all(remark.later for remark in errors) else 1

    def skipped(self) -> list[str]:
        """The rules that were compared with no project: nobody was asked, or nobody answered."""
        told = {(place.name, place.rule) for remark in self.found for place in (remark.where, *remark.also)}
        return [
            f"{folder.name}/{rule.name}"
            for folder in self.folders
            for rule in folder.rules
            if (folder.name, rule.name) not in told
        ]

    def verdict(self) -> tuple[str, str]:
        """Whether files will arrive, and the counts."""
        counts = Counter(remark.level for remark in self.found)
        said = [many(counts[level], level) for level in ("error", "warning") if counts[level]]
        said += [f"{counts['unsure']} unsure"] if counts["unsure"] else []
        said += [f"{number} not compared"] if (number := len(self.skipped())) else []
        return "NOT READY" if counts["error"] else "READY", ", ".join([*said, f"{counts['ok']} ok"])

    def concerned(self) -> list[str]:
        """What does not work as it is, if all else does: `project sleep`, `rule consents/scan`. Empty if that cannot be told."""
        errors = [remark for remark in self.found if remark.level == "error"]
        if any(remark.where.part is Part.MACHINE for remark in errors):
            return []
        mistakes = [problem.scope for problem in self.config.told]
        others = [remark for remark in errors if remark.where.part is not Part.CONFIGURATION]
        if None in mistakes or len(mistakes) + len(others) != len(errors):
            return []
        places = [place for remark in others for place in (remark.where, *remark.also)]
        named = [f"{scope[0]} {scope[1]}" for scope in mistakes if scope is not None]
        named += [f"{place.part} {place.called}" for place in places]
        rules = {f"rule {folder.name}/{rule.name}" for folder in self.folders for rule in folder.rules}
        whole = ({f"project {name}" for name in self.config.projects}, {f"folder {one.name}" for one in self.folders}, rules)
        return [] if any(kind <= {*named} for kind in whole) else list(dict.fromkeys(named))  # else nothing is left to go on

    def costs(self) -> Iterator[tuple[str, str]]:
        """Each rule, and what a file of it costs."""
        for folder in self.folders:
            project = self.config.projects.get(folder.project)
            for rule in folder.rules:
                yield f"{folder.name}/{rule.name}", cost(rule).told(self.config.limit_of(project.host) if project else 0)

    def as_json(self, costs: bool) -> dict[str, Any]:
        """The keys that docs/checking.md promises."""
        word, counts = self.verdict()
        told: dict[str, Any] = {
            "ok": self.code == 0,
            "exit_code": self.code,
            "verdict": f"{word}: {counts}",
            "findings": [_as_json(remark) for remark in self.found],
            "not_compared": self.skipped(),
        }
        if costs:
            told["costs"] = [{"rule": rule, "message": said} for rule, said in self.costs()]
        return told


def _as_json(remark: Remark) -> dict[str, Any]:
    where = remark.where
    return {
        "level": remark.level,
        "part": where.part,
        "where": shown(str(where)),
        "name": shown(where.name),
        "rule": shown(where.rule) or None,
        "also": [shown(place.called) for place in remark.also],
        "message": shown(remark.message),
        "remedy": shown(remark.remedy) or None,
        "passes": remark.later,
    }


def asking(server: str | None) -> None:
    """Show on a terminal which server is waited for; None: none any more."""
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        click.echo("\r\x1b[K" + (f"asking {shown(server)} …" if server else ""), err=True, nl=False)


def tell(checked: Checked, *, every: bool, costs: bool) -> None:
    """Print it: in blocks on a terminal, a finding a line where a program may read."""
    blocks = screen.width() is not None
    if every:
        for remark in checked.found:
            if remark.level == "ok" and not (checked.at_once and remark.done):
                _one_line(remark)
    else:
        _well(checked)
    if (skipped := checked.skipped()) and not checked.config.fatal:
        why = "--offline: no project was asked" if checked.offline else "their project could not be asked"
        _part("skipped", "Rules", f"{_named(skipped)}: {why}", None)
    for remark in sorted(checked.found, key=lambda one: _ORDER.index(one.level)):
        if remark.level != "ok":
            _block(remark) if blocks else _one_line(remark)
    if costs:
        screen.heading("What a file costs")
        for rule, said in checked.costs():
            screen.line(f"{shown(rule)}: {said}", 2, hang=6)
    word, counts = checked.verdict()
    click.echo()
    counts += "" if every else " (--all lists them)"
    screen.entry(word, counts, len(word) + 2, screen.BAD if checked.code else screen.GOOD)
    if blocks and (concerned := checked.concerned()):
        screen.line(f"dropcap goes on with everything but {_named(concerned)}.", len(word) + 2)


def _well(checked: Checked) -> None:
    """A line each part: what of it is well in every respect."""
    for part, title in _TITLES.items():
        mine = [remark for remark in checked.found if remark.where.part is part]
        troubled = {place.called for remark in mine if remark.level != "ok" for place in (remark.where, *remark.also)}
        well = dict.fromkeys(
            remark.where.called for remark in mine if remark.level == "ok" and remark.where.called not in troubled
        )
        if well and part is Part.CONFIGURATION:
            well = {f"{remark.where.called}: {remark.message}": None for remark in mine if remark.level == "ok"}
        if well:
            _part("ok", title, _named(list(well)), screen.GOOD)


def _named(names: Sequence[str]) -> str:
    said = ", ".join(shown(name) for name in names[:_NAMES])
    return said + (f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else "")


def _part(word: str, title: str, text: str, colour: str | None) -> None:
    if screen.width() is None:
        click.echo(f"{word:<{_PART}}{title:<{_TEXT - _PART}}{text}")
    else:
        screen.entry(word, f"{title:<{_TEXT - _PART}}{text}", _PART, colour, hang=_TEXT)


def _one_line(remark: Remark) -> None:
    screen.entry(remark.level, remark.text, _PART, _COLOURS[remark.level])


def _block(remark: Remark) -> None:
    where = remark.where
    click.echo()
    called = where.called + (f": {where.key}" if where.key else "")
    title = {Part.FOLDER: "Folder", Part.PROJECT: "Project", Part.RULE: "Rule"}.get(where.part, _TITLES[where.part])
    text = ", ".join(filter(None, (shown(called), shown(where.stands))))
    screen.entry(remark.level, f"{title:<{_TEXT - _PART}}{text}", _PART, _COLOURS[remark.level], hang=_TEXT)
    screen.line(remark.message, _PART)
    if remark.remedy:
        screen.line(f"{remark.remedy[0].upper()}{remark.remedy[1:]}", _PART)
