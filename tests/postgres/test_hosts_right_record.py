# ruff: noqa: E402 - the library may be missing
"""The right project and the right record, whichever of several hosts sends."""

from __future__ import annotations

from pathlib import Path

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


def test_two_spellings_on_two_hosts_make_one_record(tmp_path: Path, database: str) -> None:
    rule = {"pattern": "{record:digits}.pdf", "field": "consent_pdf", "event": "baseline_arm_1"}
    with Sandbox(demo_project(), TOKEN) as box, hosts(tmp_path, database, folders=2, box=box) as h:
        for folder in h.config["folders"].values():
            folder.update(missing_record="create", rules=[rule])
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        box.ill(Fault("delay", seconds=2.0, match={"content": "record", "action": "import"}))
        for folder, record in zip(h.folders, ("0900", "900"), strict=True):
            h.put(folder, f"{record}.pdf", record.encode())
        eventually(
            lambda: len(a.events("failed")) + len(b.events("failed")) == 1 and len(a.events("done")) + len(b.events("done")) == 1
        )
        assert len(a.events("record_created")) + len(b.events("record_created")) == 1
        assert len({"0900", "900"} & set(box.project.store.records)) == 1
