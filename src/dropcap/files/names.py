"""Names of files: relative paths, free names, temporary names. Pure, but for the random part of a temporary name."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from itertools import count

#: The longest name that Linux file systems take, in bytes.
LONGEST = 255

#: Tells the temporary names of this process from those that an earlier one left behind.
_RUN = secrets.token_hex(4)
_TEMPORARY = re.compile(r"\.dropcap-[0-9a-f]{16}")
_ASIDE = re.compile(r"\.dropcap-([0-9a-f]{8})-(.+)", re.DOTALL)
_NUMBERED = re.compile(r" \(([1-9][0-9]*)\)(?:\.[^.]*)?$")


def parts(relative: str) -> list[str]:
    """The parts of a relative name; an empty name has none.

    Raises OSError (EINVAL) for what could lead out of a folder: an absolute name, `.`, `..`, an empty part or a NUL.
    """
    if not relative:
        return []
    framed = f"/{relative}/"
    if "\0" in relative or "//" in framed or "/./" in framed or "/../" in framed:
        raise OSError(errno.EINVAL, "Not a name beneath a folder; give a relative name without . and ..", relative)
    return relative.split("/")


def split(relative: str) -> tuple[str, str]:
    """The directory (empty for the root) and the last part of a relative name. Raises OSError as `parts` does."""
    if not parts(relative):
        raise OSError(errno.EINVAL, "A file's name is empty; name a file", relative)
    directory, _, leaf = relative.rpartition("/")
    return directory, leaf


def join(directory: str, leaf: str) -> str:
    """The relative name of `leaf` in `directory`, which is empty for the root."""
    return f"{directory}/{leaf}" if directory else leaf


def temporary() -> str:
    """A new name for a file that is being written."""
    return f".dropcap-{_RUN}{secrets.token_hex(4)}"


def is_temporary(leaf: str) -> bool:
    """Whether `leaf` is such a name as `temporary` makes."""
    return _TEMPORARY.fullmatch(leaf) is not None


def is_leftover(leaf: str) -> bool:
    """Whether `leaf` is a temporary name of another process: one that has ended, as two never work in one folder."""
    return is_temporary(leaf) and not leaf.startswith(f".dropcap-{_RUN}")


def aside(leaf: str) -> str:
    """The name of a file called `leaf` while it is being removed. It tells `leaf`, as far as there is room for it."""
    stem, extension = os.path.splitext(leaf)
    prefix = f".dropcap-{_RUN}-"
    return fitted(prefix + stem, extension) if len(os.fsencode(extension)) < LONGEST // 2 else fitted(prefix + leaf, "")


def set_aside(leaf: str) -> str | None:
    """What a file was called that has such a name as `aside` makes; None for any other name."""
    match = _ASIDE.fullmatch(leaf)
    return match[2] if match else None


def is_left_aside(leaf: str) -> bool:
    """Whether a process that has ended was removing the file `leaf`."""
    match = _ASIDE.fullmatch(leaf)
    return match is not None and match[1] != _RUN


def fitted(stem: str, ending: str, limit: int = LONGEST) -> str:
    """`stem` + `ending`, at most `limit` bytes long: the stem is cut between two characters, the ending never."""
    room = limit - len(os.fsencode(ending))
    raw = os.fsencode(stem)
    if len(raw) <= room:
        return stem + ending
    cut = raw[: max(room, 0)]
    # Step back over the rest of a character that was cut through; bytes that are not UTF-8 anyway may fall anywhere.
    for back in range(min(4, len(cut) + 1)):
        candidate = os.fsdecode(cut[: len(cut) - back])
        if stem.startswith(candidate):
            return candidate + ending
    return os.fsdecode(cut) + ending


def numbered(leaf: str, number: int) -> str:
    """`leaf` itself for number 1, else `NAME (number).ext`, at most 255 bytes long."""
    if number == 1:
        return leaf
    stem, extension = os.path.splitext(leaf)
    if len(os.fsencode(extension)) > LONGEST // 2:  # no extension that anybody would miss
        stem, extension = leaf, ""
    return fitted(stem, f" ({number}){extension}")


def candidates(leaf: str) -> Iterator[str]:
    """The names to try for `leaf`: itself, then `NAME (2).ext`, `NAME (3).ext` and so on, without end."""
    return (numbered(leaf, number) for number in count(1))


def is_candidate(found: str, leaf: str) -> bool:
    """Whether `found` is one of the names that `candidates(leaf)` gives."""
    if found == leaf:
        return True
    match = _NUMBERED.search(found)
    return match is not None and len(match[1]) < 10 and int(match[1]) > 1 and numbered(leaf, int(match[1])) == found
