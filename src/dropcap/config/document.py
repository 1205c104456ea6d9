"""A YAML file as nodes that know their line and key, and what is usually wrong where YAML cannot be read.

Only PyYAML's composer is used: nothing is constructed, so every value keeps its text and its place."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from dropcap.config.model import Problem
from dropcap.config.values import OPENING_QUOTES, BadValueError, did_you_mean, masked, place
from dropcap.display import shown
from dropcap.reasons import Scope

_QUOTE_IT = "put the value in quotes"
# A value that begins with a character that means something to YAML; a backslash within double quotes.
_BARE = re.compile(r"(?::|-)\s+[{\[*&!%@`|>,?]")
_BACKSLASH = re.compile(r'"[^"]*\\')
#: A line's key, in quotes or not, and what stands behind it.
_ENTRY = re.compile(r"""\s*(?:-\s+)*(?:"[^"]*"|'[^']*'|[^\s"'#:][^:#]*?)\s*:(?:\s+(?P<value>\S.*))?$""")
#: A quoted value, and more behind it.
_BEHIND = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*[^\s#,}\]]""")
#: A blank that is none to YAML.
_BLANK = re.compile("[\u00a0\u2007\u202f]")


def remedy(lines: list[str], error: yaml.MarkedYAMLError) -> str:
    """What to do about it: the cause that such an error has as a rule, in the line where YAML noticed it."""
    line = noticed(error)
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    before = next((one for one in reversed(lines[: max(line - 1, 0)]) if one.strip()), "")
    return _by_character(text, before) or _by_complaint(error, text, before)


def noticed(error: yaml.MarkedYAMLError) -> int:
    """The line, counted from 1, in which the slip is; 0 if YAML does not say."""
    # A key without its `:` is only missed in the line after it; what is never closed is only missed at the end.
    scalar = error.context in ("while scanning a simple key", "while scanning a quoted scalar")
    flow = (error.context or "").startswith("while parsing a flow")
    mark = error.context_mark if (scalar or (flow and _ran_on(error))) and error.context_mark else error.problem_mark
    return mark.line + 1 if mark else 0


def _ran_on(error: yaml.MarkedYAMLError) -> bool:
    """Whether a bracket is missed only in a later line than the one in which it was opened."""
    return bool(error.context_mark and error.problem_mark and error.problem_mark.line > error.context_mark.line)


def _by_character(text: str, before: str) -> str:
    if "\t" in text[: len(text) - len(text.lstrip())]:
        return "indent with spaces: YAML allows no tabs there"
    if _BLANK.search(text) or _BLANK.search(before):
        return "there is a no-break space in that line or the one before: replace it by a space"
    if any(quote in text for quote in OPENING_QUOTES):
        return 'write straight quotes ("…"): YAML takes typographic ones for a part of the value'
    return ""


def _by_complaint(error: yaml.MarkedYAMLError, text: str, before: str) -> str:
    """By what YAML says, as far as the line bears it out."""
    said = f"{error.context or ''} {error.problem or ''}"
    entry, above = _ENTRY.match(text), _ENTRY.match(before)
    value = (entry["value"] if entry else None) or ""
    if _BEHIND.match(value):
        return (
            "something stands behind the closing quote: put the whole value in one pair of quotes (a ' within '…' is written '')"
        )
    if "flow" in said and _ran_on(error):
        return f"the bracket that opens there is not closed: close it, or {_QUOTE_IT} if the bracket is a part of it"
    if _BARE.search(text):
        return f"{_QUOTE_IT}, because of the character that it begins with"
    if _BACKSLASH.search(text):
        return "write two backslashes for one within double quotes, or use single quotes"
    if "end of stream" in said and "quoted" in said:
        return "the quote that begins there is never closed: close it"
    if re.search(r":(?:\s|$)", value):
        return f"{_QUOTE_IT}: it has a `:` in it, which YAML takes for the end of a key"
    if value.startswith("- "):
        return f"{_QUOTE_IT}, or begin the list in a line of its own"
    if above and above["value"] and _indent(text) > _indent(before):
        return f"indent the line as the one before, which has a value already; or {_QUOTE_IT} if it goes on"
    if before.strip() and not above and not before.strip().startswith(("#", "-")):
        return "the line before has no `:`: write it as `key: value`"
    return "see the indentation there: what belongs together begins in the same column"


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"
_LARGEST = 16 * 1024**2

#: Keys that belong to later versions.
LATER = frozenset({"mask", "database"})
#: Keys of earlier versions, and what is there in their place.
REMOVED = {"receipts": "`dropcap history --json` tells what REDCap has of each file"}

_T = TypeVar("_T")
Disables = tuple[Scope, str] | None


@dataclass(frozen=True, slots=True)
class Node:
    """One value: where it stands, the dotted key that leads to it, and what a problem in it disables."""

    raw: yaml.Node
    file: str
    line: int
    key: str
    problems: list[Problem]
    scope: Disables = None

    def problem(self, message: str, remedy: str, *, echo: bool = False) -> None:
        """Report a problem of this value. What looks like a token is left out, whatever key it stands in.

        `echo`: another problem says it already, and this one only tells what else cannot be used.
        """
        self.problems.append(Problem(self.file, self.line, self.key, masked(message), masked(remedy), self.scope, echo))

    def scoped(self, kind: Scope, name: str) -> Node:
        """This node as the project or folder `name`: problems in it disable only that."""
        return replace(self, scope=(kind, name))

    @property
    def is_null(self) -> bool:
        return bool(self.raw.tag == _NULL)

    def text(self) -> str | None:
        """The text as it is written, whatever YAML takes it for; None, reported, if this is a list or a mapping."""
        if not isinstance(self.raw, yaml.ScalarNode):
            self.problem("is a list or a mapping", "write one value (in quotes if it begins with `{` or `[`)")
            return None
        if self.is_null:
            self.problem("has no value", "write one, or take the key out")
            return None
        return str(self.raw.value)

    def value(self, parse: Callable[[str], _T]) -> _T | None:
        """What `parse` makes of the text; None, reported, if that is not possible."""
        text = self.text()
        if text is None:
            return None
        try:
            return parse(text)
        except BadValueError as error:
            self.problem(error.message, error.remedy)
            return None

    def path(self) -> Path | None:
        """The path that stands here; a relative one is relative to the file. None, reported, if it cannot be one."""
        text = self.value(place)
        return None if text is None else Path(absolute(text, self))

    def values(self, parse: Callable[[str], _T], *, or_one: bool = False) -> list[_T]:
        """What `parse` makes of each entry of a list; with `or_one` the only value need not be in one."""
        entries = [self] if or_one and not isinstance(self.raw, yaml.SequenceNode) else self.items()
        return [value for entry in entries if (value := entry.value(parse)) is not None]

    def items(self) -> list[Node]:
        """The entries of a list; none, reported, if this is not a list."""
        if not isinstance(self.raw, yaml.SequenceNode):
            if not self.is_null:
                self.problem("is not a list", "write it as a list: [a, b], or one `- a` a line")
            return []
        return [
            replace(self, raw=raw, line=raw.start_mark.line + 1, key=f"{self.key}[{number}]")
            for number, raw in enumerate(self.raw.value, 1)
        ]

    def section(self, scopes: Scope | None = None) -> Section:
        """The entries of a mapping; none, reported, if this is not one. Its keys are read as text, duplicates are
        reported. With `scopes`, each entry is a scope of its own of that kind."""
        entries: dict[str, Node] = {}
        if not isinstance(self.raw, yaml.MappingNode):
            if not self.is_null:
                self.problem("is not a mapping", "write `key: value` lines below it, indented")
            return Section(self, entries)
        for raw_key, raw in self.raw.value:
            line = raw_key.start_mark.line + 1
            if not isinstance(raw_key, yaml.ScalarNode):
                here = replace(self, line=line)
                here.problem("has a key that is a list or a mapping", "put text with `{` or `[` in quotes")
                continue
            key = str(raw_key.value)
            path = masked(f"{self.key}.{key}" if self.key else key)
            node = replace(self, raw=raw, line=line, key=path)
            if scopes:
                node = node.scoped(scopes, key)
            if key in entries:
                node.problem(f"stands here twice (first in line {entries[key].line})", "keep one of them")
            else:
                entries[key] = node
        return Section(self, entries)


@dataclass(frozen=True, slots=True)
class Section:
    """The entries of a mapping, by key, in the order of the file."""

    node: Node
    entries: dict[str, Node]

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        return iter(self.entries.items())

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def get(self, key: str) -> Node | None:
        return self.entries.get(key)

    def read(self, key: str, parse: Callable[[str], _T], default: _T) -> _T:
        """The value of `key`; `default` if it is not there or, reported, not possible."""
        node = self.entries.get(key)
        value = node.value(parse) if node else None
        return default if value is None else value

    def take(self, readers: Mapping[str, Callable[[str], Any] | None], nullable: Collection[str] = ()) -> dict[str, Any]:
        """The values of those keys that are there and, else reported, possible; None for null, which the `nullable` may be. A key
        without a reader has a path."""
        taken: dict[str, Any] = {}
        for key, parse in readers.items():
            node = self.entries.get(key)
            if node is None:
                continue
            null = key in nullable and node.is_null
            value = None if null else node.path() if parse is None else node.value(parse)
            if null or value is not None:
                taken[key] = value
        return taken

    def inner(self, key: str, known: Collection[str]) -> Section | None:
        """The mapping that stands under `key`, with no keys but the `known`; None if there is none."""
        node = self.entries.get(key)
        if node is None or node.is_null:
            return None
        section = node.section()
        section.only(known)
        return section

    def only(self, known: Collection[str], elsewhere: str = "") -> None:
        """Report every key that is not `known`. `elsewhere` says where other keys belong."""
        for key, node in self.entries.items():
            if key in known:
                continue
            if key in LATER:
                node.problem("is not in this version", "take it out")
            elif key in REMOVED:
                node.problem("was removed", f"take it out: {REMOVED[key]}")
            elif key == "<<":
                node.problem("merge keys are not followed here", "write the settings out, or put common ones into `defaults`")
            elif key == "token":
                node.problem(
                    "a token does not belong in this file",
                    "write it into a file with mode 0600 and name that in token_file; renew it if others can read this file",
                )
            else:
                node.problem("unknown key", did_you_mean(key, known, elsewhere or "the keys here are " + ", ".join(known)))


def read_document(
    path: str, problems: list[Problem], named: Node | None = None, read: dict[str, str] | None = None
) -> Node | None:
    """The root of the YAML file `path`; None, reported, if there is none. Raises nothing for a bad file. What cannot
    be read at all is a problem of the entry that `named` the file, if one did. `read` is told the SHA-256 of its bytes."""

    def bad(message: str, what_to_do: str, line: int = 0) -> None:
        problems.append(Problem(shown(path), line, "", masked(message), what_to_do))

    try:
        with open(path, "rb", opener=_without_waiting) as file:
            content = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such path is possible"
        if named is None and isinstance(error, FileNotFoundError):
            bad("there is no such file", "run `dropcap init` to make one, or name another with -c")
        elif named is None:
            bad(f"the file cannot be read: {reason}", "name the file with -c, and let dropcap read it")
        else:
            named.problem(f"{path} cannot be read: {reason}", "correct the path, and let dropcap read it")
        return None
    if read is not None:
        read[path] = hashlib.sha256(content).hexdigest()
    if len(content) > _LARGEST:
        bad("the file has more than 16 MiB", "is it the right one?")
        return None
    try:
        root = _LOADER(content).get_single_node()
    except yaml.MarkedYAMLError as error:
        told = ": ".join(part for part in (error.context, error.problem) if part)
        # What YAML complains of may be the value itself, and that may be a token.
        bad(f"not YAML: {told}", remedy(content.decode("utf-8", "replace").splitlines(), error), noticed(error))
        return None
    except (yaml.YAMLError, RecursionError):
        bad("not YAML", "save it as plain text in UTF-8", _undecodable(content))
        return None
    if root is None:
        bad("the file is empty", "see config.example.yaml, or use dropcap init")
        return None
    return Node(root, shown(path), root.start_mark.line + 1, "", problems)


def _without_waiting(path: str, flags: int) -> int:
    """Open a regular file: opening a FIFO would wait for a writer. Raises OSError for whatever else lies there."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is not a regular file")


def _undecodable(content: bytes) -> int:
    """The line with the first byte that is not UTF-8; 0 if that is not the trouble."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return content.count(b"\n", 0, error.start) + 1
    return 0


def absolute(path: str, node: Node) -> str:
    """`path` as it stands in `node`: relative paths are relative to the file."""
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(node.file)), path))
