from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.files import names

# Names as os.fsdecode gives them for any bytes that a directory can hold.
leaves = st.binary(min_size=1, max_size=255).filter(lambda b: not set(b) & {0, 0x2F}).map(os.fsdecode)
texts = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=250)


@pytest.mark.parametrize("bad", ["/etc", "a//b", "a/", "..", "a/../b", ".", "a/./b", "a\0b"])
def test_a_name_that_could_lead_out_is_refused(bad: str) -> None:
    with pytest.raises(OSError, match="Not a name beneath"):
        names.parts(bad)


@pytest.mark.parametrize(
    ("leaf", "number", "expected"),
    [
        ("a.pdf", 1, "a.pdf"),
        ("a.pdf", 2, "a (2).pdf"),
        ("a", 3, "a (3)"),
        (".hidden", 2, ".hidden (2)"),
        ("a.tar.gz", 2, "a.tar (2).gz"),
        ("ü" * 124 + ".pdf", 2, "ü" * 123 + " (2).pdf"),
        ("x." + "e" * 200, 2, "x." + "e" * 200 + " (2)"),
    ],
)
def test_numbered(leaf: str, number: int, expected: str) -> None:
    assert names.numbered(leaf, number) == expected


@given(leaves, st.integers(1, 10**8))
def test_numbered_fits_and_is_recognised(leaf: str, number: int) -> None:
    made = names.numbered(leaf, number)
    assert len(os.fsencode(made)) <= 255
    assert names.is_candidate(made, leaf)


@given(leaves)
def test_the_first_candidates_differ(leaf: str) -> None:
    made = [name for name, _ in zip(names.candidates(leaf), range(20), strict=False)]
    assert made[0] == leaf
    assert len(set(made)) == 20


@given(texts, st.sampled_from(["", ".pdf", " (12).pdf", ".why.txt"]), st.integers(20, 255))
def test_a_cut_falls_between_characters(stem: str, ending: str, limit: int) -> None:
    made = names.fitted(stem, ending, limit)
    assert len(made.encode()) <= limit  # strict UTF-8: raises for half a character
    assert made.endswith(ending)
    kept = made.removesuffix(ending) if ending else made
    assert stem.startswith(kept)
    assert kept == stem or len((stem[: len(kept) + 1] + ending).encode()) > limit


@pytest.mark.parametrize("name", ["b.pdf", "a (1).pdf", "a (0).pdf", "a (02).pdf", "a (2).txt", "a (2)", "a (x).pdf"])
def test_other_names_are_no_candidates(name: str) -> None:
    assert not names.is_candidate(name, "a.pdf")


def test_temporary_names() -> None:
    assert names.is_temporary(names.temporary())
    assert not any(map(names.is_temporary, [".dropcap", ".dropcap-", ".dropcap-notes", "x" + names.temporary()]))
