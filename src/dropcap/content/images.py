"""PNG, GIF, JPEG and TIFF: does the image come to its end?"""

from __future__ import annotations

import io
import random
import struct

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
#: Numbers that are looked at in one go: whoever waits meanwhile waits for no more than these.
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
