"""Reads the configuration, one file and those that it includes, and reports every problem at once."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from dropcap.config.document import Node, Section, absolute, read_document
from dropcap.config.ledger_url import KEYS as LEDGER_KEYS
from dropcap.config.ledger_url import copies_are_not_shared, doubtful_ledger, keeps_copies, read_ledger
from dropcap.config.model import Config, Log, PostgresLedger, Privacy, Problem, Project, Retention
from dropcap.config.sections import (
    FolderReader,
    check_nesting,
    folder_path,
    read_dashboard,
    read_metrics,
    read_notify,
    read_project,
    read_table,
)
from dropcap.config.values import (
    CLOSING_QUOTES,
    DAY,
    OPENING_QUOTES,
    TIB,
    age,
    choice,
    duration,
    masked,
    place,
    plain,
    quote,
    size,
    whole,
    word_of,
)
from dropcap.display import shown
from dropcap.language.speaker import Language
from dropcap.reasons import Scope
from dropcap.routing.pattern import normal

#: No-break spaces, and characters without width.
_UNSEEN = re.compile("[\u00a0\u2007\u202f\u200b\u2060\ufeff\u00ad]")
#: Typographic quotes that are no apostrophes.
_DOUBLE = "“”„‟«»"
#: Keys whose text people read, and nobody compares.
_FOR_PEOPLE = frozenset({"contact"})
#: Keys whose text may hold a password by mistake: it is not shown, and their own readers refuse what cannot be.
_NEVER_SHOWN = frozenset({"ledger"})
#: Keys whose text may stand in names of files as they are: cameras and screenshots write such blanks.
_OF_NAMES = frozenset({"pattern", "regex", "upload_as", "ignore", "path"})


def doubtful_texts(roots: Iterable[Node]) -> Iterator[Problem]:
    """Quotes and blanks in the values and keys of the files with these roots."""
    for root in roots:
        yield from _texts(root.raw, root.file, "", "", set())


def _texts(raw: yaml.Node, file: str, path: str, key: str, seen: set[int]) -> Iterator[Problem]:
    """`seen`: nodes that were looked at; an alias can make one contain itself."""
    if id(raw) in seen:
        return
    seen.add(id(raw))
    if isinstance(raw, yaml.MappingNode):
        for name, value in raw.value:
            if isinstance(name, yaml.ScalarNode):
                inner = masked(f"{path}.{name.value}" if path else str(name.value))
                yield from _text(name, file, inner, "", "key")
                yield from _texts(value, file, inner, str(name.value), seen)
    elif isinstance(raw, yaml.SequenceNode):
        for number, value in enumerate(raw.value, 1):
            yield from _texts(value, file, f"{path}[{number}]", key, seen)
    elif isinstance(raw, yaml.ScalarNode) and key not in _FOR_PEOPLE | _NEVER_SHOWN:
        yield from _text(raw, file, path, key, "value")


def _text(raw: yaml.ScalarNode, file: str, path: str, key: str, what: str) -> Iterator[Problem]:
    text, line = str(raw.value), raw.start_mark.line + 1
    bare = "" if raw.style in ("'", '"', "|", ">") else text.strip()
    if bare and bare[0] in OPENING_QUOTES and bare[-1] in CLOSING_QUOTES and len(bare) > 1:
        message = f"the {what} {quote(text)} stands in typographic quotes, which are a part of it"
        yield Problem(file, line, path, message, 'write straight quotes: "…"')
    elif any(mark in bare for mark in _DOUBLE):
        message = f"the {what} {quote(text)} has typographic quotes"
        remedy = "take them out, or put the whole in straight quotes if names have them"
        yield Problem(file, line, path, message, remedy, level="warning")
    unseen = _UNSEEN.search(text)
    if unseen:
        name = "a no-break space" if unseen[0].isspace() else "a character that nobody sees"
        message = f"the {what} {quote(text)} has {name} (character {unseen.start() + 1}, U+{ord(unseen[0]):04X})"
        remedy = "write it anew with a plain space, or without" + (
            ", unless the files' names have it" if key in _OF_NAMES else ""
        )
        yield Problem(file, line, path, message, remedy, level="warning" if key in _OF_NAMES else "error")


def doubtful_tables(tables: Mapping[str, Node], by_case: bool) -> Iterator[Problem]:
    """Words of a table that differ by their case only. `by_case`: some rule tells words apart by it."""
    for name, node in tables.items():
        if not isinstance(node.raw, yaml.MappingNode):
            continue
        first: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for word, value in node.raw.value:
            if not isinstance(word, yaml.ScalarNode):
                continue
            other, meant = first.setdefault(normal(str(word.value)).casefold(), (word, value))
            if other.value == word.value:  # itself; or twice, which is told as a mistake
                continue
            same = meant.value == value.value
            if same and by_case:
                continue
            message = f"differs from {quote(str(other.value))} in line {other.start_mark.line + 1} by its case only, "
            message += (
                "and says the same" if same else "and leads elsewhere: a slip of the shift key would send a file to another place"
            )
            key = masked(f"tables.{name}.{word.value}")
            remedy = "keep one of them: a word is found in any case"
            yield Problem(node.file, word.start_mark.line + 1, key, message, remedy, level="warning")


def doubtful_projects(projects: Sequence[Project]) -> Iterator[Problem]:
    """Entries that lead to one REDCap project, as far as the configuration tells."""
    for position, project in enumerate(projects):
        for other in projects[:position]:
            by_id = project.project_id is not None and project.project_id == other.project_id
            if project.api == other.api and (by_id or project.token_source == other.token_source):
                yield same_project(project, other)
                break


def same_project(project: Project, other: Project) -> Problem:
    """Two entries lead to one REDCap project."""
    message = f"is the same REDCap project as {quote(other.name)} in line {other.line}"
    remedy = "let the folders of both name one entry, unless the two tokens are of users with different rights on purpose"
    return Problem(project.file, project.line, f"projects.{project.name}", message, remedy, level="warning")


STATE_DIR = "/var/lib/dropcap"

_SHARED = ("projects", "folders", "tables")
_VALUES: dict[str, Callable[[str], Any]] = {
    "contact": plain,
    "uploads_at_once": whole(1, 64),
    "small_file": size(0, TIB),
    "stop_within": duration(0, DAY),
}
_LOG = {"format": word_of("json", "text"), "level": word_of("debug", "info", "warning", "error")}
_PRIVACY = {"names": word_of("clear", "mask")}
#: The shortest time for which each is kept. A file that is moved back out of done/ is known again for a week.
_KEEP = {"done": age(7 * DAY), "preserved": age(DAY), "history": age(7 * DAY), "empty_subfolders": age(DAY / 24)}
_KEYS = (
    *("state_dir", *LEDGER_KEYS),
    *(*_VALUES, "language", "log", "privacy", "keep", "notify", "metrics", "dashboard", "include", "defaults"),
    *_SHARED,
)


def load(path: Path) -> Config:
    """The configuration in `path`. Never raises for what the file holds, or if it is not there: see `Config.problems`."""
    problems: list[Problem] = []
    digests: dict[str, str] = {}
    root = read_document(os.fspath(path), problems, None, digests)
    if root is None:
        return Config(path, Path(STATE_DIR), problems=tuple(problems))
    main = root.section()
    main.only(_KEYS)
    sections = [main, *_included(main, path, digests)]
    state_dir = main.read("state_dir", place, "")
    state_dir = absolute(state_dir, root) if state_dir else STATE_DIR

    table_nodes = _merged(sections, "tables", None)
    tables = {name: read_table(name, node) for name, node in table_nodes.items()}
    projects = _projects(_merged(sections, "projects", Scope.PROJECT), problems)
    folder_nodes = _merged(sections, "folders", Scope.FOLDER)
    reader = FolderReader(main.get("defaults"), tables, projects, main.read("language", choice(Language), None))
    read = {name: reader.read(name, node) for name, node in folder_nodes.items()}
    check_nesting([(place_of, node) for node in folder_nodes.values() if (place_of := folder_path(node))], state_dir)
    ledger = read_ledger(main)
    for name, folder in read.items() if isinstance(ledger, PostgresLedger) else ():
        if folder is not None and folder.preserve_in is None and keeps_copies(folder.rules):
            copies_are_not_shared(folder_nodes[name])
    unsound = _unsound(problems)
    digest = _digest(digests)
    folders = {
        name: replace(folder, configuration=digest)
        for name, folder in read.items()
        if folder is not None and (Scope.FOLDER, name) not in unsound
    }
    if not folder_nodes:
        root.problem("there are no folders", "add one to `folders`: its path, its project and its rules")
    values = main.take(_VALUES)
    return Config(
        path=path,
        state_dir=Path(state_dir),
        ledger=ledger,
        log=Log(**_inner(main, "log", _LOG)),
        keep=Retention(**_inner(main, "keep", _KEEP)),
        privacy=Privacy(**_inner(main, "privacy", _PRIVACY)),
        projects={name: project for name, project in projects.items() if project is not None},
        folders=folders,
        tables=tables,
        notify=read_notify(main, list(projects), list(folder_nodes)),
        metrics=read_metrics(main),
        dashboard=read_dashboard(main),
        problems=_in_order(problems),
        digest=digest,
        broken=tuple(folder for folder in read.values() if folder is not None and folder.name not in folders),
        doubts=(
            *doubtful_ledger(main, ledger),
            *doubtful_texts(section.node for section in sections),
            *doubtful_tables(table_nodes, any(rule.settings.case_sensitive for f in read.values() if f for rule in f.rules)),
            *doubtful_projects([project for project in projects.values() if project is not None]),
        ),
        **values,
    )


def _digest(read: dict[str, str]) -> str:
    """The SHA-256 of the one file; of several, of what `sha256sum` prints of them, in the order in which they are read."""
    if len(read) == 1:
        return next(iter(read.values()))
    return hashlib.sha256(
        "".join(f"{digest}  {path}\n" for path, digest in read.items()).encode("utf-8", "surrogateescape")
    ).hexdigest()


def _included(main: Section, path: Path, read: dict[str, str]) -> list[Section]:
    """The sections of the files that `include` names, in the order of their names."""
    node = main.get("include")
    if node is None:
        return []
    entries = node.items() if isinstance(node.raw.value, list) else [] if node.is_null else [node]
    found: dict[str, None] = {os.path.abspath(path): None}
    sections: list[Section] = []
    for entry in entries:
        pattern = entry.value(place)
        if pattern is None:
            continue
        beside = os.path.dirname(os.path.abspath(path))  # not part of the glob: it may have brackets itself
        files = sorted(absolute(file, node) for file in glob.glob(pattern, root_dir=beside))
        if not files and not glob.has_magic(pattern):
            entry.problem(f"there is no file {shown(absolute(pattern, node))}", "correct the path, or take it out")
        for file in files:
            if file in found:
                continue
            found[file] = None
            root = read_document(file, node.problems, entry, read)
            if root is not None:
                section = root.section()
                section.only(_SHARED, "an included file holds only projects, folders and tables")
                sections.append(section)
    return sections


def _merged(sections: list[Section], key: str, scopes: Scope | None) -> dict[str, Node]:
    """The entries of `key` in all files. One that two files have is reported with both places."""
    merged: dict[str, Node] = {}
    for section in sections:
        node = section.get(key)
        if node is None:
            continue
        for name, entry in node.section(scopes):
            if name in merged:
                first = merged[name]
                entry.problem(f"is also in {first.file}:{first.line}", "keep one of them")
            else:
                merged[name] = entry
    return merged


def _projects(nodes: dict[str, Node], problems: list[Problem]) -> dict[str, Project | None]:
    """Every project that is named; None for those that are not sound."""
    projects = {name: read_project(name, node) for name, node in nodes.items()}
    unsound = _unsound(problems)
    return {name: None if (Scope.PROJECT, name) in unsound else project for name, project in projects.items()}


def _unsound(problems: list[Problem]) -> set[tuple[Scope, str]]:
    return {problem.scope for problem in problems if problem.scope is not None}


def _inner(main: Section, key: str, readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The values of a section that has nothing but those."""
    section = main.inner(key, readers)
    return {} if section is None else section.take(readers, nullable=("format",))


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """Each problem once, by file (in the order of reading) and line."""
    files = dict.fromkeys(problem.file for problem in problems)
    by_line = sorted(dict.fromkeys(problems), key=attrgetter("line"))
    return tuple(problem for file in files for problem in by_line if problem.file == file)
