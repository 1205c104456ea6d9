"""What threads share is immutable, a message, or behind a lock."""

from __future__ import annotations

import dataclasses

import pytest

from dropcap.delivery.circuit import Breakers
from dropcap.delivery.plan import Create, Facts, Send
from dropcap.delivery.queue import Candidate, Known
from dropcap.delivery.upload import Batch, Sending, Shared
from dropcap.ledger.job import Job, Later, Pause
from dropcap.reasons import Reason, Scope
from dropcap.routing.route import Route
from redcap_sandbox.fault import Fault
from tests.site import NobodyTold, Site


@pytest.mark.parametrize("kind", [Candidate, Known, Sending, Batch, Shared, Send, Create, Facts, Route, Job, Pause])
def test_what_the_deciding_thread_and_the_workers_hand_each_other_never_changes(kind: type) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_a_probe_that_could_not_be_made_is_due_still() -> None:
    breakers = Breakers(NobodyTold())
    breakers.failed(Scope.SERVER, "s", None, Later(Reason.UNREACHABLE, "down", scope=Scope.SERVER, certain=True), 0.0)
    assert breakers.probes_due(1e9) == ["s"]
    assert breakers.probes_due(1e9) == []
    breakers.not_probed("s")
    breakers.not_probed("resumed meanwhile")
    assert breakers.probes_due(1e9) == ["s"]
    breakers.not_probed("s", 1e9 + 1.0)
    assert breakers.probes_due(1e9) == []
    assert breakers.probes_due(1e9 + 1.0) == ["s"]


def test_what_was_asked_for_the_old_rules_tells_nothing_of_the_new_ones(place: Site) -> None:
    """A reload while a record is being looked up: the file goes by the new rules, and only by them."""
    place.box.ill(Fault("delay", times=1, seconds=2.0, match={"content": "record"}))
    place.put("101_V1_consent.pdf", b"for nobody")
    daemon = place.start()
    assert place.box.illness.wait()
    assert [job.state for job in place.jobs()] == ["waiting"]
    place.folder["rules"][0]["must_match"] = {"initials": "nobody has these"}
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    (failed,) = daemon.wait_for("failed")
    assert failed["reason"] == "mismatch"
    assert place.box.holdings() == []


def test_a_file_renamed_while_its_record_is_looked_up_goes_to_its_new_place(place: Site) -> None:
    place.box.ill(Fault("delay", times=1, seconds=2.0, match={"content": "record"}))
    place.put("101_V1_consent.pdf", b"of 102")
    daemon = place.start()
    assert place.box.illness.wait()
    assert [job.state for job in place.jobs()] == ["waiting"]
    taken = place.drop / "in_progress"
    (taken / "101_V1_consent.pdf").rename(taken / "102_V1_consent.pdf")
    (done,) = daemon.wait_for("done")
    assert done["record"] == "102"
    assert [holding.record for holding in place.box.holdings()] == ["102"]
