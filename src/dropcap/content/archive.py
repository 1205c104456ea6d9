"""ZIP and 7z, and what is built on ZIP: Office files, OpenDocument, EPUB, JAR."""

from __future__ import annotations

import struct
import zlib

from dropcap.content.finding import UNDECIDED, WHOLE, Finding, cut
from dropcap.content.reader import CHUNK, MIB, Reader

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
