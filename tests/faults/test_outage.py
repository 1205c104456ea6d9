"""An outage costs nothing: one probe at a time, a handful of log lines, flat memory, and everything goes on at once."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from redcap_sandbox import Fault
from tests.heavy import HEAVY
from tests.site import Daemon, Site, eventually

NUMBER = 2000 if HEAVY else 1000


@pytest.mark.slow
def test_a_thousand_files_wait_for_a_server_that_is_down(place: Site) -> None:
    place.folder["rules"][2]["pattern"] = "{record:digits}_{visit:visits}_scan_*.pdf"
    place.folder["existing_file"] = "replace"
    place.config["uploads_at_once"] = 8
    place.write_config()
    place.box.maintenance = 503
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"the first")
    daemon.wait_for("paused", scope="server")
    rested = memory(daemon)
    for number in range(NUMBER):
        (place.drop / f"{101 + number % 20}_V1_scan_{number}.pdf").write_bytes(b"%d" % number)
    daemon.wait_for("claimed", NUMBER + 1, patience=60)
    asked = len(place.box.requests)
    eventually(lambda: len(place.box.requests) >= asked + 1, 30)
    assert {r.content for r in place.box.requests[asked:]} == {"version"}, "only probes"
    assert memory(daemon) - rested < 12 * NUMBER, "KiB: 12 a file that waits"
    others = [line for line in daemon.lines if line["event"] != "claimed"]
    assert len(others) < 30, "a handful of lines, not one a file"
    probes = [(r.time, r.time + r.seconds) for r in place.box.requests if r.content == "version"]
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(probes)), "one probe at a time"
    place.box.maintenance = 0
    daemon.wait_for("resumed", scope="server", patience=30)
    eventually(lambda: len(place.box.holdings()) == 21, 60)
    daemon.wait_for("done", NUMBER // 4, patience=60)
    assert daemon.events("failed") == []
    assert place.failed() == []
    assert daemon.stop() == 0


def memory(daemon: Daemon) -> int:
    """What the process occupies, in KiB."""
    text = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1])


def test_a_poison_file_that_makes_the_server_ill_stops_only_itself(place: Site) -> None:
    place.box.ill(Fault("reset_after_body", match={"content": "file", "action": "import", "record": "101"}, stored=False))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"poison")
    daemon.wait_for("retrying", 2, file="101_V1_consent.pdf")
    for record in range(102, 112):
        place.put(f"{record}_V1_consent.pdf", b"fine")
    daemon.wait_for("done", 10, patience=30)
    assert place.failed() == []
    assert [name for name in place.everywhere() if "101" in name] == ["in_progress/101_V1_consent.pdf"]
    assert not daemon.events("paused", scope="server"), "one file's trouble is not the server's"
    place.box.well()
    place.dropcap("retry", "1")
    daemon.wait_for("done", 11, patience=60)
    assert place.box.content("101", "consent_pdf") == b"poison"
