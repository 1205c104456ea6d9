"""ZIP and what is built on it, 7z, gzip, bzip2 and xz."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib

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
_EMPTY = 512
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
    start = max(0, min(at, file.size - _EMPTY))
    if file.size > _EMPTY and file.only_nuls(start):
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
                return _empty_end(file, file.size - _EMPTY, kind)
            file.check()
            if unpacking.eof:
                return WHOLE
            data = b""
    return cut(f"the {kind} file ends in the middle")
