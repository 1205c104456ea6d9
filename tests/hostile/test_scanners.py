"""Writers that close a file and come back to it: page by page, as scanners do."""

from __future__ import annotations

import json
import time

from tests.shares.test_disks import imports
from tests.site import Site, eventually


def test_a_scanner_that_closes_its_file_after_each_page_and_opens_it_again_3_s_later(place: Site) -> None:
    """By the defaults."""
    del place.folder["settle_closed"], place.folder["settle_quiet"]
    place.write_config()
    daemon = place.start()
    scan = place.drop / "101_V1_consent.pdf"
    for page in range(3):
        with scan.open("ab") as file:
            file.write(b"page %d\n" % page)
        if page < 2:
            time.sleep(3)  # what is tried is this very time
    daemon.wait_for("done")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"page 0\npage 1\npage 2\n"
    assert (imports(place.box), len(place.jobs())) == (1, 1)
    assert daemon.stop() == 0


def test_a_name_that_was_taken_just_before_rests_longer(place: Site) -> None:
    """Page 1 was taken; the rest comes in pieces that lie further apart than `settle_closed`. Also after a kill."""
    place.folder.update(settle_closed="100ms", settle_quiet="5s")
    place.write_config()
    daemon = place.start()
    scan = place.drop / "101_V1_consent.pdf"
    scan.write_bytes(b"page 1\n")
    daemon.wait_for("done")
    scan.write_bytes(b"page 1\npage 2\n")
    note = "a file of this name was taken just before"
    eventually(lambda: note in str(_status(place)["settling"]))
    assert "not taken yet: rests for 5 s (settle_quiet)" in place.dropcap("status").stdout
    place.put("102_V1_consent.pdf", b"another name")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    assert len(daemon.events("claimed", file="101_V1_consent.pdf")) == 1
    daemon.kill()
    with scan.open("ab") as file:
        file.write(b"page 3\n")
    changed = time.time()
    daemon = place.start()
    eventually(lambda: note in str(_status(place)["settling"]))
    daemon.wait_for("done")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"page 1\npage 2\npage 3\n"
    assert place.jobs()[-1].claimed_at - changed >= 4.9
    assert imports(place.box) == 3
    assert daemon.stop() == 0


def test_the_page_says_how_long_a_file_rests(place: Site) -> None:
    place.folder.update(settle_closed="1h")
    place.write_config()
    place.start()
    place.put("101_V1_consent.pdf")
    page = place.drop / "_STATUS.html"
    eventually(lambda: page.exists() and "taken once it has not changed for 3600 s (settle_closed)" in page.read_text())


def test_one_that_failed_is_tried_again_after_settle_quiet(place: Site) -> None:
    place.folder.update(settle_closed="100ms", settle_quiet="2s")
    place.write_config()
    daemon = place.start()
    place.put("999_V1_consent.pdf", b"moved back")
    daemon.wait_for("failed")
    (place.drop / "failed" / "999_V1_consent.pdf").rename(place.drop / "999_V1_consent.pdf")
    daemon.wait_for("again", patience=6.0)
    assert daemon.stop() == 0


def _status(place: Site) -> dict[str, object]:
    folder: dict[str, object] = json.loads(place.dropcap("status", "--json").stdout)["folders"]["consents"]
    return folder
