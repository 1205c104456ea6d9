"""TIFF and BigTIFF: directories anywhere in the file, which say where the image lies."""

from __future__ import annotations

import struct

from dropcap.content.finding import UNDECIDED, WHOLE, Finding, cut
from dropcap.content.reader import MIB, Reader

HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_STRIPS, _TILES = 273, 324
#: Types of numbers and their codes.
_WIDTHS = {3: "H", 4: "I", 16: "Q"}
_DIRECTORIES = 2000
#: Numbers that are looked at in one go: whoever waits meanwhile waits for no more than these.
_TOGETHER = 65536


def examine(file: Reader) -> Finding:
    """Sizes and private tags are often wrong in whole files; where a strip or tile begins is not."""
    head = file.at(0, 16)
    order = "<" if head[:2] == b"II" else ">"
    big = 43 in (head[2], head[3])
    if len(head) < (16 if big else 8):
        return cut("the TIFF ends within its header")
    if not big and file.size >= 2**32:
        return UNDECIDED  # its offsets may have wrapped
    if big and struct.unpack_from(order + "HH", head, 4) != (8, 0):
        return UNDECIDED
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)
    if at == 0:
        return cut("the TIFF was never finished")
    if at >= file.size:
        return cut("the TIFF ends before its directory")
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _DIRECTORIES:
        seen.add(at)
        found = _directory(file, at, order, big)
        if found is None:
            return UNDECIDED if len(seen) > 1 else cut("the TIFF ends within its directory")
        furthest, at = found
        if furthest >= file.size:
            return cut("the TIFF ends before its image does")
        if at >= file.size:
            break  # of a directory that is not the first one this proves nothing
    return WHOLE


def _directory(file: Reader, at: int, order: str, big: bool) -> tuple[int, int] | None:
    """Where the furthest of its strips and tiles begins, and where the next directory lies; None if the file ends within it."""
    entry, width = (20, 8) if big else (12, 4)
    number = "Q" if big else "I"
    head = file.at(at, 8 if big else 2)
    if len(head) < (8 if big else 2):
        return None
    (count,) = struct.unpack(order + ("Q" if big else "H"), head)
    table = file.at(at + len(head), min(count, MIB) * entry + width)
    if len(table) < count * entry:
        return None
    furthest = 0
    for place in range(0, count * entry, entry):
        tag, kind = struct.unpack_from(order + "HH", table, place)
        if tag not in (_STRIPS, _TILES) or kind not in _WIDTHS:
            continue
        (values,) = struct.unpack_from(order + number, table, place + 4)
        size = values * struct.calcsize("=" + _WIDTHS[kind])
        if size <= width:
            raw = table[place + entry - width : place + entry - width + size]
        else:
            (where,) = struct.unpack_from(order + number, table, place + entry - width)
            raw = file.at(where, size)
        if len(raw) == size:  # else a table out of place, which proves nothing
            furthest = max(furthest, _largest(file, raw, order + "{}" + _WIDTHS[kind]))
    following = table[count * entry :]
    return furthest, struct.unpack(order + number, following)[0] if len(following) == width else 0


def _largest(file: Reader, raw: bytes, form: str) -> int:
    """The largest of the numbers in `raw`, each as `form` says; there may be millions."""
    together = _TOGETHER * struct.calcsize(form.format(1))
    largest = 0
    for start in range(0, len(raw), together):
        file.check()
        part = raw[start : start + together]
        largest = max(largest, *struct.unpack(form.format(len(part) // struct.calcsize(form.format(1))), part))
    return largest
