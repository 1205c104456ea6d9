"""`dropcap verify`, from outside: what REDCap lost or changed is found, and how far it came is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from redcap_sandbox import Fault, RowKey
from tests.site import Site

BASELINE = RowKey("baseline_arm_1")


def stored(place: Site, *records: str) -> None:
    """Deliver a consent for each record."""
    for record in records:
        place.put(f"{record}_V1_consent.pdf", f"consent of {record}".encode())
    assert place.once().returncode == 0


def verified(place: Site, *words: str, code: int) -> dict[str, Any]:
    result = place.dropcap("verify", "--json", *words)
    assert result.returncode == code, result.stdout + result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_all_is_there(place: Site) -> None:
    stored(place, "101", "102")
    place.put("101_V1_lab_1.pdf", b"one")
    place.put("101_V1_lab_2.pdf", b"two")
    assert place.once().returncode == 0
    before = len(place.box.requests)
    assert verified(place, code=0)["outcomes"] == {"same": 4}
    asked = place.box.requests[before:]
    assert [(r.content, r.action) for r in asked] == [("file", "export")] * 4
    text = place.dropcap("verify")
    assert (text.returncode, "4 of 4 files verified: 4 same" in text.stdout) == (0, True)


def test_what_was_removed_or_changed_in_redcap_is_found(place: Site) -> None:
    stored(place, "101", "102", "103", "104")
    store = place.box.project.store
    store.remove_file("102", BASELINE, "consent_pdf")
    store.put_bytes("103", BASELINE, "consent_pdf", "other.pdf", b"other bytes")
    store.delete("104")
    found = verified(place, code=1)
    assert found["outcomes"] == {"same": 1, "missing": 2, "differs": 1}
    told = {(p["record"], p["outcome"], p["name"], p["field"]) for p in found["problems"]}
    assert told == {
        ("102", "missing", "102_V1_consent.pdf", "consent_pdf"),
        ("103", "differs", "103_V1_consent.pdf", "consent_pdf"),
        ("104", "missing", "104_V1_consent.pdf", "consent_pdf"),
    }
    text = place.dropcap("verify").stdout
    assert "missing: consents/102_V1_consent.pdf (job " in text
    assert "record 102, event baseline_arm_1, field consent_pdf" in text


def test_only_the_latest_file_of_a_place_counts(place: Site) -> None:
    stored(place, "101")
    place.put("101_V1_consent.pdf", b"a newer consent")
    assert place.once().returncode == 0
    assert verified(place, code=0) == {
        "files": 1, "verified": 1, "outcomes": {"same": 1}, "ended": None, "problems": []
    }  # fmt: skip


def test_a_newer_file_of_another_folder_counts_as_well(place: Site) -> None:
    (place.root / "other").mkdir()
    place.config["folders"]["other"] = {**place.folder, "path": str(place.root / "other")}
    place.write_config()
    stored(place, "101", "102")
    (place.root / "other" / "101_V1_consent.pdf").write_bytes(b"from the other folder")
    assert place.once().returncode == 0
    assert verified(place, "--folder", "consents", code=0)["files"] == 1
    assert verified(place, "--folder", "other", code=0)["files"] == 1


def test_since_leaves_out_what_is_older(place: Site) -> None:
    stored(place, "101")
    assert verified(place, "--since", "1h", code=0)["files"] == 1
    assert verified(place, "--since", "0s", code=0)["files"] == 0
    wrong = place.dropcap("verify", "--since", "yesterday")
    assert (wrong.returncode, "yesterday" in wrong.stderr) == (2, True)


def test_a_server_that_goes_away_ends_it_and_how_far_it_came_is_told(place: Site) -> None:
    stored(place, "101")
    stored(place, "102")
    stored(place, "103")
    place.box.ill(Fault("html_200", match={"record": "102"}))
    place.box.ill(Fault("html_200", match={"content": "version"}))
    found = verified(place, code=3)
    assert (found["files"], found["verified"]) == (3, 1)
    assert "go on with: dropcap verify --since 20" in found["ended"]
    place.box.well()
    since = found["ended"].rpartition(" ")[2]
    assert verified(place, "--since", since, code=0)["verified"] >= 2


def test_one_bad_answer_is_not_believed(place: Site) -> None:
    stored(place, "101")
    place.box.ill(Fault("status", times=1, code=500, match={"action": "export"}))
    assert verified(place, code=0)["outcomes"] == {"same": 1}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("html_200", match={"record": "102"}),
        Fault("status", code=403, body='{"error": "You have no right to this record"}', match={"record": "102"}),
    ],
    ids=["a page", "a right"],
)
def test_one_file_that_is_not_given_out_keeps_no_other_from_being_compared(place: Site, fault: Fault) -> None:
    stored(place, "101", "102", "103")
    place.box.ill(fault)
    found = verified(place, code=1)
    assert found["outcomes"] == {"same": 2, "not_asked": 1}
    assert [problem["record"] for problem in found["problems"]] == ["102"]


def test_a_server_that_gives_out_nothing_ends_it_although_it_answers(place: Site) -> None:
    stored(place, "101", "102", "103", "104")
    place.box.ill(Fault("html_200", match={"action": "export"}))
    found = verified(place, code=3)
    assert found["outcomes"] == {"not_asked": 2}


def test_a_server_that_asks_for_a_rest_gets_it(place: Site) -> None:
    stored(place, "101")
    place.box.ill(Fault("rate_429", times=1, retry_after=1, match={"action": "export"}))
    assert verified(place, code=0)["outcomes"] == {"same": 1}


def test_a_token_that_is_refused_is_no_proof_of_anything(place: Site) -> None:
    stored(place, "101", "102")
    place.token_file.write_text("F" * 32)
    found = verified(place, code=1)
    assert found["outcomes"] == {"not_asked": 2}
    assert all(problem["message"] for problem in found["problems"])


def test_without_a_ledger_there_is_nothing_to_verify(place: Site) -> None:
    result = place.dropcap("verify")
    assert (result.returncode, "has not run" in result.stderr) == (1, True)
