"""The limit or the silence of one server is no trouble of another."""

from __future__ import annotations

from redcap_sandbox import Fault, Sandbox, demo_project
from tests.site import Site


def test_files_for_another_server_do_not_wait_for_the_limit_of_the_first(place: Site) -> None:
    other = place.root / "other"
    other.mkdir()
    with Sandbox(demo_project(), token=place.box.token) as box:
        place.project["requests_per_minute"] = 15
        place.config["projects"]["second"] = {**place.project, "url": box.url, "requests_per_minute": 0}
        place.config["folders"]["other"] = {**place.folder, "path": str(other), "project": "second"}
        place.write_config()
        for record in range(101, 121):
            place.put(f"{record}_V1_consent.pdf", str(record).encode())
        daemon = place.start()
        assert place.box.wait_for(lambda box: len(box.requests) == 15)
        (other / "101_V1_consent.pdf").write_bytes(b"the consent")
        daemon.wait_for("done", project="second")
        assert len(place.box.requests) == 15


def test_a_token_that_is_renewed_while_its_server_is_silent_stops_nobody_else(place: Site) -> None:
    other = place.root / "other"
    other.mkdir()
    right = place.root / "right"
    right.write_text(place.box.token)
    right.chmod(0o600)
    with Sandbox(demo_project(), token=place.box.token) as box:
        place.config["projects"]["second"] = {**place.project, "url": box.url, "token_file": str(right)}
        place.config["folders"]["other"] = {**place.folder, "path": str(other), "project": "second"}
        place.write_config()
        place.token_file.write_text("F" * 32)
        place.put("101_V1_consent.pdf")
        daemon = place.start()
        daemon.wait_for("paused", scope="project", name="trial")
        place.box.ill(Fault("delay", match={"content": "metadata"}, seconds=60.0, before="answer"))
        place.token_file.write_text(place.box.token)
        (other / "101_V1_consent.pdf").write_bytes(b"the consent")  # so that dropcap looks about now
        daemon.wait_for("done", project="second")
        assert place.box.illness.wait()  # the project is asked about, and is silent
        place.token_file.write_text("E" * 32)
        (other / "102_V1_consent.pdf").write_bytes(b"another consent")
        daemon.wait_for("done", 2, project="second", patience=10)
        place.box.well()
