"""`dropcap history`: by name, by path, by record; the last files."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any

from dropcap.ledger.store import Ledger
from tests.site import Site


def told(place: Site, *words: str) -> list[dict[str, Any]]:
    result = place.dropcap("history", "--json", *words)
    assert result.returncode in (0, 1), result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_every_step_of_a_file(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"old")
    place.once()
    place.put("101_V1_consent.pdf", b"new")
    place.once()
    first, second = told(place, "101_V1_consent.pdf")
    assert [step["state"] for step in first["steps"]] == ["waiting", "sending", "stored", "done"]
    assert (first["record"], first["redcap_event"], first["field"]) == ("101", "baseline_arm_1", "consent_pdf")
    assert (first["result"], second["result"]) == ("stored", "replaced")
    assert second["sha256"] == hashlib.sha256(b"new").hexdigest()
    assert second["preserved_sha256"] == hashlib.sha256(b"old").hexdigest()
    assert Path(second["preserved_as"]).read_bytes() == b"old"
    assert (place.drop / second["lies_in"]).read_bytes() == b"new"

    text = place.dropcap("history", "101_V1_consent.pdf")
    assert text.returncode == 0
    for expected in (
        "record 101, event baseline_arm_1, field consent_pdf",
        second["sha256"],
        "read back, the same bytes",
        str(place.drop / second["lies_in"]),
        second["preserved_as"],
        "attempt 1",
    ):
        assert expected in text.stdout


def test_how_a_file_can_be_named(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    decomposed = unicodedata.normalize("NFD", "café.jpg")
    place.put("ward/101_V1_consent.pdf", b"one")
    place.put("xward/101_V1_consent.pdf", b"two")
    place.put(decomposed)
    place.put("100%_V1.jpg")
    place.once()

    def files(*words: str) -> list[str]:
        return sorted(one["file"] for one in told(place, *words))

    assert files("101_V1_consent.pdf") == ["ward/101_V1_consent.pdf", "xward/101_V1_consent.pdf"]
    assert files("ward/101_V1_consent.pdf") == ["ward/101_V1_consent.pdf"]
    assert files(str(place.drop / "ward/101_V1_consent.pdf")) == ["ward/101_V1_consent.pdf"]
    assert files("café.jpg") == [decomposed]
    assert files("failed/100%_V1.jpg") == ["100%_V1.jpg"]
    assert files("%.jpg") == []
    assert files("1_V1_consent.pdf") == []
    (filed,) = [name for name in place.names("done") if "/ward/" in name]
    assert files(str(place.drop / "done" / filed)) == ["ward/101_V1_consent.pdf"]
    number = {one["file"]: str(one["job"]) for one in told(place)}["100%_V1.jpg"]
    assert files(number) == ["100%_V1.jpg"], "the text beside it names its job"
    assert f"Tell them the job number: {number}." in place.why("100%_V1.jpg")
    assert files("--record", "101") == ["ward/101_V1_consent.pdf", "xward/101_V1_consent.pdf"]
    assert files("--record", "10") == []
    assert files("--record", "101", "ward/101_V1_consent.pdf") == ["ward/101_V1_consent.pdf"]


def test_the_last_files(place: Site) -> None:
    empty = place.dropcap("history")
    assert empty.returncode == 1, "no ledger yet"
    place.once()
    for name in ("101_V1_consent.pdf", "holiday.jpg", "102_V1_consent.pdf"):
        place.put(name)
    place.once()
    names = [job.name for job in place.jobs()]
    assert [one["file"] for one in told(place)] == names
    assert [one["file"] for one in told(place, "--limit", "2")] == names[1:]
    assert [one["file"] for one in told(place, "--failed", "--since", "1h", "--folder", "consents")] == ["holiday.jpg"]
    assert told(place, "--since", "0s") == []
    table = place.dropcap("history").stdout.splitlines()
    assert table[0].split()[:3] == ["JOB", "DROPPED", "FILE"]
    (holiday,) = [line for line in table if "consents/holiday.jpg" in line]
    assert holiday.endswith("failed: no_rule")


def test_what_cannot_be_told(place: Site) -> None:
    place.once()
    for words, code, says in (
        (["nobody.pdf"], 1, "no file called nobody.pdf is known"),
        (["999"], 1, "no file and no job 999 is known"),
        (["--record", "999"], 1, "no file for record 999 is known"),
        (["--since", "yesterday"], 2, "neither an age"),
        (["--limit", "0"], 2, "limit"),
        (["--folder", "consent"], 2, "did you mean `consents`?"),
    ):
        result = place.dropcap("history", *words)
        assert (result.returncode, result.stdout) == (code, "")
        assert says in result.stderr


def test_a_file_that_somebody_took_away(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    place.put("holiday.jpg")
    place.once()
    (place.drop / "failed" / "holiday.jpg").unlink()
    ledger = Ledger(place.state / "ledger.db")
    ledger.forget_failed([1])
    ledger.close()
    (job,) = told(place, "holiday.jpg")
    assert (job["state"], job["lies_in"], job["tried_again"]) == ("failed", None, None)
    assert "somebody took it away" in place.dropcap("history", "holiday.jpg").stdout
