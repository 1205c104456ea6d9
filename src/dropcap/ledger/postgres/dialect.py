"""The ledger's SQL as PostgreSQL reads it, and values as it keeps them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

_TOKEN = re.compile(r"('(?:[^']|'')*')|\?(\d*)|\bis (not )?(?!not |null\b|true\b|false\b|distinct\b)|(%)|\b(in \(\))")
#: PostgreSQL's text has no NUL. It is kept as two other characters, of which the first is doubled where a text has it.
_ESCAPE, _NUL, _ITSELF = "\x1e", "\x1e0", "\x1e1"


@lru_cache(maxsize=1024)
def translated(sql: str) -> str:
    """`?` and `?1` as psycopg's places for values, `is` between two values as the comparison that knows null, and of what is in
    nothing that it is not."""

    def of(found: re.Match[str]) -> str:
        text, number, negated, percent, nothing = found.groups()
        if text is not None:
            return text.replace("%", "%%")
        if percent is not None:
            return "%%"
        if nothing is not None:
            return "= any('{}')"
        if number is None:
            return "is distinct from " if negated else "is not distinct from "
        return f"%(v{number})s" if number else "%s"

    return _TOKEN.sub(of, sql)


def bound(sql: str, values: Sequence[Any]) -> Sequence[Any] | Mapping[str, Any]:
    """The values for the translated statement."""
    kept = [value if type(value) in _AS_THEY_ARE else as_kept(value) for value in values]
    return {f"v{number}": value for number, value in enumerate(kept, 1)} if "%(v" in sql else kept


_AS_THEY_ARE = frozenset({int, float, bytes, bool, type(None)})


def as_kept(value: Any) -> Any:
    """A value as PostgreSQL keeps it."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        if "\0" in value or _ESCAPE in value:
            return value.replace(_ESCAPE, _ITSELF).replace("\0", _NUL)
        return str(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def as_was(text: str) -> str:
    """A text that PostgreSQL has kept, as it was."""
    return text.replace(_NUL, "\0").replace(_ITSELF, _ESCAPE) if _ESCAPE in text else text
