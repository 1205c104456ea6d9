"""Receipts beside files in done/, from outside: what they say, that they are no files of anybody's, and that none is missing."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from dropcap.filing.receipt import is_receipt, job_of
from tests.site import Site, eventually, site


def receipts(place: Site) -> dict[str, dict[str, Any]]:
    found = (place.drop / "done").rglob("*.receipt*.json")
    return {path.name: json.loads(path.read_bytes()) for path in found}


def test_a_receipt_says_what_redcap_has(tmp_path: Path) -> None:
    with site(tmp_path, receipts=True, language="de", mode="0640") as place:
        place.folder["rules"].append(
            {"pattern": "{mail}_found.pdf", "record_where": {"email": "{mail}"}, "event": "baseline_arm_1", "field": "scan"}
        )
        place.write_config()
        daemon = place.start()
        content = b"%PDF a consent\n"
        long = f"101_V2_scan{'x' * 235}.pdf"
        place.put("101_V1_consent.pdf", content)
        place.put("ward/102_V1_lab.pdf")
        place.put(long)
        daemon.wait_for("done", 3)
        told = receipts(place)
        assert len(told) == 3, "of a name that is too long, too"
        one = told["101_V1_consent.pdf.receipt.json"]
        (day,) = os.listdir(place.drop / "done")
        assert one["file"] == "101_V1_consent.pdf"
        assert one["filed_as"] == f"done/{day}/101_V1_consent.pdf"
        assert one["target"] == {"record": "101", "event": "baseline_arm_1", "field": "consent_pdf"}
        assert (one["size"], one["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert (one["result"], one["confirmed"], one["rule"]) == ("stored", "readback", "consent")
        assert one["versions"]["dropcap"]
        assert one["dropped"] <= one["stored"]
        assert "instance" not in told["102_V1_lab.pdf.receipt.json"]["target"], "REDCap alone knows which"
        beside = place.drop / "done" / day / "101_V1_consent.pdf.receipt.json"
        assert beside.stat().st_mode & 0o777 == 0o640
        # Moved into the drop folder by mistake it is no file of anybody's; one that a person changed is.
        raw = beside.read_bytes()
        assert is_receipt(raw)
        assert not is_receipt(raw.replace(b"readback", b"listed"))
        beside.rename(place.drop / beside.name)
        eventually(lambda: not (place.drop / beside.name).exists())
        assert place.failed() == []
        assert json.loads(place.dropcap("status", "--json").stdout)["folders"]["consents"]["strays"]["count"] == 0
        assert daemon.stop() == 0
        page = (place.drop / "_STATUS.html").read_text()
        assert "dropcap wurde um" in page, "the last page says so, in the folder's language"


def test_one_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    """A file is done only once its receipt is there: a crash, or a full disk, between the two leaves none without."""
    with site(tmp_path, receipts=True) as place:
        daemon = place.start()
        place.put("101_V1_consent.pdf")
        daemon.wait_for("done")
        (first,) = (place.drop / "done").rglob("*.receipt.json")
        (number,) = [job_of(first.read_bytes())]
        daemon.kill()
        # As a kill leaves it between the move and the ledger.
        import sqlite3

        with sqlite3.connect(place.state / "ledger.db") as ledger:
            ledger.execute("update job set state = 'stored', filed_as = null, ended_at = null where id = ?", (number,))
        first.unlink()
        somebodys = first.with_name(first.name)
        somebodys.write_bytes(b"{}")
        daemon = place.start()
        daemon.wait_for("done")
        names = sorted(path.name for path in first.parent.iterdir())
        assert names == ["101_V1_consent.pdf", "101_V1_consent.pdf.receipt (2).json", "101_V1_consent.pdf.receipt.json"]
        assert somebodys.read_bytes() == b"{}", "somebody else's is left"
        assert job_of((first.parent / names[1]).read_bytes()) == number
