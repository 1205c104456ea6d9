"""JPEG: its image must come to an end, for which the decoder is asked if no end mark is there."""

from __future__ import annotations

import io
import random

from dropcap.content.finding import UNDECIDED, WHOLE, Finding, cut
from dropcap.content.reader import CHUNK, Reader

JPEG = b"\xff\xd8\xff"

_END = b"\xff\xd9"
_TAIL = 64 * 1024
_SCAN = 0xDA
#: Markers without a length.
_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))
#: More than this cannot be decoded in the time and memory that there are. Of a progressive one each pass counts.
_PIXELS, _PROGRESSIVE, _PASSES = 60_000_000, 20_000_000, 150_000_000
_EMPTY_RUN = 512


def examine(file: Reader) -> Finding:
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
