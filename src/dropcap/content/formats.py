"""Which format is it, and is it all there?"""

from __future__ import annotations

import re
from collections.abc import Callable

from dropcap.content import archive, compressed, dicom, image, jpeg, office, pdf, recording, tiff
from dropcap.content.finding import UNDECIDED, Finding
from dropcap.content.reader import FULL, BeyondBoundsError, Bounds, Reader

Examination = Callable[[Reader], Finding]

#: As much of the beginning as tells the format.
_HEAD = 1024
#: Parts of what is too large for one file: each is whole, and none of them looks so.
_VOLUME = re.compile(r"\.(?:[0-9]{3}|z[0-9]{2}|r[0-9]{2}|part[0-9]+(?:\.[a-z0-9]{1,4})?)\Z", re.IGNORECASE)

_BEGINNINGS: tuple[tuple[bytes | tuple[bytes, ...], Examination], ...] = (
    (archive.ZIP, archive.examine_zip),
    (image.PNG, image.examine_png),
    (jpeg.JPEG, jpeg.examine),
    (image.GIF, image.examine_gif),
    (tiff.HEADS, tiff.examine),
    (compressed.XZ, compressed.examine_xz),
    (archive.SEVEN, archive.examine_7z),
    (office.OLE, office.examine_ole),
    (office.RTF, office.examine_rtf),
    (recording.WAVE, recording.examine_wave),
)


def is_volume(name: str) -> bool:
    """Whether a file of this name is a part of several, of which nothing can be told."""
    return _VOLUME.search(name) is not None


def examine(fd: int, bounds: Bounds = FULL) -> Finding:
    """Whether the regular file open as `fd` looks cut off.

    Raises:
        BeyondBoundsError: it cannot be told within these bounds.
    """
    try:
        file = Reader(fd, bounds)
        look = _examination_for(file.at(0, _HEAD))
        return look(file) if look is not None else UNDECIDED
    except BeyondBoundsError:
        raise
    except Exception:
        return UNDECIDED  # what an examination does not expect proves nothing


def judged(fd: int, bounds: Bounds = FULL) -> Finding:
    """As `examine`; what is beyond the bounds is undecided."""
    try:
        return examine(fd, bounds)
    except BeyondBoundsError:
        return UNDECIDED


def _examination_for(head: bytes) -> Examination | None:
    if dicom.recognised(head):  # first: many begin like a TIFF
        return dicom.examine
    for beginning, look in _BEGINNINGS:
        if head.startswith(beginning):
            return look
    if head.startswith(compressed.GZIP) and len(head) > 3 and not head[3] & 0xE0:
        return compressed.examine_gzip
    if head.startswith(compressed.BZIP2) and head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return compressed.examine_bzip2
    if recording.is_edf(head):
        return recording.examine_edf
    if head[4:8] in recording.BOXES:
        return recording.examine_boxes
    return pdf.examine if pdf.recognised(head) else None
