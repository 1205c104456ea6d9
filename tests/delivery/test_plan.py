"""What to do with a file: the whole table."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest

from dropcap.delivery.plan import (
    Create,
    Facts,
    Send,
    Step,
    agree,
    export_reasons,
    lookup_reasons,
    needs_lookup,
    newly_listed,
    plan,
    record_wait,
    waited_long_enough,
)
from dropcap.ledger.job import Held, Refused, WaitForRecord
from dropcap.routing.pattern import compile_pattern
from dropcap.routing.route import Route, route
from dropcap.routing.rule import (
    NEXT,
    Confirm,
    ExistingFile,
    MissingRecord,
    Rule,
    RuleSettings,
    Target,
    Template,
    compile_template,
)

PLAIN = Target(field="f", record="101", event="e")
TYPED = Target(field="f", record="101", event="e", record_is_typed=True)
WHERE = Target(field="f", event="e", record_where={"mrn": "7"})
NUMBERED = Target(field="f", record="101", event="e", instance=3)
NEXT_ONE = Target(field="f", record="101", event="e", instance=NEXT)
DEFAULT = RuleSettings()
REPLACE = RuleSettings(existing_file=ExistingFile.REPLACE)
LISTED = RuleSettings(existing_file=ExistingFile.REPLACE, confirm=Confirm.LISTED)
SUGGEST = RuleSettings(suggest_records=True)
WAIT = RuleSettings(missing_record=MissingRecord.WAIT)
CREATE = RuleSettings(missing_record=MissingRecord.CREATE)


@pytest.mark.parametrize(
    ("target", "settings", "facts", "step"),
    [
        (PLAIN, DEFAULT, Facts("101"), Send("101", "e", "f", None, look=True)),
        (PLAIN, DEFAULT, Facts("101", shows="x"), Send("101", "e", "f", None, look=True, shows="x")),
        (WHERE, DEFAULT, Facts("55"), Send("55", "e", "f", None, look=True)),
        (NUMBERED, DEFAULT, Facts("101", shows="7"), Send("101", "e", "f", 3, look=True, shows="7")),
        (NEXT_ONE, DEFAULT, Facts("101", next_instance=4), Send("101", "e", "f", 4, look=True, chosen=True)),
        (PLAIN, REPLACE, Facts("101"), Send("101", "e", "f", None, look=False)),
        (PLAIN, REPLACE, Facts("101", shows="x"), Send("101", "e", "f", None, look=True, shows="x")),
        (PLAIN, REPLACE, Facts("101", untold=("f",)), Send("101", "e", "f", None, look=False)),
        (NEXT_ONE, REPLACE, Facts("101", next_instance=4), Send("101", "e", "f", 4, look=True, chosen=True)),
        (TYPED, CREATE, Facts(None), Create("101", "e")),
    ],
)
def test_steps(target: Target, settings: RuleSettings, facts: Facts, step: Step) -> None:
    assert plan(target, settings, facts) == step


@pytest.mark.parametrize(
    ("target", "settings", "facts", "reason", "shows"),
    [
        (PLAIN, DEFAULT, Facts(None), "no_record", "`101`"),
        (PLAIN, CREATE, Facts(None), "no_record", "`101`"),
        (WHERE, CREATE, Facts(None), "no_record", "mrn = `7`"),
        (PLAIN, WAIT, Facts(None, similar=("0101",)), "record_differs", "`101`, but it has one"),
        (TYPED, CREATE, Facts(None, similar=("0101",)), "record_differs", "`101`, but it has one"),
        (PLAIN, SUGGEST, Facts(None, similar=("0101", "00101")), "record_differs", "`0101`, `00101`"),
        (PLAIN, SUGGEST, Facts("1O1"), "record_differs", "`1O1`"),
        (WHERE, DEFAULT, Facts(None, several=2), "several_records", "2 records"),
        (PLAIN, DEFAULT, Facts("101", differing=("initials",)), "mismatch", "initials"),
    ],
)
def test_refusals(target: Target, settings: RuleSettings, facts: Facts, reason: str, shows: str) -> None:
    step = plan(target, settings, facts)
    assert isinstance(step, Refused)
    assert step.reason == reason
    assert shows in step.message
    assert step.remedy


@pytest.mark.parametrize("there", [Facts(None, similar=("0101",)), Facts("1O1")])
def test_a_near_name_is_told_only_if_asked_for(there: Facts) -> None:
    step = plan(PLAIN, DEFAULT, there)
    assert isinstance(step, Refused)
    assert step.reason == "record_differs"
    assert not {"0101", "1O1"} & set(re.findall(r"\w+", step.message + step.remedy))


MATCHING = Target(field="f", record="101", event="e", must_match={"initials": "AB"})


def test_after_too_many_mismatches_a_file_that_agrees_waits_like_one_that_does_not() -> None:
    right, wrong = Facts("101"), Facts("101", differing=("initials",))
    held = plan(MATCHING, DEFAULT, right, guessed=True)
    assert isinstance(held, Held)
    assert held.reason == "too_many_mismatches"
    assert plan(MATCHING, DEFAULT, wrong, guessed=True) == held
    assert isinstance(plan(MATCHING, DEFAULT, right), Send)
    assert isinstance(plan(PLAIN, DEFAULT, right, guessed=True), Send), "a rule without must_match tells nothing"
    assert isinstance(plan(MATCHING, DEFAULT, right, sent_before=True, guessed=True), Send), "it agreed before it was sent"
    # What is told of a record that is not there, or not to be seen, is told as before.
    for facts in (Facts(None), Facts(None, several=2), Facts("1O1"), Facts("101", untold=("initials",))):
        assert plan(MATCHING, DEFAULT, facts, guessed=True) == plan(MATCHING, DEFAULT, facts)


@pytest.mark.parametrize(
    ("target", "settings", "untold"),
    [
        (PLAIN, DEFAULT, "f"),
        (NEXT_ONE, REPLACE, "f"),
        (PLAIN, LISTED, "f"),
        (Target(field="f", record="101", event="e", must_match={"dob": "1"}), REPLACE, "dob"),
        (Target(field="f", event="e", record_where={"mrn": "1"}), REPLACE, "mrn"),
    ],
)
def test_a_field_that_the_token_may_not_see_holds_the_file(target: Target, settings: RuleSettings, untold: str) -> None:
    step = plan(target, settings, Facts("101", next_instance=2, untold=(untold,), differing=(untold,)))
    assert isinstance(step, Held)
    assert step.reason == "rights"
    assert f"`{untold}`" in step.message


def test_what_may_have_arrived_is_read_back_though_the_field_is_not_told() -> None:
    assert isinstance(plan(PLAIN, DEFAULT, Facts("101", untold=("f",)), sent_before=True), Send)


def test_a_missing_record_is_waited_for_if_asked() -> None:
    week, day = 7 * 86400.0, 86400.0
    for target in (PLAIN, WHERE):
        for facts, settings, seconds in [
            (Facts(None), WAIT, week),
            (Facts(None, doubted=True), WAIT, week),
            (Facts(None, doubted=True), DEFAULT, day),
            (Facts(None, doubted=True), CREATE, day),
        ]:
            step = plan(target, settings, facts)
            assert isinstance(step, WaitForRecord)
            assert (step.seconds, step.doubted) == (seconds, facts.doubted)
    assert [record_wait(n) for n in range(1, 7)] == [60, 300, 900, 3600, 3600, 3600]


def test_an_instance_that_may_have_been_sent_to_is_kept() -> None:
    step = plan(NEXT_ONE, DEFAULT, Facts("101", next_instance=9), fixed_instance=4, sent_before=True)
    assert step == Send("101", "e", "f", 4, look=True)


def test_without_a_kept_instance_a_new_one_is_chosen() -> None:
    step = plan(NEXT_ONE, DEFAULT, Facts("101", next_instance=5), sent_before=True)
    assert step == Send("101", "e", "f", 5, look=True, chosen=True)


@pytest.mark.parametrize(
    ("target", "settings", "asked"),
    [
        (PLAIN, RuleSettings(existing_file=ExistingFile.REPLACE), False),
        (PLAIN, RuleSettings(existing_file=ExistingFile.REPLACE, confirm=Confirm.NONE), False),
        (PLAIN, DEFAULT, True),
        (PLAIN, RuleSettings(existing_file=ExistingFile.REFUSE), True),
        (WHERE, RuleSettings(existing_file=ExistingFile.REPLACE), True),
        (PLAIN, RuleSettings(existing_file=ExistingFile.REPLACE, confirm=Confirm.LISTED), True),
        (NEXT_ONE, RuleSettings(existing_file=ExistingFile.REPLACE), True),
        (PLAIN, RuleSettings(existing_file=ExistingFile.REPLACE, missing_record=MissingRecord.WAIT), True),
        (Target(field="f", record="1", must_match={"a": "b"}), RuleSettings(existing_file=ExistingFile.REPLACE), True),
    ],
)
def test_who_must_be_looked_up(target: Target, settings: RuleSettings, asked: bool) -> None:
    assert needs_lookup(target, settings) is asked


@pytest.mark.parametrize("settings", [RuleSettings(*one) for one in product(ExistingFile, Confirm, MissingRecord)], ids=str)
@pytest.mark.parametrize(
    "more",
    [{}, {"instance": "next"}, {"instance": "2"}, {"record_where": {"mrn": "{r}"}}, {"must_match": {"initials": "{r}"}}],
    ids=str,
)
def test_a_rule_and_its_files_need_the_same(settings: RuleSettings, more: dict[str, Any]) -> None:
    pattern = compile_pattern("{r}.pdf", {})

    def template(text: str) -> Template:
        return compile_template(text, {}, pattern.captures)

    templates = {
        key: {name: template(text) for name, text in value.items()} if isinstance(value, dict) else template(value)
        for key, value in more.items()
    }
    record = None if "record_where" in more else template("{r}")
    rule = Rule("r", pattern, template("f"), record, settings=settings, **templates)
    found = route((rule,), "drop", "101.pdf")
    assert isinstance(found, Route)
    assert needs_lookup(found.target, settings) is bool(lookup_reasons(rule))
    assert (settings.confirm is Confirm.READBACK or bool(lookup_reasons(rule))) is bool(export_reasons(rule))


@pytest.mark.parametrize(
    ("values", "differing"),
    [
        ({"a": {"x"}}, ()),
        ({"a": {"x", ""}}, ()),
        ({"a": {" x "}}, ()),
        ({"a": {"y"}}, ("a",)),
        ({"a": {"x", "y"}}, ("a",)),
        ({"a": {""}}, ("a",)),
        ({}, ("a",)),
        ({"a": {"X"}}, ("a",)),
    ],
)
def test_what_agrees(values: dict[str, set[str]], differing: tuple[str, ...]) -> None:
    assert agree({"a": "x"}, values) == differing


@pytest.mark.parametrize(
    ("wanted", "there", "same"),
    [
        ("20261124", {"2026-11-24"}, True),
        ("2026-11-24", {"2026-11-24", ""}, True),
        ("20261124", {"20261124"}, True),
        ("20261124", {"20261124", "2026-11-24"}, False),
        ("20261124", {"2026-11-25"}, False),
        ("20261324", {"2026-13-24"}, False),
        ("20261124", set(), False),
        ("", {""}, False),
    ],
)
def test_a_day_agrees_however_the_name_writes_it(wanted: str, there: set[str], same: bool) -> None:
    assert agree({"a": wanted}, {"a": there}) == (() if same else ("a",))


@pytest.mark.parametrize(
    ("before", "after", "listed"),
    [
        ("", "", False),
        ("", "[document]", True),
        ("[document]", "[document]", True),
        ("", "17", True),
        ("17", "18", True),
        ("17", "17", False),
        ("old.pdf", "new.pdf", True),
        ("old.pdf", "old.pdf", False),
        ("new.pdf", "new.pdf", True),
        ("17", "", False),
    ],
)
def test_what_counts_as_listed(before: str, after: str, listed: bool) -> None:
    assert newly_listed(before, after, "new.pdf") is listed


@pytest.mark.parametrize(
    ("lookups", "days", "over"),
    [
        (1, 400.0, False),  # the clock was set ahead
        (100, 8.0, False),
        (400, 6.9, False),  # many reloads
        (171, 7.1, True),
        (2, 0.0, False),
    ],
)
def test_how_long_a_record_is_waited_for(lookups: int, days: float, over: bool) -> None:
    assert waited_long_enough(lookups, days * 86400.0) is over
