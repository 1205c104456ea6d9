"""Whatever the bytes: no probe raises, reads more than it may or works on for long."""

from __future__ import annotations

import gzip
import os
import tempfile
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropcap.content import worker as formats
from dropcap.content.reader import FULL, QUICK, BeyondBoundsError, Bounds, Reader
from dropcap.content.worker import examine, judged
from tests.content.make import WHOLE
from tests.heavy import heavy

NAMES = sorted(WHOLE)


def examined(content: bytes, bounds: Bounds = FULL) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        began = time.thread_time()
        finding = judged(file.fileno(), bounds)
        assert time.thread_time() - began < 2 * bounds.cpu + 0.1
        assert bool(finding.why) == finding.is_cut


@given(st.binary(max_size=3000), st.sampled_from(NAMES))
@settings(max_examples=200, deadline=None)
def test_any_bytes_behind_any_beginning(content: bytes, name: str) -> None:
    examined(WHOLE[name][:8] + content)
    examined(WHOLE[name][:300] + content)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_whole_files_that_were_changed(data: st.DataObject) -> None:
    content = bytearray(WHOLE[data.draw(st.sampled_from(NAMES))])
    for _ in range(data.draw(st.integers(1, 6))):
        # Most of what a probe goes by stands at the beginning and at the end.
        at = data.draw(st.one_of(st.integers(0, 600), st.integers(len(content) - 600, len(content) - 1)))
        content[at : at + 4] = data.draw(st.sampled_from((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x7f", b"\1")))
    examined(bytes(content))


def test_nothing_is_read_beyond_what_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    pread = os.pread

    def counted(fd: int, length: int, offset: int) -> bytes:
        nonlocal read
        part = pread(fd, length, offset)
        read += len(part)
        return part

    monkeypatch.setattr(os, "pread", counted)
    for name in NAMES:
        with tempfile.TemporaryFile() as file:
            file.write(WHOLE[name][: len(WHOLE[name]) // 2])
            file.truncate(200 * 1024**2)  # the rest is empty
            for bounds in (QUICK, FULL):
                read = 0
                judged(file.fileno(), bounds)
                assert read <= bounds.read, name


def _png_of_tiny_chunks() -> bytes:
    return WHOLE["figure.png"][:33] + (b"\0\0\0\1teXt" + b"x" * 5) * 1_000_000


def _dicom_of_tiny_elements() -> bytes:
    item = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"
    return WHOLE["ct.dcm"][:600].partition(b"SQ")[0] + b"SQ\0\0\xff\xff\xff\xff" + item * 2_000_000


def _tiff_of_many_directories() -> bytes:
    out = bytearray(b"II*\0\x08\0\0\0")
    for number in range(500_000):
        out += b"\0\0" + (8 + 6 * (number + 1)).to_bytes(4, "little")
    return bytes(out)


def _pdf_of_no_objects() -> bytes:
    return b"%PDF-1.4\n" + b"obj" * 5_000_000


def _gif_of_tiny_blocks() -> bytes:
    return WHOLE["old.gif"][:13] + b"\x21\xfe\x01x\x00" * 4_000_000


def _tiff_of_many_strips() -> bytes:
    strips = 31_000_000
    return b"II*\0\x08\0\0\0\1\0\x11\1\3\0" + strips.to_bytes(4, "little") + b"\x1a\0\0\0" + bytes(4) + b"\1\0" * strips


@pytest.mark.parametrize(
    "made",
    [
        _png_of_tiny_chunks,
        pytest.param(_dicom_of_tiny_elements, marks=heavy),
        _tiff_of_many_directories,
        _pdf_of_no_objects,
        pytest.param(_gif_of_tiny_blocks, marks=heavy),
        lambda: gzip.compress(b"\0" * 400 * 1024**2, 1),
        _tiff_of_many_strips,
        lambda: b"{\\rtf1 " + b"{" * 8_000_000,
        pytest.param(lambda: b"{\\rtf1 " + b"\\{" * 20_000_000, marks=heavy),
        lambda: b"\0\0\0\x08free" * 4_000_000,
        pytest.param(lambda: b"RIFF\0\0\0\0WAVE" + b"abcd\0\0\0\0" * 4_000_000, marks=heavy),
        lambda: b"BZh91AY&SY" + b"\x55" * 30_000_000,
    ],
)
def test_made_to_take_long(made: Callable[[], bytes]) -> None:
    examined(made())


def test_what_is_beyond_the_bounds_is_told_apart() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(gzip.compress(os.urandom(8 * 1024**2)))
        file.flush()
        with pytest.raises(BeyondBoundsError):
            examine(file.fileno(), QUICK)
        assert not judged(file.fileno()).is_cut


def test_an_exception_in_a_probe_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Reader) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(formats, "_examination_for", lambda _: broken)
    with tempfile.TemporaryFile() as file:
        file.write(WHOLE["scan.pdf"][:9000])
        file.flush()
        assert examine(file.fileno()).why == ""
