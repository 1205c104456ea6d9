"""A rule: a pattern of file names, the target that its templates lead to, and its settings.

A template is text with `{capture}` and filters, rendered into a record, an event, a field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from dataclasses import field as default
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from operator import methodcaller

from dropcap.display import shown
from dropcap.routing.pattern import Pattern, PatternError, Table, listed, normal

#: What every template can name besides the captures: the file's name, without its extension, the extension, the folder.
BUILT_IN = ("name", "stem", "ext", "folder")


def _without_zeros(text: str) -> str:
    return text.lstrip("0") or text[-1:]


_PLAIN_FILTERS: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "strip0": _without_zeros,
}
#: Words that are filters by themselves; no table may have such a name.
FILTERS = (*_PLAIN_FILTERS, "pad")

_PAD = re.compile(r"pad\(([0-9]{1,3})\)", re.ASCII)
_Filter = Callable[[str], str]


class TemplateError(ValueError):
    """A template that cannot be rendered for this name, in words for people."""


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str
    filters: tuple[_Filter, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. `names` are the captures (and built-in names) that it uses, `tables` where it looks words up."""

    text: str
    names: frozenset[str]
    _parts: tuple[str | _Slot, ...] = field(default=(), repr=False, compare=False)
    looked_up: Mapping[str, Table] = field(default_factory=dict, repr=False, compare=False)  # capture -> where it is, as it is
    tables: Mapping[str, Table] = field(default_factory=dict, repr=False)

    def render(self, captures: Mapping[str, str]) -> str:
        """The text with `captures` put in.

        Raises TemplateError if a name is not there or a table does not have the word.
        """
        return "".join(part if isinstance(part, str) else self._filled(part, captures) for part in self._parts)

    def _filled(self, slot: _Slot, captures: Mapping[str, str]) -> str:
        if slot.name not in captures:
            raise TemplateError(f"`{self.text}` wants `{slot.name}`, which the name does not give")
        value = captures[slot.name]
        for apply in slot.filters:
            try:
                value = apply(value)
            except LookupError as error:
                raise TemplateError(shown(str(error.args[0]))) from None
        return value


def compile_template(
    text: str, tables: Mapping[str, Mapping[str, str]], known_names: Collection[str], case_sensitive: bool = False
) -> Template:
    """The template `text`; it may name `known_names` and the built-in names, and use `tables` as filters, whose words
    are found whatever their case unless `case_sensitive`.

    Raises PatternError with position and remedy.
    """
    text = normal(text)
    names = (*known_names, *BUILT_IN)
    parts: list[str | _Slot] = [""]
    looked_up: dict[str, Table] = {}
    used: dict[str, Table] = {}
    at = 0
    while at < len(text):
        character = text[at]
        if character == "{":
            end = text.find("}", at)
            if end < 0:
                raise PatternError("the `{` is never closed", at, "close it with `}`, or write `\\{` for the character")
            slot, filters = _slot(text[at + 1 : end], at + 1, tables, names, case_sensitive), text[at + 1 : end].split("|")[1:]
            parts += [slot, ""]
            for number, word in enumerate(one.strip() for one in filters):
                if word in tables and word not in FILTERS:
                    used[word] = Table.of(word, tables[word])
                    if number == 0:
                        looked_up[slot.name] = used[word]
            at = end + 1
            continue
        if character == "}":
            raise PatternError("a `}` without its `{`", at, "write `\\}` for the character itself")
        if character == "\\":
            at += 1
            if at == len(text):
                raise PatternError("a `\\` at the end", at - 1, "write `\\\\` for the character itself, or take it out")
        parts[-1] = f"{parts[-1]}{text[at]}"
        at += 1
    kept = tuple(part for part in parts if part != "")
    return Template(text, frozenset(part.name for part in kept if isinstance(part, _Slot)), kept, looked_up, used)


def _slot(
    inner: str, position: int, tables: Mapping[str, Mapping[str, str]], names: Collection[str], case_sensitive: bool
) -> _Slot:
    name, *filters = (word.strip() for word in inner.split("|"))
    if name not in names:
        raise PatternError(
            f"the pattern has no capture `{shown(name)}`", position, _did_you_mean(name, names, "it has " + listed([*names]))
        )
    return _Slot(name, tuple(_filter(word, position, tables, case_sensitive) for word in filters))


def _filter(word: str, position: int, tables: Mapping[str, Mapping[str, str]], case_sensitive: bool) -> _Filter:
    if word in _PLAIN_FILTERS:
        return _PLAIN_FILTERS[word]
    pad = _PAD.fullmatch(word)
    if pad:
        return methodcaller("rjust", int(pad.group(1)), "0")
    if word in tables:
        return partial(Table.of(word, tables[word]).translate, case_sensitive=case_sensitive)
    known = ["upper", "lower", "strip0", "pad(4)", *tables]
    raise PatternError(
        f"there is no filter or table `{shown(word)}`", position, _did_you_mean(word, known, "use " + listed(known))
    )


def _did_you_mean(word: str, known: Collection[str], otherwise: str) -> str:
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else otherwise


class ExistingFile(StrEnum):
    """What to do when the field already holds another file."""

    PRESERVE = "preserve"
    REPLACE = "replace"
    REFUSE = "refuse"


class Confirm(StrEnum):
    """What must be seen before a file is called done."""

    READBACK = "readback"
    LISTED = "listed"
    NONE = "none"


class MissingRecord(StrEnum):
    """What to do when REDCap has no such record."""

    REFUSE = "refuse"
    WAIT = "wait"
    CREATE = "create"


class ContentCheck(StrEnum):
    """Whether a file that looks cut off is taken."""

    AUTO = "auto"
    OFF = "off"


#: `instance: next`: the number after the highest that the record has.
NEXT = "next"


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """The settings that a rule, its folder or `defaults` give (design, part 4)."""

    existing_file: ExistingFile = ExistingFile.PRESERVE
    confirm: Confirm = Confirm.READBACK
    missing_record: MissingRecord = MissingRecord.REFUSE
    create_limit: int = 20
    suggest_records: bool = False
    content_check: ContentCheck = ContentCheck.AUTO
    case_sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One field of one record, as far as the file's name tells.

    `record` is empty while `record_where` (field -> value) has not been looked up.
    `instance` is a number, `next`, or None where nothing repeats.
    """

    field: str
    record: str = ""
    event: str | None = None
    instance: int | str | None = None
    record_where: dict[str, str] = default(default_factory=dict)
    must_match: dict[str, str] = default(default_factory=dict)
    upload_as: str = ""
    record_is_typed: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a folder's `rules`. Templates that a rule does not use are None."""

    name: str
    pattern: Pattern
    field: Template
    record: Template | None = None
    event: Template | None = None
    instance: Template | None = None
    record_where: dict[str, Template] = default(default_factory=dict)
    must_match: dict[str, Template] = default(default_factory=dict)
    upload_as: Template | None = None
    settings: RuleSettings = default(default_factory=RuleSettings)
    settings_from: Mapping[str, str] = default(default_factory=dict, compare=False)  # setting -> where it stands, for people
    example: str = ""  # a name that it takes, as people are shown it
    line: int = default(default=0, compare=False)  # where it stands in its file

    @property
    def tables(self) -> dict[str, Table]:
        """The tables that it uses, by name."""
        templates = [self.record, self.event, self.field, self.instance, self.upload_as]
        every = [self.pattern, *templates, *self.record_where.values(), *self.must_match.values()]
        return {name: table for one in every if one is not None for name, table in one.tables.items()}
