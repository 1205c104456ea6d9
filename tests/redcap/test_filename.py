"""Names of uploaded files."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.redcap.request import safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.pdf", "a.pdf"),
        ("sub/folder/a.pdf", "a.pdf"),
        ("u\u0308.pdf", "\u00fc.pdf"),
        ("a\"b\\c'd:e.pdf", "a_b_c_d_e.pdf"),
        ("a\r\nb\x00c\u202ed.pdf", "a__b_c_d.pdf"),
        ("a\udcff.pdf", "a_.pdf"),
        (".htaccess", "_htaccess"),
        ("", "_"),
        ("   ", "_"),
        ("x" * 300 + ".pdf", "x" * 96 + ".pdf"),
        ("😀" * 90 + ".pdf", "😀" * 62 + ".pdf"),
        ("x" * 300, "x" * 100),
        ("a." + "x" * 300, "a." + "x" * 98),
    ],
)
def test_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text(max_size=400))
def test_every_name_is_made_safe(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) <= 100
    assert len(safe.encode()) <= 255
    assert not safe.startswith(".")
    assert not set(safe) & set("\"'\\/\r\n")
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in safe)
    assert safe_name(safe) == safe
