# ruff: noqa: E402 - the library may be missing
"""A host whose own disk does not take what it is about to send."""

from __future__ import annotations

import time
from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")

from dropcap.ledger.job import State
from tests.postgres.hosts import hosts


def test_what_cannot_be_entered_on_the_hosts_own_disk_is_as_if_it_had_not_been_chosen(database: str, tmp_path: Path) -> None:
    """Above all it keeps no instance: somebody else may take that one meanwhile, and nothing of this file was ever sent."""
    with hosts(tmp_path, database) as h:
        a = h.start("a")
        (h.sites["a"].state / "sending.journal").mkdir()
        h.put("d1", "101_V1_lab1.pdf")
        h.put("d1", "101_V1_consent.pdf")
        a.wait_for("check_problem")
        eventually(lambda: [job.state for job in h.jobs() if (job.due or 0.0) > time.time()] == [State.WAITING] * 2)
        assert {(job.field, job.attempts, job.instance) for job in h.jobs()} == {
            ("lab_report", 0, None),
            ("consent_pdf", 0, None),
        }
        assert h.box.holdings() == []
