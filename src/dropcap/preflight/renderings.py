"""What a rule's templates can render to, as far as that can be told without a file's name. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product

from dropcap.routing.pattern import Pattern
from dropcap.routing.syntax import Capture, Element, Group
from dropcap.routing.table import DEFAULT
from dropcap.routing.template import Template, TemplateError

#: More combinations of words than this are not tried one by one.
MOST = 2000
#: A word that no table has: what it gives is the table's default.
_OTHER = "\ufdd0"

#: A slot of a template as it is written (design, part 4), or an escaped character, which is none.
_SLOT = re.compile(r"\\.|\{([^{}]*)\}", re.DOTALL)


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
    found: set[str] = set()
    for template in templates:
        for filters in _slots(name, template):
            table = next((template.tables[word] for word in filters if word in template.tables), None)
            if table is None:
                return None
            found |= {_OTHER if word == DEFAULT else word for word in table}
    return found or None


def _typed_words(name: str, elements: Iterable[Element], optional: bool = False) -> set[str] | None:
    for element in elements:
        if isinstance(element, Group):
            inner = _typed_words(name, element.parts, True)
            if inner is not None:
                return inner
        elif isinstance(element, Capture) and element.name == name and element.kind == "words":
            return {*element.words, ""} if optional else set(element.words)
    return None


def _slots(name: str, template: Template) -> Iterator[list[str]]:
    """The filters of each place where `template` uses `name`."""
    for inner in _SLOT.findall(template.text):
        word, *filters = (part.strip() for part in inner.split("|"))
        if word == name:
            yield filters
