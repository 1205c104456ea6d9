"""Documents (PDF, RTF, OLE2: older Office files, instruments) and archives (ZIP and what is built on it, 7z, gzip, bzip2, xz)."""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import sys
import zlib
from array import array

from dropcap.content.reader import CHUNK, MIB, UNDECIDED, WHOLE, Finding, Reader, cut

ZIP = b"PK\3\4"  # PK\7\8 and PK00 begin a part of several
SEVEN = b"7z\xbc\xaf\x27\x1c"

_END = b"PK\5\6"
_END_SIZE = 22
#: The longest comment, and then some.
_TAIL = 70 * 1024


def examine_zip(file: Reader) -> Finding:
    """The end record must be there. Where its offsets lead proves nothing: whole archives with wrong ones exist."""
    start = max(0, file.size - _TAIL)
    tail = file.at(start, file.size - start)
    last = tail.rfind(_END)
    if last >= 0:
        first = tail.find(_END)
        return WHOLE if len(tail) - first >= _END_SIZE else cut("the archive ends within its list of contents")
    while start > 0:  # behind it there may be NULs by the hundred kilobytes
        end, start = start + len(_END), max(0, start - CHUNK)
        if _END in file.at(start, end - start):
            return WHOLE
    return cut("the list of contents is missing at the end of the archive")


def examine_7z(file: Reader) -> Finding:
    """The header at the start tells where the one at the end lies, and the sum of each."""
    head = file.at(0, 32)
    if len(head) < 32:
        return cut("the 7z archive ends within its header")
    crc, offset, size, end_crc = struct.unpack_from("<IQQI", head, 8)
    if zlib.crc32(head[12:32]) != crc:
        return cut("the 7z archive was never finished")
    if size == 0:
        return WHOLE
    if 32 + offset + size > file.size:
        return cut("the list of contents is missing at the end of the 7z archive")
    if size > 32 * MIB:
        return UNDECIDED
    if zlib.crc32(file.at(32 + offset, size)) != end_crc:
        return cut("the list of contents at the end of the 7z archive is damaged")
    return WHOLE


GZIP = b"\x1f\x8b\x08"
BZIP2 = b"BZh"
XZ = b"\xfd7zXZ\0"

_PART = 64 * 1024
_OUT = MIB
#: Nothing that is compressed has so many NULs in a row at its end; a copy that broke off can have.
_EMPTY_END = 512
_BZIP2_ENDS = 0x177245385090
_XZ_MEMORY = 160 * MIB


def examine_gzip(file: Reader) -> Finding:
    """The end of the file lies within a member. What lies behind a whole one is none of our business."""
    unpacking, at = zlib.decompressobj(31), 0
    while at < file.size:
        data = file.at(at, _PART)
        at += len(data)
        try:
            while data:
                unpacking.decompress(data, _OUT)
                file.check()
                if unpacking.eof:
                    return _behind(file, at - len(unpacking.unused_data))
                data = unpacking.unconsumed_tail
        except zlib.error:
            return _empty_end(file, at, "gzip")
    return cut("the gzip file ends in the middle")


def _behind(file: Reader, at: int) -> Finding:
    """Behind the first member: another one, or anything else, which readers ignore."""
    while True:
        head = file.at(at, 10)
        if not head.startswith(GZIP) or len(head) < 4 or head[3] & 0xE0:
            return WHOLE
        unpacking = zlib.decompressobj(31)
        while not unpacking.eof:
            data = file.at(at, _PART)
            if not data:
                return cut("the gzip file ends in the middle")
            at += len(data)
            while data and not unpacking.eof:
                unpacking.decompress(data, _OUT)
                file.check()
                data = unpacking.unconsumed_tail
        at -= len(unpacking.unused_data)


def _empty_end(file: Reader, at: int, kind: str) -> Finding:
    """It cannot be unpacked. Of a copy that broke off the rest may be NULs: were it damaged otherwise, that is not for us."""
    start = max(0, min(at, file.size - _EMPTY_END))
    if file.size > _EMPTY_END and file.only_nuls(start):
        return cut(f"the {kind} file ends in the middle: the rest is empty")
    return UNDECIDED


def examine_bzip2(file: Reader) -> Finding:
    """Its end mark stands at any bit."""
    tail = int.from_bytes(file.at(max(0, file.size - 64), 64), "big")
    mask = (1 << 48) - 1
    if any(tail >> shift & mask == _BZIP2_ENDS for shift in range(64 * 8 - 48)):
        return WHOLE
    return _unpacked(file, bz2.BZ2Decompressor(), "bzip2")


def examine_xz(file: Reader) -> Finding:
    """Its footer ends in YZ, and readers put up with NULs behind it."""
    if file.at(file.size - 2, 2) == b"YZ" and file.size >= 32:
        return WHOLE
    return _unpacked(file, lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY), "xz")


def _unpacked(file: Reader, unpacking: bz2.BZ2Decompressor | lzma.LZMADecompressor, kind: str) -> Finding:
    """The end of the file lies within the first stream."""
    at = 0
    while at < file.size:
        data = file.at(at, _PART)
        at += len(data)
        while data or not unpacking.needs_input:
            try:
                unpacking.decompress(data, _OUT)
            except (OSError, lzma.LZMAError):
                return _empty_end(file, file.size - _EMPTY_END, kind)
            file.check()
            if unpacking.eof:
                return WHOLE
            data = b""
    return cut(f"the {kind} file ends in the middle")


_OBJECT = re.compile(rb"[0-9]{1,10}[\x00\t\n\f\r ]+[0-9]{1,5}[\x00\t\n\f\r ]+\Z")
_START = re.compile(rb"startxref[\x00\t\n\f\r ]*[0-9]")
#: What a mark can be cut in two by, where chunks meet.
_OVERLAP = 64
#: Of a file so small some writers leave out the end mark.
_SMALL = 2048


def is_pdf(head: bytes) -> bool:
    """`%PDF-` at the beginning, perhaps behind a mark of UTF-8, blanks or a printer's job header."""
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
