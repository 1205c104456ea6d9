"""PDF, OLE2 (older Office files and instruments) and RTF."""

from __future__ import annotations

import re
import struct
import sys
from array import array

from dropcap.content.reader import UNDECIDED, WHOLE, Finding, Reader, cut

_OBJECT = re.compile(rb"[0-9]{1,10}[\x00\t\n\f\r ]+[0-9]{1,5}[\x00\t\n\f\r ]+\Z")
_START = re.compile(rb"startxref[\x00\t\n\f\r ]*[0-9]")
#: What a mark can be cut in two by, where chunks meet.
_OVERLAP = 64
#: Of a file so small some writers leave out the end mark.
_SMALL = 2048


def is_pdf(head: bytes) -> bool:
    """`%PDF-` at the beginning, be it behind a mark of UTF-8, blanks or a printer's job header."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\t\n\f\r ")
    return head.startswith(b"%PDF-") or (head.startswith((b"\x1b%-12345X", b"@PJL")) and b"%PDF-" in head[:1024])


def examine_pdf(file: Reader) -> Finding:
    """Backwards to the last mark. A linearized file has an early end mark, one that was saved again has several."""
    end, length = file.size, 64 * 1024
    while end > 0:
        start = max(0, end - length)
        part = file.at(start, end - start)
        ended = max(part.rfind(b"%%EOF"), _last_start(part))
        begun = _last_object(file, part, ended)
        if begun > ended:
            complete = file.size < _SMALL and ended < 0 and (b"trailer" in part or part.rstrip().endswith(b"endobj"))
            return UNDECIDED if complete else cut("the PDF ends in the middle")
        if ended >= 0:
            return WHOLE
        end = start + _OVERLAP if start else 0
        length = min(2 * length, 4 * 1024**2)
    return UNDECIDED


def _last_start(part: bytes) -> int:
    at = part.rfind(b"startxref")
    while at >= 0:
        if _START.match(part, at):
            return at
        at = part.rfind(b"startxref", 0, at)
    return -1


def _last_object(file: Reader, part: bytes, after: int) -> int:
    """Where the last `1 0 obj` is, if it lies behind `after`."""
    at, looks = part.rfind(b"obj", after + 1), 0
    while at >= 0:
        if _OBJECT.search(part[max(0, at - 40) : at]):
            return at
        looks += 1
        if looks % 256 == 0:
            file.check()
        at = part.rfind(b"obj", after + 1, at)
    return -1


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
RTF = b"{\\rtf"

#: Sector numbers from here on are marks.
_MARKS = 0xFFFFFFFA
_MIDDLE = "the file ends in the middle"
_EMPTY = "the file ends in the middle: the rest is empty"


def examine_ole(file: Reader) -> Finding:
    """Every sector that its table points to must at least begin."""
    head = file.at(0, 512)
    if len(head) < 512:
        return cut("the file ends within its header")
    shift = struct.unpack_from("<H", head, 30)[0]
    tables, directory = struct.unpack_from("<II", head, 44)
    if shift not in (9, 12) or head[28:30] != b"\xfe\xff":
        return UNDECIDED
    if directory < _MARKS:
        first = file.at((directory + 1) << shift, 128)
        if not first:
            return cut(_MIDDLE)
        if not first.strip(b"\0"):
            return cut(_EMPTY)
    table = array("I")
    for sector in _table_sectors(file, head, shift, tables):
        part = file.at((sector + 1) << shift, 1 << shift)
        if not part:
            return cut(_MIDDLE)
        if not part.strip(b"\0"):
            return cut(_EMPTY)
        table.frombytes(part[: len(part) // 4 * 4])
    if sys.byteorder == "big":
        table.byteswap()
    file.check()
    there = len(table)
    highest = max((entry for entry in table if entry < there), default=0)
    file.check()
    return cut(_MIDDLE) if (highest + 1) << shift >= file.size else WHOLE


def _table_sectors(file: Reader, head: bytes, shift: int, tables: int) -> list[int]:
    """Where the table lies: the first places are told in the header, others in sectors of their own, chained."""
    found = [sector for sector in struct.unpack_from("<109I", head, 76) if sector < _MARKS]
    following, chained = struct.unpack_from("<II", head, 68)
    each = (1 << shift) // 4 - 1
    seen: set[int] = set()
    while following < _MARKS and following not in seen and len(seen) < chained:
        seen.add(following)
        part = file.at((following + 1) << shift, 1 << shift)
        if len(part) < 1 << shift:
            break
        *sectors, following = struct.unpack(f"<{each + 1}I", part)
        found += [sector for sector in sectors if sector < _MARKS]
    return found[:tables]


#: One that is escaped is none; nor is one behind an escaped backslash escaped.
_BRACES = re.compile(rb"\\[\\{}]|\{|\}")


def examine_rtf(file: Reader) -> Finding:
    """Its braces must close, or it must at least end with one."""
    data = file.at(0, file.size)
    if b"\\bin" in data:
        return UNDECIDED
    if data.rstrip(b"\0\t\r\n ").endswith(b"}") and len(data) - len(data.rstrip(b"\0")) < 2:
        return WHOLE
    depth = 0
    for number, found in enumerate(_BRACES.finditer(data)):
        if number % 1024 == 0:
            file.check()
        brace = found.group()
        if len(brace) == 1:
            depth += 1 if brace == b"{" else -1
            if depth <= 0:
                return WHOLE
    return cut("the text ends in the middle")
