"""DICOM: elements one behind the other, as far as the image."""

from __future__ import annotations

import struct
import zlib

from dropcap.content.reader import MIB, UNDECIDED, WHOLE, Finding, Reader, cut

_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(),
)
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_ENDS, _SEQUENCE_ENDS = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_PIXELS = frozenset(((0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010)))
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = b"1.2.840.10008.1.2.2"
_BUFFER = 4096
_MIDDLE = "the DICOM file ends in the middle"


def recognised(head: bytes) -> bool:
    """The mark behind 128 bytes, with the first group behind it: the mark alone may stand there by chance."""
    return head[128:132] == b"DICM" and head[132:134] == b"\2\0"


class _OddError(Exception):
    """It is not as it should be, so that nothing can be concluded."""


class _CutError(Exception):
    """It ends too early."""


def examine(file: Reader) -> Finding:
    """Whole at the end of the image, if there is one; some put anything behind it."""
    try:
        return _Walk(file).run()
    except _OddError:
        return UNDECIDED
    except _CutError:
        return cut(_MIDDLE)


class _Walk:
    def __init__(self, file: Reader) -> None:
        self._file = file
        self._order = "<"
        self._buffer = b""
        self._buffer_at = 0

    def run(self) -> Finding:
        at, syntax = self._meta()
        if syntax == _DEFLATED:
            return _deflated(self._file, at)
        self._order = ">" if syntax == _BIG_ENDIAN else "<"
        last = (0, 0)
        while at < self._file.size:
            tag, vr, length, at = self._element(at)
            if tag <= last:
                raise _OddError
            last = tag
            if tag in _PIXELS:
                self._image(at, length)
                return WHOLE
            at = self._behind(at, tag, vr, length)
        return UNDECIDED

    def _meta(self) -> tuple[int, bytes]:
        """Where the data begin, and the transfer syntax."""
        at, syntax = 132, b""
        while at < self._file.size and self._bytes(at, 2) == b"\2\0":
            tag, vr, length, at = self._element(at)
            if length == _UNDEFINED:
                raise _OddError
            if tag == (2, 0x10):
                syntax = self._bytes(at, min(length, 64)).rstrip(b"\0 ")
            at = self._behind(at, tag, vr, length)
        return at, syntax

    def _bytes(self, at: int, length: int) -> bytes:
        start = at - self._buffer_at
        if not 0 <= start <= len(self._buffer) - length:
            self._buffer, self._buffer_at, start = self._file.at(at, max(length, _BUFFER)), at, 0
        return self._buffer[start : start + length]

    def _element(self, at: int) -> tuple[tuple[int, int], bytes, int, int]:
        """An element's tag, VR (empty if it has none) and length, and where its value begins."""
        self._file.check()
        head = self._bytes(at, 12)
        if len(head) < 8:
            raise _OddError
        order = self._order
        group, number = struct.unpack_from(order + "HH", head)
        vr = head[4:6]
        if group == 0xFFFE:
            return (group, number), b"", struct.unpack_from(order + "I", head, 4)[0], at + 8
        if vr in _LONG:
            if len(head) < 12:
                raise _OddError
            return (group, number), vr, struct.unpack_from(order + "I", head, 8)[0], at + 12
        if vr in _SHORT:
            return (group, number), vr, struct.unpack_from(order + "H", head, 6)[0], at + 8
        if vr.isalpha() and vr.isupper() and head[6:8] == b"\0\0":
            raise _OddError  # a VR of a later day
        length = struct.unpack_from(order + "I", head, 4)[0]
        if 64 * MIB < length < _UNDEFINED and (group, number) not in _PIXELS:
            raise _OddError
        return (group, number), b"", length, at + 8

    def _behind(self, at: int, tag: tuple[int, int], vr: bytes, length: int) -> int:
        """Where the next element begins."""
        if length == _UNDEFINED:
            if vr not in (b"", b"SQ", b"UN"):
                raise _OddError
            return self._sequence(at)
        if at + length > self._file.size + 1:
            raise _CutError
        return at + length

    def _sequence(self, at: int) -> int:
        """Where a sequence of undefined length ends; those within it are entered as well."""
        within = [_SEQUENCE_ENDS]  # what each of those that are open ends with
        while within:
            if at >= self._file.size:
                raise _CutError
            tag, _, length, at = self._element(at)
            if tag == within[-1]:
                within.pop()
            elif within[-1] == _SEQUENCE_ENDS:
                if tag != _ITEM:
                    raise _OddError
                if length == _UNDEFINED:
                    within.append(_ITEM_ENDS)
                elif at + length > self._file.size + 1:
                    raise _CutError
                else:
                    at += length
            elif tag[0] == 0xFFFE:
                raise _OddError
            elif length == _UNDEFINED:
                within.append(_SEQUENCE_ENDS)
            elif at + length > self._file.size + 1:
                raise _CutError
            else:
                at += length
            if len(within) > 64:
                raise _OddError
        return at

    def _image(self, at: int, length: int) -> None:
        if length != _UNDEFINED:
            if at + length > self._file.size + 1:
                raise _CutError
            return
        while at < self._file.size:  # some leave the last delimiter out, or write anything in its place
            head = self._bytes(at, 8)
            if len(head) < 8 or struct.unpack_from(self._order + "HH", head) != _ITEM:
                return
            at += 8 + struct.unpack_from(self._order + "I", head, 4)[0]
            if at > self._file.size + 1:
                raise _CutError
            self._file.check()


def _deflated(file: Reader, at: int) -> Finding:
    unpacking = zlib.decompressobj(-15)
    while at < file.size:
        data = file.at(at, 64 * 1024)
        at += len(data)
        while data:
            unpacking.decompress(data, MIB)
            file.check()
            if unpacking.eof:
                return WHOLE
            data = unpacking.unconsumed_tail
    return cut(_MIDDLE)
