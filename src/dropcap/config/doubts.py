"""What a configuration says that is probably not meant: looked for by `check` alone, nothing stops for it.

Typographic quotes and blanks that are no spaces come from word processors and web pages; nobody sees them, and no file name,
record or field has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import yaml

from dropcap.config.document import Node
from dropcap.config.model import Doubt, Project
from dropcap.config.values import CLOSING_QUOTES, OPENING_QUOTES, masked, quote
from dropcap.routing.table import normal

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


def doubtful_texts(roots: Iterable[Node]) -> Iterator[Doubt]:
    """Quotes and blanks in the values and keys of the files with these roots."""
    for root in roots:
        yield from _texts(root.raw, root.file, "", "", set())


def _texts(raw: yaml.Node, file: str, path: str, key: str, seen: set[int]) -> Iterator[Doubt]:
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


def _text(raw: yaml.ScalarNode, file: str, path: str, key: str, what: str) -> Iterator[Doubt]:
    text, line = str(raw.value), raw.start_mark.line + 1
    bare = "" if raw.style in ("'", '"', "|", ">") else text.strip()
    if bare and bare[0] in OPENING_QUOTES and bare[-1] in CLOSING_QUOTES and len(bare) > 1:
        message = f"the {what} {quote(text)} stands in typographic quotes, which are a part of it"
        yield Doubt("error", file, line, path, message, 'write straight quotes: "…"')
    elif any(mark in bare for mark in _DOUBLE):
        message = f"the {what} {quote(text)} has typographic quotes"
        yield Doubt("warning", file, line, path, message, "take them out, or put the whole in straight quotes if names have them")
    unseen = _UNSEEN.search(text)
    if unseen:
        name = "a no-break space" if unseen[0].isspace() else "a character that nobody sees"
        message = f"the {what} {quote(text)} has {name} (character {unseen.start() + 1}, U+{ord(unseen[0]):04X})"
        remedy = "write it anew with a plain space, or without" + (
            ", unless the files' names have it" if key in _OF_NAMES else ""
        )
        yield Doubt("warning" if key in _OF_NAMES else "error", file, line, path, message, remedy)


def doubtful_tables(tables: Mapping[str, Node], by_case: bool) -> Iterator[Doubt]:
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
            yield Doubt("warning", node.file, word.start_mark.line + 1, key, message, remedy)


def doubtful_projects(projects: Sequence[Project]) -> Iterator[Doubt]:
    """Entries that lead to one REDCap project, as far as the configuration tells."""
    for position, project in enumerate(projects):
        for other in projects[:position]:
            by_id = project.project_id is not None and project.project_id == other.project_id
            if project.api == other.api and (by_id or project.token_source == other.token_source):
                yield same_project(project, other)
                break


def same_project(project: Project, other: Project) -> Doubt:
    """Two entries lead to one REDCap project."""
    message = f"is the same REDCap project as {quote(other.name)} in line {other.line}"
    remedy = "let the folders of both name one entry, unless the two tokens are of users with different rights on purpose"
    return Doubt("warning", project.file, project.line, f"projects.{project.name}", message, remedy)
