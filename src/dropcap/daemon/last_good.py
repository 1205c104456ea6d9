"""A reload with a mistake: a folder whose new rules are wrong goes on by its last good ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dropcap.config.model import Config, Problem
from dropcap.reasons import Scope


@dataclass(frozen=True, slots=True)
class Mistake:
    """Why a folder goes on by the rules that it had, and since when (seconds since the epoch)."""

    since: float
    problems: tuple[Problem, ...]

    @property
    def message(self) -> str:
        """One line for people."""
        first = self.problems[0]
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        return f"its new configuration has a mistake, so it goes on by the last good one: {first}{more}"


def with_last_good(new: Config, old: Config, before: Mapping[str, Mistake], now: float) -> tuple[Config, dict[str, Mistake]]:
    """`new`, with what `old` has in the place of folders and projects that have mistakes now; and those folders. Pure.

    A folder that was not there before, or whose old place another one has by now, is left out.
    """
    wrong: dict[tuple[Scope, str], list[Problem]] = {}
    for problem in new.problems:
        if problem.scope is not None:
            wrong.setdefault(problem.scope, []).append(problem)
    projects = {
        **{name: old.projects[name] for kind, name in wrong if kind is Scope.PROJECT and name in old.projects},
        **new.projects,
    }
    folders = dict(new.folders)
    mistakes: dict[str, Mistake] = {}
    for kind, name in wrong:
        folder = old.folders.get(name) if kind is Scope.FOLDER and name not in folders else None
        if folder is None or folder.project not in projects or _in_the_way(folder.path, [f.path for f in folders.values()]):
            continue
        told = wrong.get((Scope.PROJECT, folder.project)) or wrong[Scope.FOLDER, name]
        folders[name] = folder
        mistakes[name] = Mistake(before[name].since if name in before else now, tuple(told))
    return replace(new, projects=projects, folders=folders), mistakes


def _in_the_way(path: Path, others: list[Path]) -> bool:
    return any(path.is_relative_to(other) or other.is_relative_to(path) for other in others)
