"""Templates and tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.routing.pattern import PatternError, Table
from dropcap.routing.rule import TemplateError, compile_template

TABLES = {
    "visits": {"V1": "baseline", "V2": "month_6"},
    "sites": {"n": "north", "*": "elsewhere"},
    "case": {"a": "lower", "A": "upper"},
    "unset": {"": "first", "2": "second"},
}
NAMES = ("record", "visit")


def render(text: str, **captures: str) -> str:
    return compile_template(text, TABLES, captures).render(captures)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("fixed", "", "fixed"),
        ("{c}", "007", "007"),
        ("a_{c}_b", "x", "a_x_b"),
        ("{c|upper}", "aé", "AÉ"),
        ("{c|lower}", "AÉ", "aé"),
        ("{c|strip0}", "0070", "70"),
        ("{c|strip0}", "000", "0"),
        ("{c|strip0}", "", ""),
        ("{c|pad(4)}", "7", "0007"),
        ("{c|pad(4)}", "12345", "12345"),
        ("{c|strip0|pad(3)}", "0007", "007"),
        ("{ c | upper }", "x", "X"),
        ("{c|visits}", "V2", "month_6"),
        ("{c|visits}", "v2", "month_6"),
        ("{c|visits|upper}", "v2", "MONTH_6"),
        ("{c|sites}", "zzz", "elsewhere"),
        ("{c|sites}", "*", "elsewhere"),
        ("{c|case}", "a", "lower"),
        ("{c|case}", "A", "upper"),
        ("{c|unset}", "", "first"),
        (r"\{c\}\\", "x", "{c}\\"),
    ],
)
def test_render(text: str, value: str, expected: str) -> None:
    assert render(text, c=value) == expected


def test_a_word_that_the_table_lacks() -> None:
    with pytest.raises(TemplateError, match="the table `visits` has no `V9`; it has V1, V2"):
        render("{c|visits}", c="V9")


def test_case_sensitive() -> None:
    template = compile_template("{c|visits}", TABLES, ["c"], case_sensitive=True)
    assert template.render({"c": "V1"}) == "baseline"
    with pytest.raises(TemplateError, match="has no `v1`"):
        template.render({"c": "v1"})


def test_words_that_differ_only_in_case_and_mean_different_things() -> None:
    with pytest.raises(LookupError, match="several spellings"):
        Table("t", {"ab": "1", "AB": "2"}).translate("Ab")


def test_a_long_table_is_not_listed_whole() -> None:
    with pytest.raises(LookupError, match=r"w00, w01, .*, w07 and 92 more$"):
        Table("t", {f"w{number:02}": "x" for number in range(100)}).translate("nope")


@pytest.mark.parametrize(
    ("text", "position", "message", "remedy"),
    [
        ("{recrd}", 1, "no capture `recrd`", "did you mean record?"),
        ("ab{zz}", 3, "no capture `zz`", "it has record"),
        ("{record|visit}", 1, "no filter or table `visit`", "did you mean visits?"),
        ("{record|pad}", 1, "no filter or table `pad`", "did you mean pad(4)?"),
        ("x{record", 1, "never closed", "close it"),
        ("x}", 1, "without its", r"\}"),
        ("x\\", 1, "at the end", "take it out"),
    ],
)
def test_refused(text: str, position: int, message: str, remedy: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_template(text, TABLES, NAMES)
    assert (caught.value.position, message in caught.value.message, remedy in caught.value.remedy) == (position, True, True)


@given(st.text(st.one_of(st.sampled_from("{}|\\"), st.characters()), max_size=30), st.text(st.characters()))
def test_no_input_crashes(text: str, value: str) -> None:
    try:
        template = compile_template(text, TABLES, NAMES)
        template.render(dict.fromkeys((*NAMES, "name", "stem", "ext", "folder"), value))
    except (PatternError, TemplateError):
        pass


@given(st.text(st.characters(codec="ascii", exclude_characters="{}\\")))
def test_plain_text_stays(text: str) -> None:
    assert compile_template(text, {}, ()).render({}) == text
