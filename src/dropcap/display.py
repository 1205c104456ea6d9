"""Names as they can be shown: in a log, on a terminal, in a text for people."""

from __future__ import annotations

import unicodedata

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
