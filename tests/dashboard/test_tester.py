"""The rule tester: what is wrong with a name, and which was meant, in the words that people find beside a failed file."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import pytest

from dropcap.config.load import load
from dropcap.config.model import Folder
from dropcap.dashboard import texts
from tests.site import site


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Folder]]:
    with site(tmp_path_factory.mktemp("tester")) as place:
        photo = {"name": "photo", "pattern": "{record:digits}_{day:date}_photo.jpg", "event": "baseline_arm_1", "field": "scan"}
        (place.root / "photos").mkdir()
        photos = {**deepcopy(place.folder), "path": str(place.root / "photos"), "rules": [photo]}
        place.config["folders"]["photos"] = photos
        place.write_config()
        yield list(load(place.config_file).folders.values())


@pytest.mark.parametrize(
    ("name", "wrong", "notes"),
    [
        ("101_V1_cosent.pdf", ["cosent"], ["A typing error", "Probably meant: 101_V1_consent.pdf"]),
        ("1O1_V1_lab.pdf", ["O"], ["letter O", "Probably meant: 101_V1_lab.pdf", "Whether “101” is right"]),
        ("101_V9_consent.pdf", ["V9"], ["There is no “V9” here. There are: V1, V2."]),
        ("101_03-11-2026_photo.jpg", ["03-11-2026"], ["101_2026-11-03_photo.jpg or 101_2026-03-11_photo.jpg"]),
        ("101_V1_consent.pdf\u200b", ["\\u200b"], ["nobody can see", "Probably meant: 101_V1_consent.pdf"]),
        ("\ud800.pdf", ["\\ud800"], ["damaged"]),
        ("x", ["x"], ["does not say where the file belongs"]),
    ],
)
def test_what_is_wrong_with_a_name(folders: list[Folder], name: str, wrong: list[str], notes: list[str]) -> None:
    (told,) = texts.tested(folders, [name])
    assert (told.mark, told.head) == ("bad", "Would fail.")
    assert [piece.text for piece in told.pieces if piece.look == "off"] == wrong
    for note in notes:
        assert any(note in line for line in told.notes), (note, told.notes)
    assert "�" not in "".join(piece.text for piece in told.pieces)


def test_no_more_names_than_can_be_answered_at_once(folders: list[Folder]) -> None:
    names = [f"1O1_V1_{number}lab_cosent.pdf" for number in range(texts.MOST + 9)]
    told = texts.tested(folders * 20, names)
    assert len(told) == texts.MOST
    assert {one.mark for one in told} == {"bad"}
