"""What REDCap has told of a project is shown on as long as it says nothing else."""

from __future__ import annotations

from redcap_sandbox import Fault
from tests.site import Site, eventually

TEST = '<p class="test">'


def test_the_page_says_test_as_long_as_redcap_has_not_said_otherwise(place: Site) -> None:
    page = place.drop / "_STATUS.html"

    def says(test: bool) -> bool:
        return page.exists() and (TEST in page.read_text()) is test

    daemon = place.start()
    eventually(lambda: says(True))
    assert daemon.stop() == 0
    place.box.ill(Fault("status", code=503))
    page.unlink()
    daemon = place.start()
    eventually(page.exists)
    assert says(True), "after a restart while REDCap is in maintenance"
    place.config["contact"] = "somebody else"
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    eventually(lambda: "somebody else" in page.read_text())
    assert says(True), "and after a reload"
    assert daemon.stop() == 0

    place.box.well()
    place.box.project.in_production = True
    daemon = place.start()
    eventually(lambda: says(False), patience=5.0)
    assert daemon.stop() == 0
    place.box.ill(Fault("status", code=503))
    page.unlink()
    daemon = place.start()
    eventually(page.exists)
    assert says(False), "production is remembered as well"
