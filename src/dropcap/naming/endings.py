"""Endings of names, and which of them tell of the same kind of file: another ending makes no other file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dropcap.routing.syntax import Element, Literal

_SAME = ("jpg jpeg jpe", "tif tiff", "htm html", "dcm dicom", "mpg mpeg", "yml yaml")
_SAME_AS = {ending: words.split()[0] for words in _SAME for ending in words.split()}
#: What programs call these; other endings are unknown, or slips of the keys.
KINDS = {
    "pdf": "PDF",
    **dict.fromkeys(("doc", "docx", "docm", "odt", "rtf", "pages", "dotx"), "Word"),
    **dict.fromkeys(("xls", "xlsx", "xlsm", "ods", "numbers"), "Excel"),
    **dict.fromkeys(("ppt", "pptx", "odp"), "PowerPoint"),
    **dict.fromkeys(("jpg", "png", "tif", "gif", "bmp", "heic", "heif", "webp"), "image"),
    **dict.fromkeys(("zip", "7z", "rar", "gz", "tar", "tgz"), "archive"),
    **dict.fromkeys(("csv", "txt", "tsv", "xml", "json", "htm", "yml"), "text"),
    **dict.fromkeys(("mp3", "wav", "m4a", "ogg", "flac", "wma"), "sound"),
    **dict.fromkeys(("mp4", "mov", "avi", "mkv", "mpg", "wmv"), "film"),
    **dict.fromkeys(("msg", "eml"), "mail"),
    **dict.fromkeys(("dcm", "edf", "nii", "exe", "lnk", "url"), "other"),
}
_ENDING = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,7}|7z)$")


def ending_of(leaf: str) -> str:
    """The ending of a name as it stands there, without its dot; empty if it has none. A number is none."""
    found = _ENDING.search(leaf)
    return found.group(1) if found is not None and found.start() else ""


def wanted_ending(elements: Sequence[Element]) -> str:
    """The ending that names of a pattern have, if it is always the same."""
    tail = ""
    for element in reversed(elements):
        if not isinstance(element, Literal):
            break
        tail = element.character + tail
        if element.character == ".":
            return tail[1:]
    return ""


def same_kind(one: str, other: str) -> bool:
    """Whether a file keeps its kind if the one ending is put in the place of the other."""
    first, second = one.casefold(), other.casefold()
    return first == second or _SAME_AS.get(first, first) == _SAME_AS.get(second, second)


def kind_of(ending: str) -> str:
    """What kind of file has it; empty if that is not known."""
    plain = ending.casefold()
    return KINDS.get(_SAME_AS.get(plain, plain), "")
