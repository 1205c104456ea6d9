"""`dropcap status --nagios`: 0 to 3, and one line that its kin can read."""

from __future__ import annotations

import re

from tests.site import Site

LINE = re.compile(r"DROPCAP (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+(?: \| (?:\w+=\d+s?(?:;\d*){0,3} ?)+)?\n")


def asked(place: Site, *words: str) -> tuple[int, str]:
    result = place.dropcap("status", "--nagios", *words)
    assert LINE.fullmatch(result.stdout), result.stdout
    return result.returncode, result.stdout


def test_every_level(place: Site) -> None:
    code, line = asked(place)
    assert (code, "UNKNOWN" in line) == (3, True)
    daemon = place.start()
    assert asked(place) == (
        0,
        "DROPCAP OK - 0 files wait, all goes on by itself | waiting=0;1000;10000;0 held=0;1;;0 failed=0;1;;0\n",
    )
    code, line = asked(place, "--warning", "many")
    assert (code, line.startswith("DROPCAP UNKNOWN - Invalid value for '--warning'")) == (3, True), "2 would be critical"
    place.put("oops.pdf")
    daemon.wait_for("failed")
    code, line = asked(place)
    assert (code, line[:37]) == (1, "DROPCAP WARNING - 1 file has failed |")
    place.dropcap("pause", "--folder", "consents")
    place.put("101_V1_consent.pdf")
    daemon.wait_for("claimed", file="101_V1_consent.pdf")
    code, line = asked(place, "--warning", "1")
    assert (code, "1 file waits" in line, "oldest=" in line) == (1, True, True)
    code, line = asked(place, "--critical", "1")
    assert (code, line.startswith("DROPCAP CRITICAL - 1 file waits, ")) == (2, True)
    daemon.stop()
    code, line = asked(place)
    assert (code, "dropcap does not run" in line) == (2, True)
    place.config_file.write_text("oops: [")
    code, line = asked(place)
    assert (code, line) == (3, "DROPCAP UNKNOWN - the state cannot be told; run dropcap status\n")
