"""A file name that PHP's multipart parser and REDCap take as it is."""

from __future__ import annotations

import unicodedata

#: REDCap keeps the name in a short column; longer names come back cut, and lose their extension.
MAX_CHARACTERS = 100
MAX_BYTES = 255

# A quote or a backslash ends or changes the name in PHP's parser; "/" and ":" are taken for folders and drives.
_STRUCTURAL = set("\"'\\/:")
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def safe_name(name: str) -> str:
    """The last part of `name`, NFC, with all that could mislead a parser or a reader as `_`.

    At most 100 characters and 255 bytes of UTF-8 with the extension kept, never empty, never beginning with a dot.
    """
    last = unicodedata.normalize("NFC", name.rsplit("/", 1)[-1])
    cleaned = "".join("_" if c in _STRUCTURAL or unicodedata.category(c) in _HIDDEN else c for c in last).strip()
    if cleaned.startswith("."):
        cleaned = "_" + cleaned[1:]
    return _shortened(cleaned) or "_"


def _shortened(name: str) -> str:
    if len(name) <= MAX_CHARACTERS and len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or len(extension) > 20 or len(extension.encode()) > 40:
        stem, extension = name, ""
    tail = dot + extension if extension else ""
    stem = stem[: MAX_CHARACTERS - len(tail)]
    room = MAX_BYTES - len(tail.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip() + tail
