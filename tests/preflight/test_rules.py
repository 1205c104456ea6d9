"""Rules against a project's structure: a table of what can be wrong, and that nothing right is complained about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dropcap.config.model import Folder, Project
from dropcap.config.secrets import TokenSource
from dropcap.delivery.plan import contradiction
from dropcap.preflight.remark import Remark
from dropcap.preflight.rules import inspect
from dropcap.redcap.client import EventInfo, FieldInfo, Mapping, ProjectInfo, ProjectStructure, Repeating, Rights
from dropcap.routing.pattern import compile_pattern
from dropcap.routing.rule import Confirm, ExistingFile, Rule, RuleSettings, Template, compile_template

TABLES = {
    "visits": {"V1": "baseline_arm_1", "V2": "month_6_arm_1"},
    "bad_visits": {"V1": "baseline_arm_1", "V9": "month_9_arm_1"},
    "docs": {"CF": "consent_pdf", "MR": "scan"},
    "paired": {"CF": "baseline_arm_1", "MR": "month_6_arm_1"},
    "default": {"CF": "consent_pdf", "*": "nothing"},
}
FIELDS = [
    FieldInfo("record_id", "demographics", "text"),
    FieldInfo("initials", "demographics", "text", identifier=True),
    FieldInfo("consent_pdf", "consent", "file", identifier=True),
    FieldInfo("signed", "consent", "file", "signature"),
    FieldInfo("scan", "imaging", "file"),
    FieldInfo("report", "reports", "file"),
]
FULL = Rights("robot", True, True, 1)


def structure(longitudinal: bool = True) -> ProjectStructure:
    project = ProjectInfo(42, "Trial", longitudinal, True)
    if not longitudinal:
        return ProjectStructure.of(project, FIELDS, [], [], [Repeating("", "reports")])
    return ProjectStructure.of(
        project,
        FIELDS,
        [EventInfo("baseline_arm_1"), EventInfo("month_6_arm_1"), EventInfo("unscheduled_arm_1")],
        [
            Mapping("baseline_arm_1", "consent"),
            Mapping("baseline_arm_1", "reports"),
            Mapping("month_6_arm_1", "imaging"),
            Mapping("unscheduled_arm_1", "imaging"),
        ],
        [Repeating("baseline_arm_1", "reports"), Repeating("unscheduled_arm_1", "")],
    )


def rule(pattern: str, settings: RuleSettings | None = None, **templates: Any) -> Rule:
    compiled = compile_pattern(pattern, TABLES)

    def template(text: str) -> Template:
        return compile_template(text, TABLES, compiled.captures)

    return Rule(
        "r",
        compiled,
        settings=settings or RuleSettings(),
        **{
            key: {name: template(text) for name, text in value.items()} if isinstance(value, dict) else template(value)
            for key, value in templates.items()
        },
    )


def findings(one: Rule, *, longitudinal: bool = True, rights: Rights | None = FULL, **more: Any) -> list[Remark]:
    folder = Folder("consents", Path("/nowhere"), "trial", (one,))
    return inspect(folder, structure(longitudinal), rights, more.get("project"))


@pytest.mark.parametrize(
    ("pattern", "templates", "longitudinal"),
    [
        ("{record}.pdf", {"field": "consent_pdf", "event": "baseline_arm_1"}, True),
        ("{record}_{d:docs}.pdf", {"field": "{d|docs}"}, False),
        ("{record}_{v}.pdf", {"field": "report", "event": "baseline_arm_1", "instance": "next"}, True),
        ("{record}.pdf", {"field": "scan", "event": "unscheduled_arm_1", "instance": "2"}, True),
        ("{record}.pdf", {"field": "scan", "event": "month_6_arm_1"}, True),
        # The field and the event hang on the same word, and are only combined as they occur.
        ("{record}_{w:CF|MR}.pdf", {"field": "{w|docs}", "event": "{w|paired}"}, True),
        ("{record}_{field}_{event}.pdf", {"field": "{field}", "event": "{event}"}, True),
    ],
)
def test_nothing_right_is_complained_about(pattern: str, templates: dict[str, str], longitudinal: bool) -> None:
    assert findings(rule(pattern, **templates), longitudinal=longitudinal) == []


@pytest.mark.parametrize(
    ("pattern", "templates", "longitudinal", "key", "words", "remedy"),
    [
        ("{r}.pdf", {"field": "consent_pfd"}, False, "field", "no field consent_pfd", "did you mean consent_pdf?"),
        ("{r}.pdf", {"field": "zzz"}, False, "field", "no field zzz", "consent_pdf, scan, report"),
        ("{r}.pdf", {"field": "initials"}, False, "field", "its type is text", "consent_pdf"),
        ("{r}.pdf", {"field": "signed"}, False, "field", "signature", "consent_pdf"),
        ("{r}_{w:scan|skan}.pdf", {"field": "{w}"}, False, "field", "no field skan", "did you mean scan?"),
        ("{r}_{w}.pdf", {"field": "{w|default}"}, False, "field", "no field nothing", "consent_pdf"),
        ("{r}.pdf", {"field": "scan"}, True, "event", "names no event", "baseline_arm_1"),
        ("{r}.pdf", {"field": "scan", "event": "a"}, False, "event", "no events", "take `event` out"),
        (
            "{r}.pdf",
            {"field": "scan", "event": "month_7_arm_1"},
            True,
            "event",
            "no event month_7_arm_1",
            "did you mean month_6_arm_1?",
        ),
        ("{r}_{v}.pdf", {"field": "consent_pdf", "event": "{v|bad_visits}"}, True, "event", "month_9_arm_1", "mean"),
        (
            "{r}_{f}_{v:V9|V8}.pdf",
            {"field": "{f}", "event": "{v|bad_visits}"},
            True,
            "event",
            "no event month_9_arm_1",
            "did you mean",
        ),
        (
            "{r}_{v}.pdf",
            {"field": "consent_pdf", "event": "{v|visits}"},
            True,
            "event",
            "consent (with the field consent_pdf) is not designated for the event month_6_arm_1",
            "baseline_arm_1",
        ),
        (
            "{r}.pdf",
            {"field": "report", "event": "baseline_arm_1"},
            True,
            "instance",
            "would overwrite instance 1",
            "next",
        ),
        (
            "{r}.pdf",
            {"field": "scan", "event": "unscheduled_arm_1"},
            True,
            "instance",
            "would overwrite instance 1",
            "next",
        ),
        ("{r}.pdf", {"field": "report"}, False, "instance", "would overwrite instance 1", "next"),
        ("{r}.pdf", {"field": "scan", "instance": "1"}, False, "instance", "does not repeat", "take `instance` out"),
        (
            "{r}.pdf",
            {"field": "scan", "record_where": {"initial": "x"}},
            False,
            "record_where",
            "no field initial",
            "did you mean initials?",
        ),
        ("{r}.pdf", {"field": "scan", "must_match": {"signed": "x"}}, False, "must_match", "file field", "text"),
    ],
)
def test_what_is_wrong_is_found(
    pattern: str, templates: dict[str, Any], longitudinal: bool, key: str, words: str, remedy: str
) -> None:
    found = findings(rule(pattern, **templates), longitudinal=longitudinal)
    assert [(one.level, one.where.name, one.where.rule, one.where.key) for one in found] == [("error", "consents", "r", key)]
    assert words in found[0].message
    assert remedy in found[0].remedy


@pytest.mark.parametrize(
    ("templates", "longitudinal", "reason"),
    [
        ({"field": "zzz"}, False, "no_field"),
        ({"field": "scan", "must_match": {"zzz": "x"}}, False, "no_field"),
        ({"field": "initials"}, False, "not_a_file_field"),
        ({"field": "signed"}, False, "signature_field"),
        ({"field": "scan"}, True, "no_event"),
        ({"field": "scan", "event": "month_7_arm_1"}, True, "no_event"),
        ({"field": "scan", "event": "baseline_arm_1"}, True, "not_designated"),
        ({"field": "scan", "instance": "next"}, False, "not_repeating"),
        ({"field": "consent_pdf", "event": "baseline_arm_1", "instance": "2"}, True, "not_repeating"),
        ({"field": "report", "event": "baseline_arm_1"}, True, "needs_instance"),
    ],
)
def test_check_and_the_work_judge_alike(templates: dict[str, Any], longitudinal: bool, reason: str) -> None:
    one = rule("{r}.pdf", **templates)
    at_work = contradiction(structure(longitudinal), one)
    assert at_work.reason == reason
    assert [found.message for found in findings(one, longitudinal=longitudinal)] == [at_work.message]


def test_a_token_of_another_project_and_a_blocked_extension() -> None:
    project = Project("trial", "https://h/api/", TokenSource("env", "X"), project_id=43)
    found = findings(rule("{r}.exe", field="scan", upload_as="{r}.JS"), longitudinal=False, project=project)
    assert [(one.where.key, one.level) for one in found] == [
        ("project_id", "error"),
        ("pattern", "error"),
        ("upload_as", "error"),
    ]


@pytest.mark.parametrize(
    ("rights", "settings", "field", "expected"),
    [
        (None, {}, "scan", [("unsure", "does not tell")]),
        (Rights("u", False, True), {}, "scan", [("error", "no API import right")]),
        (Rights("u", True, False), {}, "scan", [("error", "no API export right")]),
        (Rights("u", True, False), {"confirm": Confirm.NONE, "existing_file": ExistingFile.REPLACE}, "scan", []),
        (Rights("u", True, True, 2), {}, "consent_pdf", [("error", "tagged as an identifier")]),
        (Rights("u", True, True, 3), {}, "consent_pdf", [("error", "tagged as an identifier")]),
        (Rights("u", True, True, 3), {}, "scan", []),
        (Rights("u", True, True, 2), {}, "scan", [("unsure", "de-identified")]),
        (Rights("u", True, True, 0), {}, "scan", [("error", "may export nothing")]),
        (Rights("u", True, True, 1, {"imaging": 0}), {}, "scan", [("error", "may export nothing")]),
        (Rights("u", True, True, 0, {"imaging": 1}), {}, "scan", []),
    ],
)
def test_rights(rights: Rights | None, settings: dict[str, Any], field: str, expected: list[tuple[str, str]]) -> None:
    found = findings(rule("{r}.pdf", RuleSettings(**settings), field=field), longitudinal=False, rights=rights)
    assert [one.level for one in found] == [level for level, _ in expected]
    for one, (_, words) in zip(found, expected, strict=True):
        assert words in one.message
