"""Client and sandbox understand each other: the whole way of a file, and the structure as the inspection sees it."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.redcap.client import FileTarget, NoFile, Redcap, RedcapError
from dropcap.redcap.window import RequestWindow
from dropcap.secret import Token
from redcap_sandbox import Fault, Sandbox, demo_project

PLACE = FileTarget("101", "consent_pdf", "baseline_arm_1")


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox(demo_project()) as running:
        yield running


def client(box: Sandbox, token: str | None = None) -> Redcap:
    return Redcap(box.url, lambda: Token(token or box.token), RequestWindow(Path("/nonexistent"), 0))


def test_a_file_goes_in_and_comes_back(box: Sandbox) -> None:
    data = os.urandom(700_000)
    redcap = client(box)
    with pytest.raises(NoFile):
        redcap.export_file(PLACE)
    sent = redcap.import_file(PLACE, io.BytesIO(data), len(data), "Ünterschrift 1.pdf")
    back = bytearray()
    exported = redcap.export_file(PLACE, back.extend)
    assert bytes(back) == data
    assert exported.sha256 == sent.sha256 == hashlib.sha256(data).hexdigest()
    assert exported.name == "Ünterschrift 1.pdf"
    assert exported.proven_whole


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (FileTarget("101", "no_such_field", "baseline_arm_1"), "not_a_file_field"),
        (FileTarget("no such record", "consent_pdf", "baseline_arm_1"), "no_record"),
        (FileTarget("101", "consent_pdf", "no_such_event"), "no_event"),
    ],
)
def test_a_wrong_place_is_named(box: Sandbox, place: FileTarget, reason: str) -> None:
    with pytest.raises(RedcapError) as caught:
        client(box).import_file(place, io.BytesIO(b"%PDF"), 4, "a.pdf")
    assert caught.value.meaning.reason == reason


def test_a_record_is_created_once(box: Sandbox) -> None:
    redcap = client(box)
    key = redcap.metadata()[0].name
    redcap.create_record("9001", key, "baseline_arm_1")
    redcap.create_record("9001", key, "baseline_arm_1")
    assert redcap.records(["9001"], [key])[0][key] == "9001"


def test_the_format_of_errors_is_known_from_small_requests(box: Sandbox) -> None:
    redcap, xml = client(box), "<?xml version='1.0'?><hash><error>kzt</error></hash>"
    assert redcap.dialect.is_json() is None
    box.ill(Fault("status", times=1, code=400, body=xml, match={"action": "import"}))
    with pytest.raises(RedcapError) as caught:
        redcap.import_file(PLACE, io.BytesIO(b"x"), 1, "a.pdf")
    assert caught.value.meaning.in_xml
    assert redcap.dialect.is_json() is None, "its form may be lost"
    box.ill(Fault("status", times=1, code=400, body='{"error": "<hash><error>kzt"}', match={"action": "import"}))
    with pytest.raises(RedcapError) as caught:
        redcap.import_file(PLACE, io.BytesIO(b"x"), 1, "<hash><error>.pdf")
    assert not caught.value.meaning.in_xml, "a name is no format"
    assert redcap.dialect.is_json()
    other = client(box)
    other.provoke()
    assert other.dialect.is_json()
    box.ill(Fault("status", code=400, body=xml, match={"content": "dropcap"}))
    redcap.provoke()
    assert redcap.dialect.is_json() is False, "not all of them are in JSON"
    assert client(box).version(), "and nothing else was asked"
