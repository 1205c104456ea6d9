"""Images (PNG, GIF, JPEG, TIFF, DICOM), signals (EDF, BDF), sound (WAV) and films (MP4, HEIC): does each come to its end?"""

from __future__ import annotations

import io
import random
import struct
import zlib

from dropcap.content.reader import CHUNK, MIB, UNDECIDED, WHOLE, Finding, Reader, cut

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


JPEG = b"\xff\xd8\xff"

_END = b"\xff\xd9"
_TAIL = 64 * 1024
_SCAN = 0xDA
#: Markers without a length.
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
#: More than this cannot be decoded in the time and memory that there are. Of a progressive one each pass counts.
_PIXELS, _PROGRESSIVE, _PASSES = 60_000_000, 20_000_000, 150_000_000
_EMPTY_RUN = 512


def examine_jpeg(file: Reader) -> Finding:
    """Thumbnails with end marks of their own lie in the segments before the image, so those are walked through."""
    scan = _first_scan(file)
    if isinstance(scan, Finding):
        return scan
    # In the image FF is always followed by something else, so that an end mark behind its start is one.
    start = max(scan, file.size - _TAIL)
    if _END in file.at(start, file.size - start) or file.find(_END, scan) >= 0:
        return WHOLE
    return _decoded(file, scan)


def _first_scan(file: Reader) -> int | Finding:
    at = 2
    while True:
        head = file.at(at, 4)
        if len(head) < 4:
            return UNDECIDED
        if head[0] != 0xFF:  # junk between segments, over which decoders step
            found = file.at(at, CHUNK).find(b"\xff")
            if found < 0:
                return UNDECIDED
            at += found
        elif head[1] == 0xFF:
            at += 1
        elif head[1] == 0 or head[1] in _ALONE:
            at += 2
        elif head[1] == 0xD9:
            return WHOLE  # tables alone, without an image
        else:
            at += 2 + int.from_bytes(head[2:4], "big")
            if at > file.size:
                return cut("the JPEG ends before its image")
            if head[1] == _SCAN:
                return at


def _decoded(file: Reader, scan: int) -> Finding:
    """Some programs and cameras write no end mark. If noise put behind the image changes it, it was not at its end."""
    data = file.at(0, file.size)
    body = data.rstrip(b"\0")
    if len(data) - len(body) < _EMPTY_RUN:
        body = data
    if len(body) <= scan:
        return cut("the JPEG ends in the middle: the rest is empty")
    noise = random.Random(0).randbytes(2048).replace(b"\xff", b"\xfe")
    plain = _picture(file, body + _END, scan)
    with_noise = _picture(file, body + noise + _END, scan)
    if plain is None or with_noise is None:
        return UNDECIDED
    return cut("the JPEG ends in the middle") if plain != with_noise else UNDECIDED


class _Counted(io.BytesIO):
    """Bytes that ask for the time whenever more of them are wanted."""

    def __init__(self, data: bytes, file: Reader) -> None:
        super().__init__(data)
        self._file = file

    def read(self, size: int | None = -1, /) -> bytes:
        self._file.check()
        return super().read(size)


def _picture(file: Reader, data: bytes, scan: int) -> bytes | None:
    """The image as decoders put up with it, small where that is quicker; None if it cannot be told."""
    try:
        from PIL import Image, ImageFile
    except ImportError:
        return None
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    Image.MAX_IMAGE_PIXELS = None  # its size is looked at here
    with Image.open(_Counted(data, file), formats=("JPEG",)) as image:
        width, height = image.size
        progressive = bool(image.info.get("progressive"))
        passes = data.count(b"\xff\xda", scan) + 1
        if width * height > (_PROGRESSIVE if progressive else _PIXELS) or width * height * passes > _PASSES:
            return None
        if not progressive:
            image.draft(image.mode, (max(1, width // 8), max(1, height // 8)))
        return image.tobytes()


HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_STRIPS, _TILES = 273, 324
#: Types of numbers and their codes.
_WIDTHS = {3: "H", 4: "I", 16: "Q"}
_DIRECTORIES = 2000
#: Numbers that are looked at in one go: others wait for no more than these.
_TOGETHER = 65536


def examine_tiff(file: Reader) -> Finding:
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


_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split(),
)
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_ENDS, _SEQUENCE_ENDS = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_PIXEL_DATA = frozenset(((0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010)))
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
            if tag in _PIXEL_DATA:
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
        if 64 * MIB < length < _UNDEFINED and (group, number) not in _PIXEL_DATA:
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


EDF = b"0       "
BDF = b"\xffBIOSEMI"
WAVE = (b"RIFF", b"RIFX", b"RF64")

#: What MP4 and its kin begin with.
BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof"))

#: A count that the writer means to fill in when it knows it, or cannot.
_PLACEHOLDER = 0x7FFF0000
#: Sizes that are a little too large are told by some programs.
_SLACK = 128


def is_edf(head: bytes) -> bool:
    """Whether the sizes in the header fit each other, too."""
    if not head.startswith((EDF, BDF)) or len(head) < 256:
        return False
    signals = _number(head[252:256])
    return signals is not None and signals >= 0 and _number(head[184:192]) == 256 * (signals + 1)


def _number(text: bytes) -> int | None:
    try:
        return int(text.decode("ascii"))
    except ValueError:
        return None


def examine_edf(file: Reader) -> Finding:
    """The header says how many records there are; one that is still being recorded says -1."""
    head = file.at(0, 256)
    signals, records = _number(head[252:256]), _number(head[236:244])
    if signals is None or records is None or records < 0 or signals > 4096:
        return UNDECIDED
    width = 3 if head.startswith(BDF) else 2
    header = file.at(256, 256 * signals)
    if len(header) < 256 * signals:
        return cut("the recording ends within its header")
    lengths = [_number(header[216 * signals + 8 * one :][:8]) for one in range(signals)]
    if any(length is None or length < 0 for length in lengths):
        return UNDECIDED
    sizes = [width * (length or 0) for length in lengths]
    if file.size < 256 * (signals + 1) + records * sum(sizes):
        return cut("the recording is shorter than its header says")
    labels = [header[16 * one : 16 * one + 16].strip() for one in range(signals)]
    kind = b"BDF Annotations" if width == 3 else b"EDF Annotations"
    if head[192:195] in (b"EDF", b"BDF") and kind in labels and records:
        first = labels.index(kind)
        at = 256 * (signals + 1) + (records - 1) * sum(sizes) + sum(sizes[:first])
        stamp = file.at(at, min(sizes[first], MIB))
        if stamp and not stamp.strip(b"\0"):  # every record begins with its time
            return cut("the recording ends in the middle: the rest is empty")
    return WHOLE


def examine_wave(file: Reader) -> Finding:
    """To its sound, whose size may be none that the writer knew."""
    head = file.at(0, 12)
    if head[8:12] != b"WAVE":
        return UNDECIDED
    order = "big" if head.startswith(b"RIFX") else "little"
    at = 12
    while at < file.size:
        chunk = file.at(at, 8)
        if len(chunk) < 8:
            return UNDECIDED
        kind, size = chunk[:4], int.from_bytes(chunk[4:], "big" if order == "big" else "little")
        at += 8
        if kind == b"data":
            past = at + size - file.size
            told = 0 < size < _PLACEHOLDER
            return cut("the sound is shorter than its header says") if told and past > _SLACK else WHOLE
        if not chunk.strip(b"\0") and file.only_nuls(at):
            return cut("the sound is missing: the rest is empty")
        if not kind.isascii() or not kind.decode("ascii").isprintable():
            return UNDECIDED
        if at + size > file.size:
            return cut("the sound ends within its header")
        at += size + size % 2
    return UNDECIDED


_MUST_FIT = {b"mdat": "its pictures do", b"moov": "its index does", b"moof": "its index does", b"meta": "its index does"}
_INDEXES = frozenset((b"moov", b"moof", b"meta", b"sidx"))


def examine_boxes(file: Reader) -> Finding:
    """From box to box; what lies behind the last one need not be one."""
    at, kinds = 0, set[bytes]()
    while at < file.size:
        head = file.at(at, 16)
        if not head.strip(b"\0") and file.only_nuls(at):
            break
        if len(head) < 8:
            return UNDECIDED
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            if len(head) < 16:
                return UNDECIDED
            size = int.from_bytes(head[8:], "big")
        elif size == 0:
            size = file.size - at
        if size < 8 or not kind.isascii() or not kind.decode("ascii").isprintable():
            return UNDECIDED
        if at + size > file.size:
            return cut(f"the file ends before {_MUST_FIT[kind]}") if kind in _MUST_FIT else UNDECIDED
        kinds.add(kind)
        at += size
    if b"mdat" in kinds and not kinds & _INDEXES:
        return cut("the index of its pictures is missing at the end")
    return cut("nothing but its header is there") if kinds == {b"ftyp"} else WHOLE
