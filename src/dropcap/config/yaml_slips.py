"""What is usually the matter where YAML cannot be read. Its own words are for programmers; the usual slips are named. Pure."""

from __future__ import annotations

import re

import yaml

from dropcap.config.values import OPENING_QUOTES

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
