"""People rename and rewrite files that dropcap has in hand: no second instance, no false done."""

from __future__ import annotations

import pytest

from redcap_sandbox import Fault
from tests.site import Site

IMPORT = {"content": "file", "action": "import"}
SLOW = Fault("delay", times=1, match=IMPORT, seconds=1.5)


@pytest.fixture
def quick(place: Site) -> Site:
    """Its folder is walked often: in_progress/ is seen by the walk alone."""
    place.folder["rescan"] = "500ms"
    place.write_config()
    return place


def rename(place: Site, old: str, new: str) -> None:
    (place.drop / "in_progress" / old).rename(place.drop / "in_progress" / new)


def instances(place: Site) -> list[tuple[str, int | None]]:
    return [(held.record, held.instance) for held in place.box.holdings()]


def test_renamed_while_its_server_is_away_it_goes_on_under_its_own_job(quick: Site) -> None:
    quick.box.maintenance = 503
    daemon = quick.start()
    quick.put("101_V1_lab_1.pdf", b"one sample")
    daemon.wait_for("paused", scope="server")
    rename(quick, "101_V1_lab_1.pdf", "102_V1_lab_9.pdf")
    daemon.wait_for("claimed", renamed_from="101_V1_lab_1.pdf")
    quick.box.maintenance = 0
    daemon.wait_for("done")
    assert [(job.name, job.state, job.record) for job in quick.jobs()] == [("102_V1_lab_9.pdf", "done", "102")]
    assert quick.done() == ["102_V1_lab_9.pdf"]
    assert instances(quick) == [("102", 1)]


def test_renamed_while_its_outcome_is_unknown_it_takes_no_second_instance(quick: Site) -> None:
    quick.box.ill(Fault("stored_then_500", times=1, match=IMPORT))
    quick.box.ill(Fault("status", code=500))
    daemon = quick.start()
    quick.put("101_V1_lab_1.pdf", b"one sample")
    daemon.wait_for("retrying")
    rename(quick, "101_V1_lab_1.pdf", "101_V1_lab_2.pdf")
    daemon.wait_for("claimed", renamed_from="101_V1_lab_1.pdf")
    quick.box.well()
    daemon.wait_for("done", patience=30)
    daemon.stop()
    assert quick.once().returncode == 0
    assert instances(quick) == [("101", 1)]
    assert [job.state for job in quick.jobs()] == ["done"]
    assert quick.done() == ["101_V1_lab_2.pdf"]


def test_renamed_while_it_is_sent_it_takes_no_second_instance(quick: Site) -> None:
    quick.box.ill(SLOW)
    daemon = quick.start()
    quick.put("101_V1_lab_1.pdf", b"one sample")
    assert quick.box.illness.wait()
    rename(quick, "101_V1_lab_1.pdf", "101_V1_lab_2.pdf")
    daemon.wait_for("done")
    daemon.stop()
    assert quick.once().returncode == 0
    assert instances(quick) == [("101", 1)]
    assert [job.state for job in quick.jobs()] == ["done"]
    assert quick.done() == ["101_V1_lab_2.pdf"]


def test_renamed_to_another_record_while_it_is_sent_it_goes_there_as_well(quick: Site) -> None:
    quick.box.ill(SLOW)
    daemon = quick.start()
    quick.put("101_V1_consent.pdf", b"one consent")
    assert quick.box.illness.wait()
    rename(quick, "101_V1_consent.pdf", "102_V1_consent.pdf")
    daemon.wait_for("done", 2)
    assert quick.box.content("102", "consent_pdf") == b"one consent"
    assert quick.done() == ["102_V1_consent.pdf"]


def test_rewritten_after_it_was_stored_it_is_sent_anew_before_it_is_filed(quick: Site) -> None:
    daemon = quick.start()
    daemon.wait_for("folder_watched")
    (quick.drop / "done").write_bytes(b"in the way")
    quick.put("101_V1_consent.pdf", b"one consent")
    daemon.wait_for("paused", reason="filing")
    (quick.drop / "in_progress/101_V1_consent.pdf").write_bytes(b"quite another consent")
    (quick.drop / "done").unlink()
    daemon.wait_for("done", 2, patience=30)
    assert quick.done() == ["101_V1_consent.pdf"]
    assert quick.box.content("101", "consent_pdf") == b"quite another consent"
    assert [(quick.drop / "done" / name).read_bytes() for name in quick.names("done")] == [b"quite another consent"]
