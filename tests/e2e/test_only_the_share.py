"""Somebody who has only the share: reads the text beside each file that failed, does what it says, and everything arrives."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.test_right_record import value
from tests.site import site

#: What is dropped, and the name that it should have had.
WRONG = {
    "101_V1_consent .pdf": "101_V1_consent.pdf",
    "Copy of 101_V2_consent.pdf": "101_V2_consent.pdf",
    "102_V1_consent - Kopie.pdf": "102_V1_consent.pdf",
    "102_V2_consent.pdf.pdf": "102_V2_consent.pdf",
    "103_V1_consnet.pdf": "103_V1_consent.pdf",
    "103-V2-consent.pdf": "103_V2_consent.pdf",
    "104_Vl_consent.pdf": "104_V1_consent.pdf",
    "104_V2_c\u043ensent\u00a0.pdf": "104_V2_consent.pdf",
    "1O5_V1_lab.pdf": "105_V1_lab.pdf",
}


def to_rename_to(text: str) -> str:
    """The name that stands on a line of its own, between empty ones."""
    (name,) = re.findall(r"\n\n   (\S.*)\n\n", text)
    return str(name)


def test_what_the_texts_say_is_enough(tmp_path: Path) -> None:
    with site(tmp_path, language="de") as place:
        daemon = place.start()
        for number, name in enumerate(WRONG):
            place.put(name, b"%PDF " + bytes([65 + number]))
        daemon.wait_for("failed", len(WRONG))
        for name, right in WRONG.items():
            text = place.why(name)
            assert "weil ihr Name nicht passt" in text
            assert to_rename_to(text) == right, name
            assert ("Prüfen Sie zuerst" in text) is (name[:3] == "1O5" or "Vl" in name), "what was put there by guess"
            (place.drop / "failed" / name).rename(place.drop / "failed" / right)
        daemon.wait_for("done", len(WRONG))
        assert place.failed() == []
        assert place.names("failed") == [], "and the texts are gone"
        # A second copy of what is stored: the very same, and another.
        place.put("101_V1_consent (1).pdf", b"%PDF A")
        place.put("101_V1_consent (2).pdf", b"%PDF other")
        daemon.wait_for("failed", len(WRONG) + 2)
        assert "Löschen Sie diese Datei. Sie ist eine Kopie." in place.why("101_V1_consent (1).pdf")
        assert "Sehen Sie nach, welche der beiden richtig ist." in place.why("101_V1_consent (2).pdf")
        told = " ".join(place.dropcap("status", "--failed").stdout.split())
        assert "correct the file's name, or add a rule for such names" in told, "that is for whoever runs dropcap"


def test_a_record_found_by_its_values_is_told_to_nobody_who_drops(tmp_path: Path) -> None:
    with site(tmp_path) as place:
        place.folder["rules"] = [
            {
                "pattern": "mrn{mrn:digits}.pdf",
                "record_where": {"mrn": "{mrn}"},
                "event": "baseline_arm_1",
                "field": "consent_pdf",
            }
        ]
        place.write_config()
        mrn = value(place, "104", "mrn")
        daemon = place.start()
        place.put(f"mrn{mrn}.pdf")
        daemon.wait_for("done", record="104")
        daemon.stop()
        page = (place.drop / "_STATUS.html").read_text()
        assert "baseline_arm_1 · consent_pdf" in page
        assert "104" not in page.partition("<body>")[2].replace(mrn, "")
