"""PDF: its last object must not lie behind the last mark of an end."""

from __future__ import annotations

import re

from dropcap.content.finding import UNDECIDED, WHOLE, Finding, cut
from dropcap.content.reader import Reader

_OBJECT = re.compile(rb"[0-9]{1,10}[\x00\t\n\f\r ]+[0-9]{1,5}[\x00\t\n\f\r ]+\Z")
_START = re.compile(rb"startxref[\x00\t\n\f\r ]*[0-9]")
#: What a mark can be cut in two by, where chunks meet.
_OVERLAP = 64
#: Of a file so small some writers leave out the end mark.
_SMALL = 2048


def recognised(head: bytes) -> bool:
    """`%PDF-` at the beginning, be it behind a mark of UTF-8, blanks or a printer's job header."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\t\n\f\r ")
    return head.startswith(b"%PDF-") or (head.startswith((b"\x1b%-12345X", b"@PJL")) and b"%PDF-" in head[:1024])


def examine(file: Reader) -> Finding:
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
