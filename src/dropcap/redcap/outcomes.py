"""What a rule's templates can render to, as far as that can be told without a file's name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from dropcap.routing.pattern import Pattern
from dropcap.routing.syntax import Capture, Element, Group
from dropcap.routing.table import DEFAULT, Table
from dropcap.routing.template import Template, TemplateError

#: More combinations of words than this are not tried one by one.
MOST = 2000
#: A word that no table has: what it gives is the table's default.
_OTHER = "\ufdd0"


def outcomes(pattern: Pattern, templates: dict[str, Template]) -> list[dict[str, str]] | None:
    """Every combination that `templates` (key -> template) can render to together; None if that cannot be told.

    Captures are followed through typed alternations and tables, so that a field and an event that depend on the same
    word are only combined as they can occur.
    """
    names = sorted(frozenset[str]().union(*(template.names for template in templates.values())))
    words = {name: _words(name, pattern, templates.values()) for name in names}
    lists = [sorted(choice) for choice in words.values() if choice is not None]
    combinations = 1
    for choice in lists:
        combinations *= len(choice)
    if len(lists) < len(names) or combinations > MOST:
        return None
    found: list[dict[str, str]] = []
    for values in product(*lists):
        captures = dict(zip(names, values, strict=True))
        try:
            rendered = {key: template.render(captures) for key, template in templates.items()}
        except TemplateError:
            continue  # such a file is refused, and told so
        if rendered not in found:
            found.append(rendered)
    return found


def _words(name: str, pattern: Pattern, templates: Iterable[Template]) -> set[str] | None:
    typed = _typed_words(name, [unit.element for unit in pattern.units])
    if typed is not None:
        return typed
    tables = [table for template in templates for table in _first_tables(name, template)]
    if not tables or None in tables:
        return None
    found: set[str] = set()
    for table in tables:
        if table is not None:
            found |= set(table.words) | ({_OTHER} if DEFAULT in table else set())
    return found


def _typed_words(name: str, elements: Iterable[Element], optional: bool = False) -> set[str] | None:
    for element in elements:
        if isinstance(element, Group):
            inner = _typed_words(name, element.parts, True)
            if inner is not None:
                return inner
        elif isinstance(element, Capture) and element.name == name and element.kind == "words":
            return {*element.words, ""} if optional else set(element.words)
    return None


def _first_tables(name: str, template: Template) -> Iterator[Table | None]:
    """For each place where `template` uses `name`: the first table it goes through, None if it goes through none."""
    for part in template._parts:
        if not isinstance(part, str) and part.name == name:
            owners = (getattr(apply, "__self__", None) for apply in part.filters)
            yield next((owner for owner in owners if isinstance(owner, Table)), None)
