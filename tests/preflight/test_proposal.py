"""What `dropcap init` proposes for a project."""

from __future__ import annotations

from dropcap.cli.init_written import event_words, proposed_rules, record_type
from dropcap.redcap.client import EventInfo, FieldInfo, Mapping, ProjectInfo, ProjectStructure, Repeating


def test_short_words_of_events() -> None:
    assert event_words(["baseline_arm_1", "month_6_arm_1"]) == {"baseline": "baseline_arm_1", "month6": "month_6_arm_1"}
    assert event_words(["visit_1_arm_1", "visit_1_arm_2", "end_arm_2"]) == {
        "visit1-arm1": "visit_1_arm_1",
        "visit1-arm2": "visit_1_arm_2",
        "end": "end_arm_2",
    }


def test_the_type_of_records_names() -> None:
    assert record_type(["1", "22"]) == "digits"
    assert record_type(["1", "A2"]) == "alnum"
    assert record_type(["1-2", "A2"]) == "word"
    assert record_type([]) == "word"


def test_a_form_that_repeats_at_some_events_only_gets_two_rules() -> None:
    structure = ProjectStructure.of(
        ProjectInfo(1, "T", True, True),
        [FieldInfo("record_id", "a", "text"), FieldInfo("photo", "b", "file"), FieldInfo("sig", "b", "file", "signature")],
        [EventInfo("e1_arm_1"), EventInfo("e2_arm_1"), EventInfo("e3_arm_1")],
        [Mapping("e1_arm_1", "b"), Mapping("e2_arm_1", "b")],
        [Repeating("e2_arm_1", "b")],
    )
    rules = proposed_rules(structure)
    assert [(rule.name, rule.events, rule.repeats) for rule in rules] == [
        ("photo", ("e1_arm_1",), False),
        ("photo (repeating)", ("e2_arm_1",), True),
    ]
