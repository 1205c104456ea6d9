"""What a file costs in a burst, as far as it can be counted: files and directories that are opened."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests import needs
from tests.site import DROPCAP, site

#: More than the process that looks into files has at a time.
FILES = 270


def test_a_burst_opens_each_file_three_times_and_shares_the_rest(tmp_path: Path) -> None:
    needs.right("trace", [needs.program("strace"), "-o", "/dev/null", "true"])
    rule = {"name": "scan", "pattern": "{record:digits}_{visit:visits}_scan.pdf", "event": "{visit|visits}", "field": "scan"}
    with site(tmp_path, existing_file="replace", confirm="none", missing_record="refuse", rules=[rule]) as place:
        for number in range(FILES):
            place.put(f"{101 + number}_V1_scan.pdf", b"%%PDF %d\n" % number)
        trace = tmp_path / "trace"
        traced = [needs.program("strace"), "-f", "-qq", "--seccomp-bpf", "-e", "trace=openat", "-o", str(trace)]
        subprocess.run([*traced, *DROPCAP, "run", "--once"], env=place.env(), capture_output=True, timeout=60, check=False)
        assert len(place.done()) + len(place.failed()) == FILES
    calls = trace.read_text()
    sent = len(re.findall(r'openat\([^"]*"\d+_V1_scan\.pdf"', calls))
    assert sent <= 3.5 * FILES, "looked into, taken, sent"
    assert len(re.findall(r'openat\([^"]*"(?:in_progress|done)"', calls)) <= 3 * FILES, (
        "four times without batches; batches are small where the machine is busy"
    )
