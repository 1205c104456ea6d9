# ruff: noqa: E402 - the library may be missing
"""The right project and the right record, whichever of several hosts sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import needs
from tests.site import TOKEN, eventually

needs.library("psycopg")

from redcap_sandbox import Fault, Sandbox, demo_project
from tests.e2e.two_projects import TwoProjects
from tests.postgres.hosts import hosts


def test_a_host_whose_token_is_another_projects_sends_nothing(tmp_path: Path, database: str) -> None:
    of_17, of_19 = demo_project(), demo_project()
    of_17.project_id, of_19.project_id = 17, 19
    with (
        Sandbox(of_17, TOKEN) as box,
        Sandbox(of_19, "B" * 32) as other,
        TwoProjects(box, other) as front,
        hosts(tmp_path, database, folders=2, box=box) as h,
    ):
        project = {**h.config["projects"]["trial"], "url": front.url}
        theirs = tmp_path / "theirs"
        theirs.write_text("B" * 32)
        theirs.chmod(0o600)
        a = h.start("a", projects={"trial": project})
        a.wait_for("folder_taken", 2)
        for folder in h.folders:
            h.put(folder, "101_V1_consent.pdf")
        a.wait_for("done", 2)
        b = h.start("b", projects={"trial": {**project, "token_file": str(theirs)}})
        h.spread(a, b)
        for folder in h.folders:
            h.put(folder, "102_V1_consent.pdf", folder.encode())
        a.wait_for("done", file="102_V1_consent.pdf")
        b.wait_for("check_problem", reason="project_mismatch")
        b.wait_for("claimed", file="102_V1_consent.pdf")
        assert b.stop() == 0
        a.wait_for("done", 4)
        assert {one.content for one in other.requests} <= {"project", "version"}


@pytest.mark.parametrize("ahead", ["first", "second"])
def test_two_spellings_on_two_hosts_make_one_record(tmp_path: Path, database: str, ahead: str) -> None:
    """Their clocks are an hour apart."""
    rule = {"pattern": "{record:digits}.pdf", "field": "consent_pdf", "event": "baseline_arm_1"}
    faked = {"LD_PRELOAD": needs.faketime(), "FAKETIME": "+1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with hosts(tmp_path, database, folders=2) as h:
        for folder in h.config["folders"].values():
            folder.update(missing_record="create", rules=[rule])
        right = h.start("right")
        fast = h.host("fast").start(ready=False, **faked)
        fast.wait_for("ready")
        h.spread(right, fast)
        (of_right,), (of_fast,) = h.held_by(right), h.held_by(fast)
        one, other = (of_fast, of_right) if ahead == "first" else (of_right, of_fast)
        # Before REDCap carries it out: until then the record is not there for anybody.
        h.box.ill(Fault("delay", seconds=2.0, before="body", match={"content": "record", "action": "import"}))
        h.put(one, "0900.pdf", b"one")
        assert h.box.illness.wait()
        h.put(other, "900.pdf", b"other")
        eventually(lambda: any(host.events("failed", reason="record_differs") for host in (right, fast)))
        assert {"0900", "900"} & set(h.box.project.store.records) == {"0900"}
