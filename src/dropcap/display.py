"""Names, times and sizes as they can be shown: in a log, on a terminal, on the operator's page."""

from __future__ import annotations

import time
import unicodedata
from datetime import datetime

# Cc control, Cf format (bidi overrides, zero-width), Cs lone surrogates (bytes that are not UTF-8), Co/Cn unassigned,
# Zl/Zp line ends.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def shown(name: str) -> str:
    """`name` with every character that could mislead a reader or a terminal written as an escape.

    Bytes that are not UTF-8 (surrogates, as `os.fsdecode` makes them) appear as `\\xNN`, and so does what only looks like a
    space: nobody would see why a name with a no-break space matches nothing.
    """
    if name.isascii() and name.isprintable():
        return name
    return "".join(_escaped(one) if one == " " or unicodedata.category(one) != "Zs" else _escape(one) for one in name)


def said(text: str) -> str:
    """The same of a text for people: its language may want spaces that no line breaks at."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escaped, text))


def place(record: str, event: str | None, field: str, instance: int | str | None) -> str:
    """A place in REDCap, as far as it is known: `record 101, event V1, field consent`."""
    parts = {"record": record, "event": event, "field": field, "instance": instance}
    return ", ".join(f"{what} {shown(str(value))}" for what, value in parts.items() if value not in (None, ""))


def _escaped(character: str) -> str:
    return character if unicodedata.category(character) not in _HIDDEN else _escape(character)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def when(seconds: float) -> str:
    """A time for people: `14:05` today, else `24 November, 06:00`, and the year where it is another."""
    then, today = datetime.fromtimestamp(seconds).astimezone(), datetime.fromtimestamp(time.time()).astimezone()
    if then.date() == today.date():
        return f"{then:%H:%M}"
    year = "" if then.year == today.year else f" {then.year}"
    return f"{then.day} {_MONTHS[then.month - 1]}{year}, {then:%H:%M}"


def at_second(seconds: float) -> str:
    """A moment of this day or the next, to the second: `02:11:38`."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%H:%M:%S}"


def span(seconds: float) -> str:
    """How long something took or takes."""
    seconds = max(seconds, 0)
    if seconds < 0.1:
        return "< 0.1 s"
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def size(number: float) -> str:
    """Bytes as file managers count them."""
    for unit, of in (("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
        if number >= of:
            return f"{number / of:,.1f} {unit}" if number < 10 * of else f"{number / of:,.0f} {unit}"
    return f"{number:,.0f} bytes"


def many(count: int, word: str) -> str:
    """`1 file`, `12,345 files`, `2 directories`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word[:-1]}ies" if word.endswith("y") else f"{count:,} {word}s"
