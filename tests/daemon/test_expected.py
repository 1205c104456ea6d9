"""A folder that misses a file says so, everywhere, until one comes."""

from __future__ import annotations

import json
import sqlite3

from tests.site import Site, eventually


def test_a_missing_file_is_told_until_one_comes(place: Site) -> None:
    place.put("101_V1_consent.pdf")
    assert place.once().returncode == 0
    place.folder["expect"] = {"every": "1m"}
    place.write_config()
    with sqlite3.connect(place.state / "ledger.db") as ledger:
        ledger.execute("update job set claimed_at = claimed_at - 3600")
        ledger.execute("update folder set first_seen = first_seen - 7200")
    daemon = place.start()
    page = place.drop / "_STATUS.html"

    def told() -> dict[str, object]:
        found: dict[str, object] = json.loads(place.dropcap("status", "--json").stdout)["folders"]["consents"]
        return found

    eventually(lambda: told()["overdue"])
    eventually(lambda: "A file was expected here" in page.read_text())
    result = place.dropcap("status")
    assert (result.returncode, "a file was expected by" in result.stdout) == (1, True)
    nagios = place.dropcap("status", "--nagios")
    assert nagios.returncode == 1
    assert nagios.stdout.startswith(
        "DROPCAP WARNING - expected files are missing: consents | waiting=0;1000;10000;0 held=0;1;;0 failed=0;1;;0"
    )
    place.put("102_V1_consent.pdf")
    daemon.wait_for("done", file="102_V1_consent.pdf")
    eventually(lambda: told()["overdue"] is None)
    assert daemon.stop() == 0
