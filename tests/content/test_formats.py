"""No whole file looks cut off; most of those that are cut off do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from dropcap.content.reader import Finding, Wholeness
from dropcap.content.worker import examine, is_volume
from tests.content import make
from tests.content.make import NOISE, WHOLE

JUNK = {
    "a line end": b"\r\n",
    "a byte": b"\x1a",
    "words": b"printed by somebody",
    "a page": b"<html><body>logged out</body></html>" * 150,
    "NULs": b"\0" * 80_000,
    "noise": NOISE[:5_000],
}


@pytest.fixture
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def found(fd: int, content: bytes) -> Finding:
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)
    return examine(fd)


@pytest.mark.parametrize("name", WHOLE)
class TestWhole:
    def test_it_is_seen_to_be_whole(self, fd: int, name: str) -> None:
        assert found(fd, WHOLE[name]).verdict is Wholeness.WHOLE

    @pytest.mark.parametrize("junk", JUNK)
    def test_anything_behind_it(self, fd: int, name: str, junk: str) -> None:
        assert not found(fd, WHOLE[name] + JUNK[junk]).is_cut


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_part_of_it_is_cut_off(fd: int, name: str, share: float) -> None:
    content = WHOLE[name]
    finding = found(fd, content[: int(len(content) * share)])
    if name == "image.tif":  # one strip: where it ends is often told wrong
        assert not finding.is_cut or finding.why
    else:
        assert finding.is_cut, finding
        assert finding.why


@pytest.mark.parametrize(
    "name",
    [
        "scan.pdf",
        "form.pdf",
        "letter.docx",
        "figure.png",
        "photo.jpg",
        "volume.nii.gz",
        "log.bz2",
        "log.xz",
        "archive.7z",
        "note.rtf",
        "gait.mp4",
    ],
)
def test_its_end_is_empty(fd: int, name: str) -> None:
    """As a copy leaves it that had made the file as long as it should be."""
    content = WHOLE[name]
    half = len(content) // 2
    assert found(fd, content[:half] + b"\0" * (len(content) - half)).is_cut


class TestPdf:
    def test_the_end_of_the_file_before_the_last_change_does_not_count(self, fd: int) -> None:
        content = make.pdf_saved_twice()
        assert found(fd, content[:-20_000]).is_cut
        assert found(fd, make.pdf()).verdict is Wholeness.WHOLE

    def test_half_an_end_mark(self, fd: int) -> None:
        content = make.pdf()
        assert not found(fd, content[:-2]).is_cut  # %%EO
        assert not found(fd, content.replace(b"\n%%EOF", b"%%EOF")).is_cut

    @pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\r\n\r\n", b"\x1b%-12345X@PJL JOB\n@PJL ENTER LANGUAGE=PDF\n"])
    def test_something_stands_before_it(self, fd: int, before: bytes) -> None:
        assert found(fd, before + make.pdf()).verdict is Wholeness.WHOLE
        assert found(fd, before + make.pdf()[:-15_000]).is_cut

    @pytest.mark.parametrize(
        "content",
        [
            b"%PDF-1.4 some content\n",
            b"%PDF-1.7 " + b"consent of 101\n" * 5000,
            b"%PDF-1.\n1 0 obj\n<</Kids[]>>\nendobj\ntrailer<</Root 1 0 R>>",
        ],
    )
    def test_made_by_hand(self, fd: int, content: bytes) -> None:
        assert found(fd, content).verdict is Wholeness.UNDECIDED

    def test_a_large_one_needs_no_more_than_its_end(self, fd: int) -> None:
        os.pwrite(fd, b"%PDF-1.4\n1 0 obj\n<</Length 9999999999>>stream\n", 0)
        os.pwrite(fd, b"\nendstream\nendobj\ntrailer <<>>\nstartxref\n9\n%%EOF", 3 * 1024**3)
        assert examine(fd).verdict is Wholeness.WHOLE


class TestZip:
    def test_a_comment(self, fd: int) -> None:
        end = WHOLE["letter.docx"].rindex(b"PK\5\6")
        content = WHOLE["letter.docx"][:end] + b"PK\5\6" + b"\0" * 16 + b"\x3c\0" + b"c" * 60
        assert found(fd, content).verdict is Wholeness.WHOLE

    def test_within_its_end(self, fd: int) -> None:
        assert found(fd, WHOLE["letter.docx"][:-5]).is_cut

    def test_a_part_of_several(self, fd: int) -> None:
        assert found(fd, b"PK\7\x08" + WHOLE["letter.docx"][:9000]).verdict is Wholeness.UNDECIDED


class TestImages:
    def test_nothing_but_the_end_is_missing(self, fd: int) -> None:
        assert not found(fd, WHOLE["figure.png"][:-12]).is_cut
        assert not found(fd, WHOLE["old.gif"][:-1]).is_cut

    @pytest.mark.parametrize("name", ["photo.jpg", "progressive.jpg"])
    def test_a_jpeg_without_its_end_mark(self, fd: int, name: str) -> None:
        assert not found(fd, WHOLE[name][:-2]).is_cut
        assert not found(fd, WHOLE[name][:-2] + b"\0" * 5000).is_cut

    @pytest.mark.parametrize("name", ["photo.jpg", "progressive.jpg"])
    def test_a_jpeg_with_a_thumbnail_that_has_one(self, fd: int, name: str) -> None:
        thumbnail = make.saved("JPEG")[:20_000] + b"\xff\xd9"
        content = WHOLE[name]
        content = content[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + content[2:]
        assert found(fd, content).verdict is Wholeness.WHOLE
        assert found(fd, content[:-9000]).is_cut

    def test_junk_between_the_segments_of_a_jpeg(self, fd: int) -> None:
        content = WHOLE["photo.jpg"]
        assert found(fd, content[:20] + b"\0\0junk" + content[20:]).verdict is Wholeness.WHOLE

    def test_a_tiff_that_was_never_finished(self, fd: int) -> None:
        assert found(fd, b"II*\0\0\0\0\0" + NOISE).is_cut

    def test_a_later_directory_of_a_tiff_is_out_of_range(self, fd: int) -> None:
        content = bytearray(make.tiff())
        content[8 + 2 + 5 * 12 :][:4] = b""
        at = 8 + 2 + 5 * 12
        content[at : at + 4] = (2**31).to_bytes(4, "little")
        assert found(fd, bytes(content)).verdict is Wholeness.WHOLE


class TestDicom:
    def test_the_last_delimiter_is_missing(self, fd: int) -> None:
        assert found(fd, make.dicom_compressed(delimiter=False)).verdict is Wholeness.WHOLE
        assert found(fd, make.dicom_compressed(delimiter=False) + b"\0" * 3000).verdict is Wholeness.WHOLE

    def test_without_an_image(self, fd: int) -> None:
        assert found(fd, make.dicom(pixels=b"")).verdict is Wholeness.UNDECIDED

    def test_the_last_byte_of_an_odd_length_is_missing(self, fd: int) -> None:
        assert not found(fd, make.dicom()[:-1]).is_cut
        assert found(fd, make.dicom()[:-2]).is_cut

    def test_it_begins_like_a_tiff(self, fd: int) -> None:
        content = make.dicom()
        assert found(fd, b"II*\0\xff\xff\xff\x0f" + content[8:]).verdict is Wholeness.WHOLE

    def test_its_mark_by_chance(self, fd: int) -> None:
        assert found(fd, b"\0" * 128 + b"DICM" + NOISE).verdict is Wholeness.UNDECIDED


class TestRecordings:
    def test_one_that_is_still_recorded(self, fd: int) -> None:
        assert found(fd, make.edf().replace(b"40      ", b"-1      ")[:9000]).verdict is Wholeness.UNDECIDED

    def test_the_last_record_of_annotations_is_empty(self, fd: int) -> None:
        content = make.edf().replace(b"EEG Fpz".ljust(16), b"EDF Annotations ")
        content = content[:192] + b"EDF+C".ljust(44) + content[236:]
        assert found(fd, content).verdict is Wholeness.WHOLE
        assert found(fd, content[:-500] + b"\0" * 500).is_cut

    @pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFDB])
    def test_a_sound_whose_length_nobody_knew(self, fd: int, size: int) -> None:
        content = WHOLE["voice.wav"]
        at = content.index(b"data") + 4
        assert found(fd, content[:at] + size.to_bytes(4, "little") + content[at + 4 :]).verdict is Wholeness.WHOLE

    def test_a_sound_that_is_a_little_shorter_than_it_says(self, fd: int) -> None:
        assert found(fd, WHOLE["voice.wav"][:-16]).verdict is Wholeness.WHOLE

    def test_the_beginning_of_a_film_alone(self, fd: int) -> None:
        assert found(fd, WHOLE["gait.mp4"][: len(make._box(b"ftyp", b"isom\0\0\2\0isommp41"))]).is_cut


class TestCompressed:
    def test_several_members(self, fd: int) -> None:
        one = WHOLE["volume.nii.gz"]
        assert found(fd, one + one).verdict is Wholeness.WHOLE
        assert found(fd, one + one[:-900]).is_cut

    def test_damage_is_not_for_us(self, fd: int) -> None:
        content = bytearray(WHOLE["volume.nii.gz"])
        content[5000:5200] = b"\xff" * 200
        assert not found(fd, bytes(content)).is_cut


@pytest.mark.parametrize("name", ["a.zip.001", "a.7z.002", "A.Z01", "a.part2.rar", "a.part1", "a.r00"])
def test_parts_of_several(name: str) -> None:
    assert is_volume(name)


@pytest.mark.parametrize("name", ["101_V1.pdf", "a.zip", "part1.pdf", "101.7z", "a.2024"])
def test_whole_files_by_their_names(name: str) -> None:
    assert not is_volume(name)
