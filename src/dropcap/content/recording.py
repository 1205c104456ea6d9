"""EDF and BDF (signals), WAV (sound), MP4 and HEIC (moving and still pictures)."""

from __future__ import annotations

from dropcap.content.reader import MIB, UNDECIDED, WHOLE, Finding, Reader, cut

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
