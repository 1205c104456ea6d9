"""From a name to a target, or to the reason why there is none."""

from __future__ import annotations

import pytest

from dropcap.routing.pattern import compile_pattern, compile_regex
from dropcap.routing.route import NoRoute, Route, ignored, nearest, route
from dropcap.routing.rule import NEXT, Rule, compile_template

TABLES = {"visits": {"V1": "baseline_arm_1", "V2": "month_6_arm_1"}}


def rule(name: str, pattern: str, field: str = "consent_pdf", **templates: str | dict[str, str]) -> Rule:
    compiled = compile_pattern(pattern, TABLES)

    def made(value: str | dict[str, str]) -> object:
        if isinstance(value, dict):
            return {key: compile_template(text, TABLES, compiled.captures) for key, text in value.items()}
        return compile_template(value, TABLES, compiled.captures)

    return Rule(name, compiled, field=made(field), **{key: made(value) for key, value in templates.items()})  # type: ignore[arg-type]


CONSENT = rule("consent", "{record:digits}_{visit}_consent.pdf", record="{record}", event="{visit|visits}")
SCAN = rule("scan", "{record}_scan[_{n:digits}].tif", "scan", record="{record|upper}", instance="{n}")
FIELD = rule("field", "{record}/{field}.{x}", "{field}", record="{record}", upload_as="{folder}-{stem}-{x}.{ext}")
WHERE = rule("where", "mrn{mrn:digits}.pdf", record_where={"mrn": "{mrn|strip0}"}, must_match={"site": "n"}, instance="next")
RULES = [CONSENT, SCAN, FIELD, WHERE]


def test_the_target() -> None:
    found = route(RULES, "consents", "north/0101_v2_Consent.pdf")
    assert isinstance(found, Route)
    assert found.rule is CONSENT
    assert found.captures == {"record": "0101", "visit": "v2"}
    target = found.target
    assert (target.record, target.event, target.field, target.instance) == ("0101", "month_6_arm_1", "consent_pdf", None)
    assert target.upload_as == "0101_v2_Consent.pdf"
    assert target.record_is_typed


def test_templates_of_all_kinds() -> None:
    found = route(RULES, "inbox", "a7/photo.jpg")
    assert isinstance(found, Route)
    assert (found.target.record, found.target.field) == ("a7", "photo")
    assert found.target.upload_as == "inbox-photo-jpg.jpg"
    assert not found.target.record_is_typed
    found = route(RULES, "inbox", "ab_scan_007.tif")
    assert isinstance(found, Route)
    assert (found.target.record, found.target.instance) == ("AB", 7)
    found = route(RULES, "inbox", "MRN007.pdf")
    assert isinstance(found, Route)
    assert (found.target.record, found.target.record_where, found.target.must_match) == ("", {"mrn": "7"}, {"site": "n"})
    assert found.target.instance == NEXT


def test_the_first_rule_that_matches_decides() -> None:
    wide = rule("wide", "{record}_{rest:any}.pdf", "other", record="{record}")
    answer = route([CONSENT, wide], "f", "101_V9_consent.pdf")
    assert isinstance(answer, NoRoute)  # and not the way of `wide`
    assert (answer.reason, answer.rule) == ("bad_value", CONSENT)
    found = route([wide, CONSENT], "f", "101_V1_consent.pdf")
    assert isinstance(found, Route)
    assert found.rule is wide


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("101_V9_consent.pdf", "rule `consent`: event: the table `visits` has no `V9`; it has V1, V2"),
        ("a_scan.tif", "instance comes out empty"),
        ("a_scan_0.tif", "instance comes out as `0`"),
        ("a_scan_32768.tif", "not a number from 1 to 32767"),
        ("a_scan_" + "9" * 200 + ".tif", "not a number"),
        (" a_scan_1.tif", "space at an end"),
        ("a\n_scan_1.tif", "control character"),
        ("a\x07b_scan_1.tif", "the name `a\\x07b_scan_1.tif` has a control character"),
        ("r/Photo.jpg", "field comes out as `Photo`"),
        ("r/a b.jpg", "field comes out as `a b`"),
    ],
)
def test_bad_values(name: str, message: str) -> None:
    answer = route(RULES, "f", name)
    assert isinstance(answer, NoRoute)
    assert answer.reason == "bad_value"
    assert message in answer.message
    assert answer.remedy


def test_a_name_that_says_next_is_no_number() -> None:
    loose = rule("loose", "{record}_{n}.pdf", record="{record}", instance="{n}")
    answer = route([loose], "f", "1_next.pdf")
    assert isinstance(answer, NoRoute)
    assert answer.reason == "bad_value"


def test_no_rule_names_the_nearest() -> None:
    answer = route(RULES, "f", "101_V1_consnet.pdf")
    assert isinstance(answer, NoRoute)
    assert (answer.reason, answer.rule) == ("no_rule", None)
    assert "rule `consent` matches `101_V1_cons`, then expects `ent.pdf`, but finds `net`" in answer.message


def test_a_name_that_is_not_utf8() -> None:
    answer = route(RULES, "f", "101_V1_c\udce9.pdf")
    assert isinstance(answer, NoRoute)
    assert answer.reason == "no_rule"
    assert "\\xe9" in answer.message
    assert "rename" in answer.remedy
    assert nearest(RULES, "\udce9") is None


@pytest.mark.parametrize(
    ("pattern", "name", "position", "expected", "found"),
    [
        ("{r:digits}_c.pdf", "101_x.pdf", 4, "`c.pdf`", "x"),
        ("{r:digits}_c.pdf", "x.pdf", 0, "digits for {r}", "x"),
        ("{r:digits}_c.pdf", "sub/101_x.pdf", 8, "`c.pdf`", "x"),
        ("s/{r:digits}", "t/1", 0, "`s/`", "t"),
        ("{r:digits}_c.pdf", "101", 3, "`_c.pdf`", ""),
        ("{r:digits}_c.pdf", "101_c.pdf.bak", 9, "the end of the name", "."),
        ("{r:digits(4)}_c", "12_c", 2, "2 more digits for {r}", "_"),
        ("{r:digits(4)}_c", "x_c", 0, "4 digits for {r}", "x"),
        ("{r:digits(2-4)}_c", "x_c", 0, "2 to 4 digits for {r}", "x"),
        ("{r:digits(4)}_c", "12345_c", 4, "`_c`", "5"),
        ("{r:digits}_{d:date}", "1_2026-11-31", 2, "a day that exists", "2026-11-31"),
        ("{v:visits}_c", "V3_c", 0, "a word of the table `visits` (V1, V2) for {v}", "V3"),
        ("{v:x|y}_c", "z_c", 0, "one of x, y for {v}", "z"),
        ("a?", "a", 1, "a character", ""),
        ("{r}_c", "_c", 0, "one or more characters for {r}", "_"),
        ("*{r:digits}.pdf", "scan.pdf", 8, "digits for {r}", ""),
        ("scan*{r:digits(4)}.pdf", "scan12.pdf", 6, "2 more digits", "."),
        ("e\u0301{r:digits}", "e\u0301x", 1, "digits for {r}", "x"),
    ],
)
def test_nearest(pattern: str, name: str, position: int, expected: str, found: str) -> None:
    near = nearest([rule("only", pattern)], name)
    assert (near.position, near.found) == (position, found)
    assert expected in near.expected
    assert near.message.startswith("rule `only` ")


def test_the_rule_that_goes_furthest_is_the_nearest() -> None:
    near = nearest(RULES, "101_V1_consents.pdf")
    assert near.rule is CONSENT
    near = nearest(RULES, "mrnX.pdf")
    assert near.rule is WHERE


def test_regular_expressions_give_no_place() -> None:
    only = Rule("r", compile_regex("x"), field=compile_template("f", {}, ()))
    assert nearest([only], "y") is None
    answer = route([only], "f", "y")
    assert isinstance(answer, NoRoute)
    assert answer.message == "no rule matches `y`"


# Names that are no dropped files


@pytest.mark.parametrize(
    "name",
    [
        ".hidden", ".dropcap", "~$letter.docx", "a.tmp", "A.TMP", "a.part", "a.partial", "a.filepart", "a.crdownload",
        "a.download", ".a.swp", "a.lock", "a.pdf~", "Thumbs.db", "thumbs.DB", "desktop.ini", "_STATUS.html",
        "System Volume Information", "$RECYCLE.BIN", "lost+found", "@eaDir", "@eaDir/a.pdf", ".git/a.pdf", "sub/a.tmp",
        "sub/.x/a.pdf",
    ],
)  # fmt: skip
def test_ignored(name: str) -> None:
    assert ignored(name, ())


@pytest.mark.parametrize("name", ["a.pdf", "tmp", "a.tmp.pdf", "sub/a.pdf", "$a", "status.html", "part", "\udc80", ""])
def test_taken(name: str) -> None:
    assert ignored(name, ()) is None


@pytest.mark.parametrize(
    ("glob", "name", "expected"),
    [
        ("*.log", "a.LOG", True),
        ("*.log", "sub/a.log", True),
        ("sub/*", "sub/a.pdf", True),
        ("sub/*", "a.pdf", False),
        ("caf\u00e9*", "cafe\u0301.pdf", True),
        ("[", "[", True),
        ("draft-??.pdf", "draft-01.pdf", True),
    ],
)
def test_globs(glob: str, name: str, expected: bool) -> None:
    reason = ignored(name, [glob])
    assert (reason is not None) is expected
    assert not expected or f"`{glob}`" in str(reason)
