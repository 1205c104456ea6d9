"""Patterns: what they match, what they refuse, and that nothing makes them crash or slow."""

from __future__ import annotations

import datetime
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.routing.pattern import PatternError, compile_pattern, compile_regex

TABLES = {"visits": {"V1": "baseline", "V10": "ten", "*": "other"}, "sites": {"Å": "a"}, "empty": {"*": "x"}}


@pytest.mark.parametrize(
    ("pattern", "name", "captures"),
    [
        ("{record}_consent.pdf", "101_consent.pdf", {"record": "101"}),
        ("{record}_consent.pdf", "101_CONSENT.PDF", {"record": "101"}),
        ("{record}_consent.pdf", "a_b_consent.pdf", None),  # `_` follows, so the capture has none
        ("{record}_consent.pdf", "_consent.pdf", None),
        ("{record}_consent.pdf", "101_consent.pdf.bak", None),
        ("{record}_consent.pdf", "x101_consent.pdf\n", None),
        ("{record}.pdf", "deep/down/101.pdf", {"record": "101"}),
        ("{site}/{record}.pdf", "north/101.pdf", {"site": "north", "record": "101"}),
        ("{site}/{record}.pdf", "deep/north/101.pdf", None),
        ("{site}/{record}.pdf", "101.pdf", None),
        ("*/{record}.pdf", "any/101.pdf", {"record": "101"}),
        ("{a:any}_{b}.pdf", "x_y_z.pdf", {"a": "x_y", "b": "z"}),
        ("{a:digits}", "１２", None),  # digits of other scripts are no digits to REDCap
        ("{a:letters}", "K", None),  # the Kelvin sign becomes K in NFC, but:
        ("{a:letters}", "ſ", None),  # the long s folds to s without being a letter a-z
        ("{a:letters}", "aZ", {"a": "aZ"}),
        ("{a:alnum}", "a1Z", {"a": "a1Z"}),
        ("{a:word}", "a-1_.Z", {"a": "a-1_.Z"}),
        ("{a:digits(4)}", "0123", {"a": "0123"}),
        ("{a:digits(4)}", "012", None),
        ("{a:digits(4)}", "01234", None),
        ("{a:digits(1-3)}{b:letters(2)}", "12ab", {"a": "12", "b": "ab"}),
        ("{v:V1|V10|Ö}_x", "v10_x", {"v": "v10"}),
        ("{v:V1|V10|Ö}_x", "ö_x", {"v": "ö"}),
        ("{v:visits}{n:digits}", "V101", {"v": "V10", "n": "1"}),  # the longest word first
        ("{v:visits}", "*", None),  # the default is no word
        ("{v:sites}", "a\u030a", {"v": "å"}),
        (r"{v:a\|b|c\}}", "a|b", {"v": "a|b"}),
        ("{r}[_{v:visits}]_c.pdf", "1_c.pdf", {"r": "1", "v": ""}),
        ("{r}[_{v:visits}]_c.pdf", "1_V1_c.pdf", {"r": "1", "v": "V1"}),
        ("{r}[-x]_c.pdf", "1-y_c.pdf", None),  # neither `-` nor `_` can be in the capture
        ("{r}[-x]_c.pdf", "1-x_c.pdf", {"r": "1"}),
        ("a[b[c]]d", "abd", {}),
        ("a[b[c]]d", "acd", None),
        ("a*b?", "axxbc", {}),
        ("a*b?", "axx/bc", None),
        (r"\[\{\*\?\]\}\\", r"[{*?]}\ ".strip(), {}),
        ("a.b", "axb", None),
        ("caf\u00e9_{r}", "cafe\u0301_1", {"r": "1"}),
        ("cafe\u0301_{r}", "caf\u00e9_1", {"r": "1"}),
        ("{r}_x", "AbC_x", {"r": "AbC"}),
        ("{r}x.pdf", "aXbx.pdf", None),
        # What may be anything leaves all it can to a capture that follows at once.
        ("*{r:digits}.pdf", "scan101.pdf", {"r": "101"}),
        ("*{r:digits}.pdf", "2026_101.pdf", {"r": "101"}),
        ("[*]{r:digits}.pdf", "scan101.pdf", {"r": "101"}),
        ("*[P]{r:digits}.pdf", "scanP101.pdf", {"r": "101"}),
        ("*[_{v:digits}].pdf", "scan_12.pdf", {"v": "12"}),
        ("{r:digits}*{v:digits}.pdf", "101_V12.pdf", {"r": "101", "v": "12"}),
        ("{site}{r:digits}.pdf", "AB101.pdf", {"site": "AB", "r": "101"}),
        ("{site:any}[-]{r:digits}.pdf", "AB101.pdf", {"site": "AB", "r": "101"}),
        ("{r}*.pdf", "101.pdf", {"r": "101"}),
        ("{r}", "a\nb", {"r": "a\nb"}),
        ("*", "bad\udcff", None),
    ],
)
def test_match(pattern: str, name: str, captures: dict[str, str] | None) -> None:
    if name == "K":  # the Kelvin sign is an ordinary K after normalisation
        captures = {"a": "K"}
    assert compile_pattern(pattern, TABLES).match(name) == captures


def test_case_sensitive() -> None:
    pattern = compile_pattern("{r}_{v:V1|V2}_C.pdf", {}, case_sensitive=True)
    assert pattern.match("1_V1_C.pdf") == {"r": "1", "v": "V1"}
    assert pattern.match("1_v1_C.pdf") is None
    assert pattern.match("1_V1_c.pdf") is None
    assert compile_pattern("{r}x.pdf", {}, case_sensitive=True).match("aXbx.pdf") == {"r": "aXb"}


def test_typed_captures() -> None:
    pattern = compile_pattern("{a}-{b:any}-{c:digits}-{d:date}-{e:x|y}-{f:visits}[-{g:word}]", TABLES)
    assert pattern.captures == ("a", "b", "c", "d", "e", "f", "g")
    assert pattern.typed == {"c", "d", "e", "f", "g"}


@pytest.mark.parametrize(
    ("pattern", "position", "message", "remedy"),
    [
        ("", 0, "empty", "write one"),
        ("a{b", 1, "never closed", "close it"),
        ("a{b:digits", 1, "never closed", "close it"),
        ("a}", 1, "without its", r"\}"),
        ("a]", 1, "without its", r"\]"),
        ("[a", 0, "never closed", "close it"),
        ("a[]", 1, "optional part is empty", "take"),
        ("a\\", 1, "at the end", "take it out"),
        ("{a}{b}{a}", 6, "`a` is captured twice", "another name"),
        ("{a}[_{a}]", 5, "`a` is captured twice", "another name"),
        ("{}", 1, "has no name", "{name}"),
        ("{1a}", 1, "`1`", "{name}"),
        ("{a b}", 2, "` `", "{name}"),
        ("{a:digit}", 3, "`digit`", "did you mean digits?"),
        ("{a:visit}", 3, "`visit`", "did you mean visits?"),
        ("{a:digit(3)}", 3, "`digit`", "did you mean digits?"),
        ("{a:zzz}", 3, "`zzz`", "use digits"),
        ("{a:}", 3, "``", "use digits"),
        ("{a:digits()}", 10, "not a number", "(4)"),
        ("{a:digits(x)}", 10, "not a number", "(4)"),
        ("{a:digits(0)}", 10, "not possible", "at least 1"),
        ("{a:digits(4-2)}", 10, "not possible", "at least 1"),
        ("{a:digits(999)}", 10, "not possible", "at most 255"),
        ("{a:date(8)}", 3, "takes no number", "date alone"),
        ("{a:x||y}", 3, "empty", "take a `|` out"),
        ("{a:x|y/z}", 3, "`/`", "one folder"),
        ("{a:{b}}", 3, "`{` within", "close"),
        ("{a:empty}", 3, "no words", "add"),
        ("/a", 0, "begins with `/`", "relative"),
        ("a\0", 1, "no file name", "take it out"),
        ("[" * 40 + "a" + "]" * 40, 20, "deep", "several rules"),
        ("x" * 2000, 1000, "more than 1000", "shorten"),
    ],
)
def test_refused_patterns(pattern: str, position: int, message: str, remedy: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern, TABLES)
    assert caught.value.position == position
    assert message in caught.value.message
    assert remedy in caught.value.remedy


@given(st.integers(0, 9999), st.integers(0, 99), st.integers(0, 99), st.sampled_from(["", "-"]))
def test_a_date_matches_if_it_exists(year: int, month: int, day: int, dash: str) -> None:
    try:
        datetime.date(year, month, day)
        exists = True
    except ValueError:
        exists = False
    text = f"{year:04}{dash}{month:02}{dash}{day:02}"
    assert (compile_pattern("{d:date}", {}).match(text) == {"d": text}) is exists


@given(st.integers(1, 9999).filter(lambda year: year % 4 == 0 or year % 100 == 0), st.sampled_from(["", "-"]))
def test_leap_days(year: int, dash: str) -> None:
    exists = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    assert (compile_pattern("{d:date}", {}).match(f"{year:04}{dash}02{dash}29") is not None) is exists


# Separators that no value has: so the parts of the name can be told apart.
_SEPARATORS = "+@~é "
_LETTERS = "abcXYZäß"
_VALUES: dict[str, st.SearchStrategy[str]] = {
    "": st.text(_LETTERS + "0123456789-_.", min_size=1),
    ":any": st.text(_LETTERS + "0123456789-_.", min_size=1),
    ":digits": st.text("0123456789", min_size=1, max_size=30),
    ":digits(2-5)": st.text("0123456789", min_size=2, max_size=5),
    ":letters": st.text("abcXYZ", min_size=1),
    ":alnum(3)": st.text("abcXYZ0129", min_size=3, max_size=3),
    ":word": st.text("abcXYZ019_.-", min_size=1),
    ":date": st.dates().map(lambda day: day.isoformat()),
    ":visits": st.sampled_from(["V1", "V10", "v10"]),
    ":one|two|one-two": st.sampled_from(["one", "TWO", "one-two"]),
}
_PART = st.sampled_from(sorted(_VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), _VALUES[kind]))


@given(st.lists(st.tuples(_PART, st.sampled_from(_SEPARATORS)), min_size=1, max_size=6))
def test_what_is_rendered_is_captured_again(parts: list[tuple[tuple[str, str], str]]) -> None:
    pattern = "".join(f"{{c{number}{kind}}}{separator}" for number, ((kind, _), separator) in enumerate(parts))
    name = "".join(value + separator for (_, value), separator in parts)
    expected = {f"c{number}": value for number, ((_, value), _) in enumerate(parts)}
    compiled = compile_pattern(pattern, TABLES)
    assert compiled.match(name) == expected
    assert compiled.match(unicodedata.normalize("NFD", name)) == expected
    assert compiled.match("folder/" + name) == expected


def test_hostile_names_take_linear_time() -> None:
    pattern = compile_pattern("*a*a*a*a*a*a*a*a*{x:any}*{y:any}*b", {})
    regex = compile_regex("(?P<x>(a+)+)+b")
    begin = time.perf_counter()
    assert pattern.match("a" * 255) is None
    assert regex.match("a" * 255) is None
    assert time.perf_counter() - begin < 1


def test_a_table_of_ten_thousand_words() -> None:
    table = {f"site{number}": f"s{number}" for number in range(10_000)}
    assert compile_pattern("{s:sites}_x", {"sites": table}).match("SITE9999_x") == {"s": "SITE9999"}


@pytest.mark.parametrize(
    ("regex", "name", "captures"),
    [
        ("(?P<record>[0-9]+)_c", "d/101_C", {"record": "101"}),
        ("(?P<a>x)?(?P<b>y)", "y", {"a": "", "b": "y"}),
        ("(?P<site>[^/]+)/(?P<record>.+)", "n/1", {"site": "n", "record": "1"}),
        ("(?P<b>b)(?P<a>a)", "ba", {"b": "b", "a": "a"}),
        ("a", "ab", None),
        (".*", "\udc80", None),
        ("(?P<r>[^/]+)_x", "d/1_x", {"r": "1"}),  # a class asks for no folder
        (r"(?P<r>[^\]/]+)_x\[", "d/1_x[", {"r": "1"}),
        (r"d\/(?P<r>.)", "d/1", {"r": "1"}),
    ],
)
def test_regex(regex: str, name: str, captures: dict[str, str] | None) -> None:
    pattern = compile_regex(regex)
    assert pattern.match(name) == captures
    assert pattern.typed == frozenset()


@pytest.mark.parametrize("regex", ["(", "(?=a)", r"(a)\1", "a{2000}", "((a{100}){100}){100}", "\ud800"])
def test_refused_regex(regex: str) -> None:
    with pytest.raises(PatternError, match="RE2"):
        compile_regex(regex)


def test_two_groups_of_one_name() -> None:
    with pytest.raises(PatternError, match="`a` stands twice") as caught:
        compile_regex("(?P<a>x)(?P<a>y)")
    assert caught.value.position == 8
