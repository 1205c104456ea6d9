"""Whole files of every format that is looked into, made here."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import wave
import zipfile
import zlib

from PIL import Image

_RANDOM = random.Random(20261124)
NOISE = _RANDOM.randbytes(60_000)


def pdf(size: int = 40_000) -> bytes:
    """A page with an image, its table and end mark as a scanner writes them."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</XObject<</I 4 0 R>>>>>>",
        b"<</Type/XObject/Subtype/Image/Width 200/Height 200/Length %d>>stream\n" % size + (NOISE * 9)[:size] + b"\nendstream",
        b"<</Producer(a scanner)>>",
    ]
    out, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


def pdf_saved_twice() -> bytes:
    """With an end mark in the middle, as of a form that was filled in."""
    first = pdf()
    more = b"6 0 obj\n<</Length 30000>>stream\n" + NOISE[:30_000] + b"\nendstream\nendobj\n"
    return (
        first
        + more
        + b"xref\n6 1\n0000000000 00000 n \ntrailer\n<</Size 7/Prev 1>>\nstartxref\n%d\n%%%%EOF\n" % len(first + more)
    )


def docx() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<w:document>" + "text " * 3000 + "</w:document>")
        archive.writestr("word/media/image1.png", NOISE, zipfile.ZIP_STORED)
    return out.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (220, 160)) -> Image.Image:
    return Image.frombytes(mode, size, (NOISE * 4)[: size[0] * size[1] * len(mode.replace("P", "L"))])


def saved(kind: str, **settings: object) -> bytes:
    out = io.BytesIO()
    picture("P" if kind == "GIF" else "RGB").save(out, kind, **settings)
    return out.getvalue()


def tiff(strips: int = 20) -> bytes:
    """Its directory first and the strips behind it, as fax programs write it."""
    each = 2000
    entries = [(256, 4, 1, 160), (257, 4, 1, strips * 100), (273, 4, strips, 0), (278, 4, 1, 100), (279, 4, strips, 0)]
    tables = 8 + 2 + 12 * len(entries) + 4
    starts = [tables + 8 * strips + each * one for one in range(strips)]
    out = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(entries))
    for tag, kind, number, value in entries:
        where = {273: tables, 279: tables + 4 * strips}.get(tag, value)
        out += struct.pack("<HHII", tag, kind, number, where)
    out += struct.pack("<I", 0) + struct.pack(f"<{strips}I", *starts) + struct.pack(f"<{strips}I", *[each] * strips)
    return out + NOISE[: each * strips]


def seven() -> bytes:
    """As the format has it: header, packed data, list of contents (whose content is of no concern here)."""
    listing = b"\x01\x04\x06\x00" + NOISE[:200]
    start = struct.pack("<QQI", 30_000, len(listing), zlib.crc32(listing))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start)) + start + NOISE[:30_000] + listing


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return struct.pack("<HH2s", group, number, vr) + struct.pack("<2xI" if long else "<H", len(value)) + value


def dicom(syntax: bytes = b"1.2.840.10008.1.2.1", pixels: bytes | None = None) -> bytes:
    meta = _element(2, 0x10, b"UI", syntax)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + _element(8, 0x1150, b"UI", b"1.2.3")
    item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    sequence = struct.pack("<HH2s2xI", 8, 0x1140, b"SQ", 0xFFFFFFFF) + item + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = (
        _element(8, 0x60, b"CS", b"CT") + sequence + _element(0x10, 0x20, b"LO", b"4711") + _element(0x28, 0x10, b"US", b"\0\1")
    )
    data += _element(0x7FE0, 0x10, b"OW", NOISE[:50_000]) if pixels is None else pixels
    return b"\0" * 128 + b"DICM" + _element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + data


def dicom_compressed(delimiter: bool = True) -> bytes:
    fragments = b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in (b"", NOISE[:20_000], NOISE[:30_000]))
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if delimiter else b""
    return dicom(b"1.2.840.10008.1.2.4.50", struct.pack("<HH2s2xI", 0x7FE0, 0x10, b"OB", 0xFFFFFFFF) + fragments + end)


def edf(records: int = 40, *, bdf: bool = False) -> bytes:
    each, width = 250, 3 if bdf else 2
    head = (b"\xffBIOSEMI" if bdf else b"0       ") + b"X".ljust(80) + b"Startdate".ljust(80) + b"24.11.2612.00.00"
    head += b"512".ljust(8) + b" " * 44 + b"%-8d" % records + b"1".ljust(8) + b"1".ljust(4)
    signal = b"EEG Fpz".ljust(16) + b"AgCl".ljust(80) + b"uV".ljust(8) + b"-100".ljust(8) + b"100".ljust(8) + b"-2048".ljust(8)
    signal += b"2047".ljust(8) + b"HP:0.1".ljust(80) + b"%-8d" % each + b" " * 32
    return head + signal + (NOISE * 2)[: records * each * width]


def sound() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(NOISE[:40_000])
    return out.getvalue()


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def mp4(*, index_first: bool = False) -> bytes:
    head, index, data = _box(b"ftyp", b"isom\0\0\2\0isommp41"), _box(b"moov", _box(b"mvhd", NOISE[:400])), _box(b"mdat", NOISE)
    return head + (index + data if index_first else data + index)


def ole(sectors: int = 60) -> bytes:
    """A compound file of one stream, with one sector of table."""
    table = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, sectors), 0xFFFFFFFE]
    table += [0xFFFFFFFF] * (128 - len(table))
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0) + struct.pack(
        "<109I", 0, *[0xFFFFFFFF] * 108
    )
    root = "Root Entry".encode("utf-16-le").ljust(64, b"\0") + b"\x16\0\5\1" + b"\xff" * 12 + b"\0" * 48
    return (
        head
        + struct.pack("<128I", *table)
        + root.ljust(512, b"\0")
        + NOISE[: 512 * (sectors - 2)].ljust(512 * (sectors - 2), b"x")
    )


def rtf() -> bytes:
    return b"{\\rtf1\\ansi{\\fonttbl{\\f0 Times;}}" + b"\\par a line of text with \\{ a brace" * 800 + b"}"


def tar_gz() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("scan.nii")
        info.size = len(NOISE)
        archive.addfile(info, io.BytesIO(NOISE))
    return out.getvalue()


#: A whole file of each kind, by a name that it could have.
WHOLE: dict[str, bytes] = {
    "scan.pdf": pdf(),
    "form.pdf": pdf_saved_twice(),
    "letter.docx": docx(),
    "figure.png": saved("PNG"),
    "photo.jpg": saved("JPEG", quality=90),
    "progressive.jpg": saved("JPEG", quality=90, progressive=True),
    "old.gif": saved("GIF"),
    "fax.tif": tiff(),
    "image.tif": saved("TIFF"),
    "volume.nii.gz": gzip.compress(NOISE),
    "study.tar.gz": tar_gz(),
    "log.bz2": bz2.compress(NOISE),
    "log.xz": lzma.compress(NOISE),
    "archive.7z": seven(),
    "ct.dcm": dicom(),
    "photo.dcm": dicom_compressed(),
    "night.edf": edf(),
    "night.bdf": edf(bdf=True),
    "gait.mp4": mp4(),
    "stream.mp4": mp4(index_first=True),
    "voice.wav": sound(),
    "old.doc": ole(),
    "note.rtf": rtf(),
}
