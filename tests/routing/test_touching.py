"""Neighbouring captures between which a name may be divided in more than one place."""

from __future__ import annotations

import pytest

from dropcap.routing.pattern import compile_pattern, compile_regex, touching

TABLES = {"visits": {"V1": "a", "V2": "b"}, "weeks": {"2": "a", "12": "b"}, "sites": {"A": "a", "AB": "b"}}


@pytest.mark.parametrize(
    ("pattern", "pairs"),
    [
        ("{r:digits}{v:digits}.pdf", [("r", "v")]),
        ("{r:digits}[_]{v:alnum}.pdf", [("r", "v")]),
        ("{r:digits}[[{v:digits(1-2)}]].pdf", [("r", "v")]),
        ("[{r:digits}]{v:digits(1-2)}.pdf", [("r", "v")]),
        ("{r}{v}.pdf", [("r", "v")]),
        ("{r:digits}{v:weeks}.pdf", [("r", "v")]),
        ("{v:sites}{r:alnum}.pdf", [("v", "r")]),
        ("{r:digits}{v:letters}{x:letters}.pdf", [("v", "x")]),
        ("{r:digits}_{v:digits}.pdf", []),
        ("{r:digits}{v:letters}.pdf", []),
        ("{r:digits(4)}{v:digits}.pdf", []),
        ("{r:digits}{v:digits(2)}.pdf", []),
        ("{r:alnum}{v:visits}.pdf", []),
        ("{v:sites}{r:digits}.pdf", []),
        ("{site}{r:digits}.pdf", []),
        ("{r:digits}{day:date}.pdf", []),
    ],
)
def test_touching(pattern: str, pairs: list[tuple[str, str]]) -> None:
    assert touching(compile_pattern(pattern, TABLES)) == pairs


def test_a_regular_expression_is_not_looked_into() -> None:
    assert touching(compile_regex("(?P<r>[0-9]+)(?P<v>[0-9]+)")) == []
