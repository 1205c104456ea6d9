"""`confirm: listed`: one record export confirms the imports before it, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from redcap_sandbox import Fault
from tests.site import Site, eventually

FILES = 20
IMPORT, RECORDS = {"content": "file", "action": "import"}, {"content": "record"}


def listed(place: Site, **rule: Any) -> list[str]:
    """Set it, and drop files for as many records; their names."""
    place.folder["rules"] = [{**place.folder["rules"][0], "confirm": "listed", **rule}]
    place.write_config()
    names = [f"{101 + number}_V1_consent.pdf" for number in range(FILES)]
    for name in names:
        place.put(name, name.encode())
    return names


def imported(place: Site) -> list[str]:
    """The records of the imports so far."""
    return sorted(one.record for one in place.box.requests if (one.content, one.action) == ("file", "import"))


ONCE_EACH = [str(101 + number) for number in range(FILES)]


@pytest.mark.parametrize(("rule", "most"), [({"existing_file": "replace"}, 33), ({}, 55)])
def test_a_burst_takes_few_requests(place: Site, rule: dict[str, Any], most: int) -> None:
    names = listed(place, **rule)
    assert place.once().returncode == 0
    assert place.done() == names
    assert imported(place) == ONCE_EACH
    requests = place.box.requests
    assert len(requests) <= most, [f"{one.content} {one.action}" for one in requests]
    told = [json.loads(line) for line in place.dropcap("history", "--json").stdout.splitlines()]
    assert {one["confirmed"] for one in told} == {"listed"}


def test_only_what_is_not_listed_is_sent_again(place: Site) -> None:
    names = listed(place, existing_file="replace")
    place.box.ill(Fault("empty_200_without_storing", 1, {**IMPORT, "record": "105"}))
    place.start()
    eventually(lambda: place.done() == names, patience=60)
    assert imported(place) == sorted([*ONCE_EACH, "105"])
    assert {one.record for one in place.box.holdings()} == set(ONCE_EACH)


def test_a_question_that_fails_is_asked_again_and_nothing_twice(place: Site) -> None:
    names = listed(place, existing_file="preserve")
    place.box.ill(Fault("status", 2, RECORDS, skip=1, code=503))
    place.start()
    eventually(lambda: place.done() == names, patience=60)
    assert imported(place) == ONCE_EACH, "each is found in REDCap before it would be sent again"


def test_what_a_crash_left_unconfirmed_is_looked_for(place: Site) -> None:
    names = listed(place, existing_file="preserve")
    place.box.ill(Fault("delay", None, RECORDS, skip=1, seconds=20))
    daemon = place.start()
    assert place.box.wait_for(lambda box: sum(one.action == "import" for one in box.requests) >= 3)
    daemon.kill()
    place.box.well()
    before = len(imported(place))
    assert place.done() == []
    place.start()
    eventually(lambda: place.done() == names, patience=60)
    assert before >= 3
    assert imported(place) == ONCE_EACH


def test_a_file_that_is_changed_before_the_question_is_answered_is_sent_as_it_is_now(place: Site) -> None:
    place.folder["rules"] = [{**place.folder["rules"][0], "confirm": "listed", "existing_file": "replace"}]
    place.write_config()
    place.box.ill(Fault("delay", 1, RECORDS, seconds=2))
    place.put("101_V1_consent.pdf", b"first")
    place.start()
    assert place.box.wait_for(lambda box: box.holdings())
    (place.drop / "in_progress" / "101_V1_consent.pdf").write_bytes(b"later and longer")
    eventually(lambda: place.done() == ["101_V1_consent.pdf"], patience=60)
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"later and longer"
