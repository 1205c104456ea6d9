"""Which format is it, and is it all there?"""

from __future__ import annotations

import re
from collections.abc import Callable

from dropcap.content import archive, compressed, dicom, image, jpeg, office, pdf, recording, tiff
from dropcap.content.finding import UNDECIDED, Finding
from dropcap.content.reader import FULL, BeyondBoundsError, Bounds, Reader

Probe = Callable[[Reader], Finding]

#: As much of the beginning as tells the format.
_HEAD = 1024
#: Parts of what is too large for one file: each is whole, and none of them looks so.
_VOLUME = re.compile(r"\.(?:[0-9]{3}|z[0-9]{2}|r[0-9]{2}|part[0-9]+(?:\.[a-z0-9]{1,4})?)\Z", re.IGNORECASE)

_BEGINNINGS: tuple[tuple[bytes | tuple[bytes, ...], Probe], ...] = (
    (archive.ZIP, archive.probe_zip),
    (image.PNG, image.probe_png),
    (jpeg.JPEG, jpeg.probe),
    (image.GIF, image.probe_gif),
    (tiff.HEADS, tiff.probe),
    (compressed.XZ, compressed.probe_xz),
    (archive.SEVEN, archive.probe_7z),
    (office.OLE, office.probe_ole),
    (office.RTF, office.probe_rtf),
    (recording.WAVE, recording.probe_wave),
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
        probe = _probe_for(file.at(0, _HEAD))
        return probe(file) if probe is not None else UNDECIDED
    except BeyondBoundsError:
        raise
    except Exception:
        return UNDECIDED  # what a probe does not expect proves nothing


def judged(fd: int, bounds: Bounds = FULL) -> Finding:
    """As `examine`; what is beyond the bounds is undecided."""
    try:
        return examine(fd, bounds)
    except BeyondBoundsError:
        return UNDECIDED


def _probe_for(head: bytes) -> Probe | None:
    if dicom.recognised(head):  # first: many begin like a TIFF
        return dicom.probe
    for beginning, probe in _BEGINNINGS:
        if head.startswith(beginning):
            return probe
    if head.startswith(compressed.GZIP) and len(head) > 3 and not head[3] & 0xE0:
        return compressed.probe_gzip
    if head.startswith(compressed.BZIP2) and head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return compressed.probe_bzip2
    if recording.is_edf(head):
        return recording.probe_edf
    if head[4:8] in recording.BOXES:
        return recording.probe_boxes
    return pdf.probe if pdf.recognised(head) else None
