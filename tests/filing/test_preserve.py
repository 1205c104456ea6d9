from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.config.model import Folder
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.filing.preserve import Origin, preserved_name

ORIGIN = Origin(
    project="trial",
    job=17,
    record="101",
    field="consent_pdf",
    original_name="Einwilligung Müller.pdf",
    when=datetime(2026, 11, 24, 13, 5, tzinfo=UTC),
)


def test_the_bytes_and_what_is_known_of_them(root: Path, filing: Filing) -> None:
    content = os.urandom(100_000)
    with filing.preserve_sink() as sink:
        for start in range(0, len(content), 30_000):
            sink.write(content[start : start + 30_000])
        name = sink.commit(replace(ORIGIN, event="baseline_arm_1", instance=2))
    assert name == "preserved/2026-11-24/101_consent_pdf_baseline_arm_1_2_Einwilligung Müller.pdf"
    assert (root / name).read_bytes() == content
    assert json.loads((root / (name + ".json")).read_text()) == {
        "project": "trial",
        "job": 17,
        "record": "101",
        "event": "baseline_arm_1",
        "field": "consent_pdf",
        "instance": 2,
        "original_name": "Einwilligung Müller.pdf",
        "size": 100_000,
        "sha256": hashlib.sha256(content).hexdigest(),
        "preserved_at": "2026-11-24T13:05:00.000+00:00",
    }
    assert len(os.listdir(root / "preserved/2026-11-24")) == 2
    assert os.listdir(root / "preserved") == ["2026-11-24"]


def test_what_is_not_committed_leaves_nothing(root: Path, filing: Filing) -> None:
    with filing.preserve_sink() as sink:
        sink.write(b"half")
    with contextlib.suppress(ConnectionError), filing.preserve_sink() as sink:
        sink.write(b"half")
        raise ConnectionError
    assert os.listdir(root / "preserved") == []


def test_a_second_copy_and_a_foreign_json_are_not_overwritten(root: Path, filing: Filing) -> None:
    made = []
    for number in range(3):
        with filing.preserve_sink() as sink:
            sink.write(b"%d" % number)
            made.append(sink.commit(ORIGIN))
        if number == 0:
            (root / made[0].replace(".pdf", " (2).pdf.json")).write_text("foreign")
    assert [name.rpartition("Müller")[2] for name in made] == [".pdf", " (3).pdf", " (4).pdf"]
    assert [(root / name).read_bytes() for name in made] == [b"0", b"1", b"2"]


def test_below_min_free_nothing_is_begun(folder: Folder, tree: Tree, root: Path) -> None:
    filing = Filing(replace(folder, min_free=2**62), tree, "")
    with pytest.raises(OSError, match="min_free") as caught, filing.preserve_sink():
        pass
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(root / "preserved") == []


def test_a_full_disk_leaves_nothing(root: Path, filing: Filing, mounted: Callable[[str, str], Path]) -> None:
    mounted("preserved", "64k")
    with filing.preserve_sink() as sink, pytest.raises(OSError, match="No space"):
        sink.write(b"x" * 100_000)
    assert os.listdir(root / "preserved") == []


@given(st.text(), st.text(max_size=400), st.text(max_size=400))
def test_names_from_redcap_cannot_lead_out_or_hide(record: str, event: str, original: str) -> None:
    name = preserved_name(replace(ORIGIN, record=record, event=event, original_name=original))
    assert len(os.fsencode(name)) <= 255 - len(".json") - len(" (1000)")
    assert name not in ("", ".", "..")
    assert not name.startswith((".", "~"))
    assert not set(name) & set('/\\\0\n\r<>:"|?*')


def test_extension_is_kept_when_a_name_is_cut() -> None:
    assert preserved_name(replace(ORIGIN, original_name="x" * 400 + ".pdf")).endswith("x.pdf")
    assert preserved_name(replace(ORIGIN, original_name="../../etc/passwd")) == "101_consent_pdf__.._etc_passwd"
