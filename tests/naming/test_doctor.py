"""What the name doctor says of wrong names: by tables, and what must hold for any name."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropcap.naming.doctor import diagnose, example, examples
from dropcap.naming.finding import Kind
from dropcap.routing.pattern import compile_pattern, compile_regex
from dropcap.routing.route import Route, route
from dropcap.routing.rule import Rule, compile_template

TABLES = {"visits": {"V1": "one", "V2": "two", "BL": "base"}, "many": {f"W{number:05}": "x" for number in range(10_000)}}


def rule(pattern: str, *, regex: bool = False, case_sensitive: bool = False, example: str = "", **templates: str) -> Rule:
    compiled = compile_regex(pattern, case_sensitive) if regex else compile_pattern(pattern, TABLES, case_sensitive)
    texts = {"field": "f", "record": "{record}"} | templates
    must = texts.pop("must_match", "")
    made = {key: compile_template(text, TABLES, compiled.captures) for key, text in texts.items()}
    conditions = {"x": compile_template(must, TABLES, compiled.captures)} if must else {}
    return Rule(pattern, compiled, must_match=conditions, example=example, **made)


CONSENT = rule("SN{record:digits(3)}_consent_v{version:1.0|1.1|2.0}_{day:date}.pdf")
VISIT = rule("{record:digits}_{visit:visits}_scan.jpg", event="{visit|visits}", must_match="{visit}")
LOOSE = rule("{record}_{visit}_letter[_{page:digits}].pdf", event="{visit|visits}")
STRICT = rule("P{record:digits(4)}-ECG.edf", case_sensitive=True)
RULES = [CONSENT, VISIT, LOOSE, STRICT]

GOOD = "SN014_consent_v1.0_2026-11-24.pdf"

#: The name, the one that was meant, what is told, and what has to be looked at on the paper.
MEANT = [
    ("SN0O4_consent_v1.0_2026-11-24.pdf", "SN004_consent_v1.0_2026-11-24.pdf", [Kind.LETTER_FOR_DIGIT], ("004",)),
    ("SNOI4_consent_v1.0_2026-11-24.pdf", "SN014_consent_v1.0_2026-11-24.pdf", [Kind.LETTER_FOR_DIGIT] * 2, ("014",)),
    ("SN014_consent_v1.0_2026-11-24 .pdf", GOOD, [Kind.SPACE_BEFORE_ENDING], ()),
    ("SN014_consent_v1.0_2026-11-24. pdf", GOOD, [Kind.SPACE_BEFORE_ENDING], ()),
    ("SN014_consent_v1.0_2026-11-24.pdf ", GOOD, [Kind.SPACE_AT_END], ()),
    (" SN014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.SPACE_AT_START], ()),
    ("SN014_consent_v1.0_2026-11-24 (1).pdf", GOOD, [Kind.COPY], ()),
    ("SN014_consent_v1.0_2026-11-24(12).pdf", GOOD, [Kind.COPY], ()),
    ("Copy of SN014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.COPY], ()),
    ("Copy (2) of SN014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.COPY], ()),
    ("SN014_consent_v1.0_2026-11-24 - Copy.pdf", GOOD, [Kind.COPY], ()),
    ("SN014_consent_v1.0_2026-11-24 - Copy (3).pdf", GOOD, [Kind.COPY], ()),
    ("SN014_consent_v1.0_2026-11-24 - Kopie.pdf", GOOD, [Kind.COPY], ()),
    ("Kopie von SN014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.COPY], ()),
    ("SN014_consent_v1.0_2026-11-24 - Copie.pdf", GOOD, [Kind.COPY], ()),
    ("Copia de SN014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.COPY], ()),
    ("SN014_consent_v1.0_2026-11-24 - Copy - Copy.pdf", GOOD, [Kind.COPY] * 2, ()),
    ("SN014_consent_v1.0_2026-11-24 copy 2.pdf", GOOD, [Kind.COPY], ()),
    ("SN014_consent_v1.0_2026-11-24.pdf.pdf", GOOD, [Kind.ENDING_TWICE], ()),
    ("SN014_consent_v1.0_2026-11-24.pdf.PDF", "SN014_consent_v1.0_2026-11-24.pdf", [Kind.ENDING_TWICE], ()),
    ("SN014_consent_v1.0_2026-11-24 (1).pdf.pdf", GOOD, [Kind.COPY, Kind.ENDING_TWICE], ()),
    ("SN014_consent_v1.0\u00a0_2026-11-24.pdf", GOOD, [Kind.ODD_SPACE], ()),
    ("SN014_consent_v1.0_2026-11-24\u2009.pdf", GOOD, [Kind.ODD_SPACE], ()),
    ("SN014_con\u200bsent_v1.0_2026-11-24.pdf", GOOD, [Kind.HIDDEN], ()),
    ("\ufeffSN014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.HIDDEN], ()),
    ("SN014_consent_v1.0_2026-11-24.pdf\n", GOOD, [Kind.HIDDEN], ()),
    ("SN014 _consent_v1.0_2026-11-24.pdf", GOOD, [Kind.SPACE], ()),
    ("SN014-consent-v1.0-2026-11-24.pdf", GOOD, [Kind.SEPARATOR] * 3, ()),
    ("SN014 consent v1.0 2026-11-24.pdf", GOOD, [Kind.SPACE] * 3, ()),
    ("SN014_consent_v1,0_2026-11-24.pdf", GOOD, [Kind.SEPARATOR], ()),
    ("SN014\u2013consent_v1.0_2026-11-24.pdf", GOOD, [Kind.SEPARATOR], ()),
    ("SN014__consent_v1.0_2026-11-24.pdf", GOOD, [Kind.EXTRA], ()),
    ("SN014consent_v1.0_2026-11-24.pdf", GOOD, [Kind.MISSING], ()),
    ("SN014_consnet_v1.0_2026-11-24.pdf", GOOD, [Kind.TYPO], ()),
    ("SN014_cosent_v1.0_2026-11-24.pdf", GOOD, [Kind.TYPO], ()),
    ("SN014_c\u043ensent_v1.0_2026-11-24.pdf", GOOD, [Kind.LOOK_ALIKE], ()),
    ("S\u039d014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.LOOK_ALIKE], ()),
    ("SN\uff1014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.LOOK_ALIKE], ("014",)),
    ("SN014_consent_v1.0_24.11.2026.pdf", GOOD, [Kind.DATE_ORDER], ()),
    ("SN014_consent_v1.0_24-11-2026.pdf", GOOD, [Kind.DATE_ORDER], ()),
    ("SN014_consent_v1.0_11-24-2026.pdf", GOOD, [Kind.DATE_ORDER], ()),
    ("SN014_consent_v1.0_24112026.pdf", GOOD, [Kind.DATE_ORDER], ()),
    ("SN014_consent_v1.0_2026-24-11.pdf", GOOD, [Kind.DATE_ORDER], ()),
    ("SN014_consent_v1.0_2026_11_24.pdf", GOOD, [Kind.DATE_FORM], ()),
    ("SN014_consent_v1.0_2026-11-4.pdf", "SN014_consent_v1.0_2026-11-04.pdf", [Kind.DATE_FORM], ()),
    ("SN014_consent_v1.0_24Nov2026.pdf", GOOD, [Kind.DATE_FORM], ()),
    ("SN014_consent_v1.0_24-Oct-2026.pdf", "SN014_consent_v1.0_2026-10-24.pdf", [Kind.DATE_FORM], ()),
    ("SN014_consent_v1.0_2O26-11-24.pdf", GOOD, [Kind.LETTER_FOR_DIGIT], ("2026-11-24",)),
    ("SN14_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.ZEROS], ("014",)),
    ("SN4_consent_v1.0_2026-11-24.pdf", "SN004_consent_v1.0_2026-11-24.pdf", [Kind.ZEROS], ("004",)),
    ("SN014_consent_v1.O_2026-11-24.pdf", GOOD, [Kind.LETTER_FOR_DIGIT], ("1.0",)),
    ("SN014_consent_v1.0_2026-11-24.pfd", GOOD, [Kind.TYPO], ()),
    ("101_Vl_scan.jpg", "101_V1_scan.jpg", [Kind.LETTER_FOR_DIGIT], ("V1",)),
    ("101_LB_scan.jpg", "101_BL_scan.jpg", [Kind.TYPO], ("BL",)),
    ("101_V1_scan.jpeg", "101_V1_scan.jpg", [Kind.TYPO], ()),
    ("sub/101-V1-scan.jpg", "101_V1_scan.jpg", [Kind.SEPARATOR] * 2, ()),
    ("p1234-ECG.edf", "P1234-ECG.edf", [Kind.CASE], ()),
    ("P1234-ecg.edf", "P1234-ECG.edf", [Kind.CASE], ()),
    ("_SN014_consent_v1.0_2026-11-24.pdf", GOOD, [Kind.EXTRA], ()),
    ("- SN014-consent_v1.0_2026-11-24.pdf", GOOD, [Kind.EXTRA, Kind.SEPARATOR], ()),
    ("V1_101_scan.jpg", "101_V1_scan.jpg", [Kind.ORDER], ("101_V1",)),
    ("101_scan_V1.jpg", "101_V1_scan.jpg", [Kind.ORDER], ("V1_scan",)),
    ("101_V1_leter.pdf", "101_V1_letter.pdf", [Kind.TYPO], ()),
    ("101_V1_letter_O2.pdf", "101_V1_letter_02.pdf", [Kind.LETTER_FOR_DIGIT], ("02",)),
    ("101_Vl_letter.pdf", "101_V1_letter.pdf", [Kind.LETTER_FOR_DIGIT], ("V1",)),
]
#: The name and what is told of it: no name can be suggested.
UNSURE = [
    ("SN014_consent_v1.0_03.11.2026.pdf", [Kind.TWO_DAYS]),
    ("SN014_consent_v1.0_2026-11-31.pdf", [Kind.NO_SUCH_DAY]),
    ("SN014_consent_v1.0_24.11.26.pdf", [Kind.NO_DATE]),
    ("SN014_consent_v1.0_today.pdf", [Kind.NO_DATE]),
    ("SN014_consent_v4.0_2026-11-24.pdf", [Kind.NO_SUCH_WORD]),
    ("101_V3_scan.jpg", [Kind.NO_SUCH_WORD]),
    ("101_V3_letter.pdf", [Kind.NO_SUCH_WORD]),
    ("SN0014_consent_v1.0_2026-11-24.pdf", [Kind.TOO_MANY]),
    ("SNabc_consent_v1.0_2026-11-24.pdf", [Kind.CHARACTERS]),
    ("SN014_consent_v1.0_2026-11-24.docx", [Kind.OTHER_KIND]),
    ("SN014_consent_v1.0_2026-11-24.jpg", [Kind.OTHER_KIND]),
    ("SN014_consent_v1.0_2026-11-24", [Kind.NO_ENDING]),
    ("SN014_consent_v1.0_2026-11-24.pdf.txt", [Kind.EXTRA]),
    ("SN014_consent_v1.0_2026-11-24.pdf~tmp", [Kind.EXTRA]),
    ("SN014_consent_v1.0_2026-11-24.pdf.crdownload", [Kind.EXTRA]),
    ("scan0001.pdf", [Kind.NOT_LIKE]),
    ("holiday.jpg", [Kind.NOT_LIKE]),
    ("minutes.docx", [Kind.NOT_LIKE, Kind.OTHER_KIND]),
    ("SN014_\udce9_consent.pdf", [Kind.NOT_TEXT]),
]


@pytest.mark.parametrize(("name", "meant", "kinds", "checks"), MEANT)
def test_the_name_that_was_meant(name: str, meant: str, kinds: list[Kind], checks: tuple[str, ...]) -> None:
    told = diagnose(RULES, "consents", name)
    assert (told.suggestion, [one.kind for one in told.findings], told.checks) == (meant, kinds, checks)


@pytest.mark.parametrize(("name", "kinds"), UNSURE)
def test_where_nobody_can_tell(name: str, kinds: list[Kind]) -> None:
    told = diagnose(RULES, "consents", name)
    assert (told.suggestion, [one.kind for one in told.findings]) == (None, kinds)


def test_where_the_wrong_part_stands() -> None:
    def marked(name: str) -> list[str]:
        return [name[one.start : one.end] for one in diagnose(RULES, "consents", name).findings]

    assert marked("SN0O4_consent_v1.0_2026-11-24.pdf") == ["O"]
    assert marked("SN014_consnet_v1.0_2026-11-24.pdf") == ["consnet"]
    assert marked("Copy of SN014_consent_v1.0_2026-11-24.pdf") == ["Copy of "]
    assert marked("SN014_consent_v4.0_2026-11-24.pdf") == ["4.0"]
    assert marked("SN014_consent_v1.0_2026-11-24.docx") == ["docx"]
    assert marked("SN014_conse\u0301nt_v1.0_2026-11-24.pdf") == ["conse\u0301nt"]  # composed, it is shorter
    assert marked("scan0001.pdf") == ["scan0001"]
    assert marked("SN014_consent_v1.0_2026-11-24.pdf.part") == [".part"]


def test_another_word_is_no_slip_of_the_keys() -> None:
    """`lab` is not missing before a word that a wildcard would take, nor is `con` a `scan`."""
    rules = [rule("{record:digits}_consent.pdf"), rule("{record:digits}_lab*.pdf"), rule("{record:digits}_scan*.*")]
    for name, word in (
        ("101_Einverst\u00e4ndnis.pdf", "Einverst\u00e4ndnis"),
        ("101_con.bmp", "con"),
        ("101_letter.pdf", "letter"),
    ):
        told = diagnose(rules, "f", name)
        assert (told.suggestion, [one.kind for one in told.findings]) == (None, [Kind.NOT_LIKE]), name
        assert [name[one.start : one.end] for one in told.findings] == [word]


def test_two_that_are_equally_near_are_both_named() -> None:
    rules = [rule("{record:digits}_{kind:V1|VI|form|farm}.pdf")]
    told = diagnose(rules, "f", "101_Vl.pdf")
    assert (told.suggestion, sorted(told.candidates)) == (None, ["101_V1.pdf", "101_VI.pdf"])
    (word,) = diagnose(rules, "f", "101_fxrm.pdf").findings
    assert (word.kind, word.words) == (Kind.NO_SUCH_WORD, ("V1", "VI", "farm", "form"))
    told = diagnose(RULES, "f", "SN014_consent_v1.0_03.11.2026.pdf")
    assert told.candidates == ("SN014_consent_v1.0_2026-11-03.pdf", "SN014_consent_v1.0_2026-03-11.pdf")


def test_what_the_name_may_not_become() -> None:
    """A suggestion that the folder's first rule would send elsewhere, or that lies in another folder, is none."""
    catch = rule("SN014_consent_v1.0_*.pdf.txt", record="1")
    assert diagnose([catch, CONSENT], "f", "SN014-consent-v1.0-2026-11-24.pdf").suggestion == GOOD
    shadow = rule("[x]{record:digits}_{rest:any}.jpg")
    assert diagnose([shadow, VISIT], "f", "1O1_V1_scan.jpg").suggestion == "101_V1_scan.jpg"
    whole = rule("{site:north|south}/{record:digits}.pdf")
    assert diagnose([whole], "f", "north/1O1.pdf").suggestion == "101.pdf"
    assert diagnose([whole], "f", "nroth/101.pdf").suggestion is None
    assert diagnose([rule(r"(?P<record>[0-9]+)\.pdf", regex=True)], "f", "101 (1).pdf").suggestion == "101.pdf"


HOSTILE = [
    *("a" * 255, "_" * 255, "1" * 255, "O" * 255, " " * 255, "1O" * 127, "-_" * 127, "(1)" * 85, ".pdf" * 63, "Copy of " * 31),
    *("2026-11-30" * 25, "V1_" * 85, "\u0661" * 127, "\u043e" * 127, "e\u0301" * 85, "\u200b" * 85, "W00001_" * 36, "", "."),
]


def test_a_hostile_name_costs_little() -> None:
    sets = [
        [rule("{record}_{a}_{b}_{c}_{d:any}*{visit:visits}*.pdf")],
        [rule("[[a]{a:digits}][_{b:letters}][-{c:word}][_{d:alnum(1-9)}]{record:word}_{v:visits}_x*_*.pdf")],
        [rule("{record:many}_{visit:many}_scan.pdf")],
        [rule(f"{{record:digits(4)}}_{{v:visits}}_form{number}_{{d:date}}[_p{{n:digits}}].pdf") for number in range(60)],
    ]
    for rules in sets:
        diagnose(rules, "f", "101_V1_scan.pdf")  # what is made once
        for name in HOSTILE:
            began = time.thread_time()
            diagnose(rules, "f", name)
            assert time.thread_time() - began < 0.1, name  # 5 to 20 ms on a machine with nothing else to do


_PIECES = st.sampled_from(
    [*"SN014_consent_v1.0_2026-11-24.pdf", *" Ol-\u00a0\u043e\u200b", " (1)", ".pdf", "Copy of ", "e\u0301"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=40).map("".join) | st.text(max_size=60))
def test_of_any_name(name: str) -> None:
    name = name.replace("/", "").replace("\0", "")
    told = diagnose(RULES, "consents", name)
    for one in told.findings:
        assert 0 <= one.start <= one.end <= len(name)
    for meant in (told.suggestion, *told.candidates):
        if meant is not None:
            assert isinstance(route(RULES, "consents", meant), Route)
            assert "/" not in meant
            assert told.findings


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.sampled_from("0123456789"))
def test_a_wrong_digit_is_never_put_right(at: int, digit: str) -> None:
    """Which digit was meant is on the paper alone: a suggestion keeps those that are there."""
    name = GOOD[:at] + digit + GOOD[at + 1 :]
    meant = diagnose(RULES, "consents", name).suggestion
    if meant is not None and not isinstance(route(RULES, "consents", name), Route):
        assert Counter(filter(str.isdigit, name)) <= Counter(filter(str.isdigit, meant))


def test_examples_are_names_that_their_rules_take() -> None:
    assert example(CONSENT, RULES, "f") == "SN001_consent_v1.0_2026-11-25.pdf"
    assert example(VISIT, RULES, "f") == "101_BL_scan.jpg"
    assert example(LOOSE, RULES, "f") == "101_BL_letter.pdf"
    assert example(CONSENT, [rule("SN{record:any}.pdf"), CONSENT], "f") == ""  # the rule before takes all names like this one
    assert example(rule(r"(?P<record>\d+)", regex=True), [rule(r"(?P<record>\d+)", regex=True)], "f") == ""
    assert examples([*RULES, rule("x{record}", example="x7")], "f") == [
        *("SN001_consent_v1.0_2026-11-25.pdf", "101_BL_scan.jpg", "101_BL_letter.pdf", "P0001-ECG.edf", "x7")
    ]
    scan = rule("{record:digits}_scan*.*")
    assert example(scan, [scan], "f") == "101_scan.pdf"
    for one in (rule("{a:letters(3)}-{b:alnum(4)}_{c:word}*.{record:digits(2-4)}?"), rule("{x:many}{record}.{e:any}")):
        assert isinstance(route([one], "f", example(one, [one], "f")), Route)
