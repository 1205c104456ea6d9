"""The request limit of one server is no trouble of another."""

from __future__ import annotations

from redcap_sandbox import Sandbox, demo_project
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
