"""Which names are no dropped files: what editors, browsers and file servers leave behind."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from fnmatch import fnmatchcase

_PREFIXES = (".", "~$")
_SUFFIXES = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".swp", ".lock", "~")
_NAMES = frozenset(
    name.casefold()
    for name in (
        "Thumbs.db",
        "desktop.ini",
        "_STATUS.html",
        "_STATUS (dropcap).html",
        "System Volume Information",
        "$RECYCLE.BIN",
        "lost+found",
        "@eaDir",
    )
)


def ignored(relative_name: str, extra_globs: Sequence[str] = ()) -> str | None:
    """Why the file or folder `relative_name` (`/` between folders) is left alone, in words; None if it is a dropped file.

    What lies in an ignored folder is ignored as well. `extra_globs` (the folder's `ignore`) are compared whatever their
    case: with the last part of the name, or with the whole of it if the glob has a `/`.
    """
    parts = relative_name.split("/")
    for part in parts:
        folded = part.casefold()
        if folded in _NAMES:
            return f"`{part}` belongs to the system, not to the files"
        if part.startswith(_PREFIXES):
            prefix = next(prefix for prefix in _PREFIXES if part.startswith(prefix))
            return f"names that begin with `{prefix}` are hidden or temporary"
        if folded.endswith(_SUFFIXES):
            suffix = next(suffix for suffix in _SUFFIXES if folded.endswith(suffix))
            return f"names that end in `{suffix}` are temporary or still being written"
    if not extra_globs:
        return None
    whole, last = _comparable(relative_name), _comparable(parts[-1])
    for glob in extra_globs:
        if fnmatchcase(whole if "/" in glob else last, _comparable(glob)):
            return f"the folder ignores `{glob}`"
    return None


def _comparable(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
