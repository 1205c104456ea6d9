"""PNG and GIF."""

from __future__ import annotations

from dropcap.content.finding import UNDECIDED, WHOLE, Finding, cut
from dropcap.content.reader import Reader

PNG = b"\x89PNG\r\n\x1a\n"
GIF = (b"GIF87a", b"GIF89a")

_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def examine_png(file: Reader) -> Finding:
    """From chunk to chunk. A file that lacks nothing but its end chunk lost nothing."""
    at, image = len(PNG), False
    while at < file.size:
        head = file.at(at, 8)
        if not head.strip(b"\0") and file.only_nuls(at):
            return cut("the PNG ends in the middle: the rest is empty")
        kind = head[4:]
        if kind == b"IEND"[: len(kind)] and (kind == b"IEND" or image):
            return WHOLE
        if len(head) < 8:
            return UNDECIDED if image else cut("the PNG ends before its image")
        if not _LETTERS.issuperset(kind):
            return UNDECIDED
        at += 12 + int.from_bytes(head[:4], "big")
        if at > file.size:
            return cut("the PNG ends in the middle")
        image = image or kind == b"IDAT"
    return WHOLE if image else UNDECIDED


def examine_gif(file: Reader) -> Finding:
    """From block to block."""
    data = file.at(0, file.size)
    if len(data) < 13:
        return cut("the GIF ends within its header")
    at, image = 13 + _palette(data[10]), False
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            return WHOLE
        if kind == 0x21:
            at += 2
        elif kind == 0x2C:
            if at + 10 > len(data):
                return cut("the GIF ends in the middle")
            at += 11 + _palette(data[at + 9])
            image = True
        elif kind == 0:  # some leave NULs between blocks and behind the last one
            at += 1
            continue
        else:
            return UNDECIDED
        looks = 0
        while at < len(data) and data[at]:
            at += 1 + data[at]
            looks += 1
            if looks % 4096 == 0:
                file.check()
        at += 1
        file.check()
    # One byte further is a lost end of a block, which is all that may be missing.
    return cut("the GIF ends in the middle") if at > len(data) + 1 else WHOLE if image else UNDECIDED


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
