"""A form that repeats at some events only: the name says the event, and no suffix decides it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from redcap_sandbox import Event, Field, RowKey, Sandbox, SandboxProject, fields_by_name
from tests.cli.command import dropcap
from tests.site import TOKEN, Site, site


def mixed(events: tuple[str, ...], repeating: tuple[str, ...]) -> SandboxProject:
    """A project whose form `imaging` is at all events and repeats at some of them."""
    project = SandboxProject(
        title="Mixed",
        fields=fields_by_name(
            [Field("record_id", "start"), Field("dicom_zip", "imaging", "file"), Field("letter", "start", "file")]
        ),
        events=tuple(Event(name, arm=int(name[-1])) for name in events),
        designations={name: ("start", "imaging") if name == events[0] else ("imaging",) for name in events},
        repeating=dict.fromkeys(repeating, ("imaging",)),
    )
    for record in ("A101", "A102"):
        project.store.set_value(record, RowKey(events[0]), "record_id", record)
    return project


@pytest.mark.parametrize(
    ("events", "repeating"),
    [
        (("start_arm_1", "scans_arm_1"), ("scans_arm_1",)),
        (("scans_arm_1", "scans_arm_2"), ("scans_arm_2",)),  # the same name in two arms
        (("start_arm_1", "scans_arm_1", "end_arm_1"), ("scans_arm_1", "end_arm_1")),
    ],
)
def test_the_event_stands_in_the_name(tmp_path: Path, events: tuple[str, ...], repeating: tuple[str, ...]) -> None:
    with Sandbox(mixed(events, repeating), token=TOKEN) as box, site(tmp_path, box) as place:
        made = tmp_path / "made.yaml"
        words = ["--url", box.url, "--token-file", str(place.token_file), "--folder", str(tmp_path / "in")]
        result = dropcap(place, "init", *words, "--state-dir", str(tmp_path / "s"), "--yes", "--output", str(made))
        assert result.exit_code == 0, result.output
        checked = dropcap(place, "check", "-c", str(made))
        assert (checked.exit_code, "warning" in checked.output) == (0, False), checked.output
        bare = dropcap(place, "explain", "-c", str(made), "A101_dicom_zip.pdf", "A101_dicom_zip-2.pdf")
        assert bare.exit_code == 1
        assert bare.output.count("no rule matches") == 2
        named = [line.split()[1] for line in made.read_text().splitlines() if "-> record" in line and "dicom" in line]
        assert len(named) == 2
        quick = (
            made.read_text()
            .replace("# settle_closed: 5s", "settle_closed: 50ms")
            .replace("# settle_quiet: 15s", "settle_quiet: 300ms")
        )
        made.write_text(quick)
        for name in named:
            (tmp_path / "in" / name).write_bytes(name.encode())
        assert place.once("-c", str(made)).returncode == 0
        assert {(held.event in repeating, held.instance) for held in box.holdings()} == {(False, None), (True, 1)}


RULES = [
    {"pattern": "{record:alnum}_dicom_zip.*", "event": "baseline_arm_1", "field": "scan"},
    {"pattern": "{record:alnum}_dicom_zip[-*].*", "event": "month_6_arm_1", "field": "scan"},
]


@pytest.mark.parametrize(
    ("second", "warned"),
    [
        (RULES[1], True),
        ({**RULES[1], "pattern": "{record:alnum}_dicom_zip-{n:digits}.*"}, True),
        ({**RULES[1], "pattern": "{record:alnum}_dicom_zip_2.*", "field": "consent_pdf"}, True),
        ({**RULES[1], "pattern": "{record:alnum}_dicom_zip ({n:digits}).*"}, True),
        ({**RULES[1], "event": "baseline_arm_1"}, False),  # the same event
        ({**RULES[1], "pattern": "{record:alnum}_dicom_zip_end[-*].*"}, False),  # a word tells them apart
        ({**RULES[1], "pattern": "{record:alnum}{x:digits}_scan.*"}, False),
        ({"regex": "(?P<record>[0-9]+)_scan.*", "event": "month_6_arm_1", "field": "scan"}, False),
    ],
)
def test_check_warns_of_a_suffix_that_decides_the_event(place: Site, second: dict[str, Any], warned: bool) -> None:
    place.folder["rules"] = [RULES[0], second]
    place.write_config()
    told = [line for line in dropcap(place, "check", "--offline").output.splitlines() if "a suffix alone decides" in line]
    assert len(told) == warned, told
    if warned:
        assert "baseline_arm_1" in told[0]
        assert "month_6_arm_1" in told[0]
        assert told[0].startswith("warning")


def test_many_rules_are_looked_at_quickly(place: Site) -> None:
    words = {f"V{number}": "baseline_arm_1" if number % 2 else "month_6_arm_1" for number in range(100)}
    place.config["tables"]["visits"] = words
    place.folder["rules"] = [
        {"pattern": f"{{record:digits}}_{{visit:visits}}[_{{x}}][-{{y}}]_f{n}.pdf", "event": "{visit|visits}", "field": "scan"}
        for n in range(80)
    ] + RULES
    place.write_config()
    begun = time.process_time()
    assert dropcap(place, "check", "--offline").output.count("a suffix alone decides") == 1
    assert time.process_time() - begun < 5


def test_visits_told_by_words_of_a_table_are_no_suffix(place: Site) -> None:
    place.config["tables"]["visits"] = {"V": "baseline_arm_1", "V2": "month_6_arm_1"}  # one rule: the word is the event
    place.write_config()
    assert "a suffix alone" not in dropcap(place, "check", "--offline").output
