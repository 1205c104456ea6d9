"""What is dropped in the demo, in which order, and what must come of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dropcap.reasons import Reason

#: Outcomes of a file that is not stored.
WHY = frozenset({Reason.NO_RULE, Reason.NO_RECORD})

#: record, event, field, instance
Place = tuple[str, str, str, int | None]


@dataclass(frozen=True, slots=True)
class Step:
    """Some files dropped together.

    `outcomes` are the `result` or the `reason` for each file, `holds` what REDCap has afterwards. `rename` renames a file
    in failed/ first; `until` names the event to wait for before the next file is dropped.
    """

    title: str
    files: Mapping[str, bytes]
    outcomes: Mapping[str, str]
    holds: Mapping[Place, bytes] = field(default_factory=dict)
    rename: tuple[str, str] | None = None
    until: Mapping[str, str] = field(default_factory=dict)


def _file(label: str, size: int) -> bytes:
    """Some bytes, the same each time and different for each label."""
    return b"%PDF-1.7 " + (label.encode() + b"\n") * (size // (len(label) + 1))


OLD_CONSENT = _file("consent of 101, first version", 12_000)
NEW_CONSENT = _file("consent of 101, corrected version", 13_500)
_MONTH_6 = _file("consent of 101 at month 6", 9_000)
_LABS = (_file("first sample of 102", 48_000), _file("second sample of 102", 2_000_000))
_TYPO = _file("consent of 103", 11_000)

STORY: tuple[Step, ...] = (
    Step(
        "A consent form for each of two visits",
        {"101_V1_consent.pdf": OLD_CONSENT, "101_V2_consent.pdf": _MONTH_6},
        {"101_V1_consent.pdf": "stored", "101_V2_consent.pdf": "stored"},
        {("101", "baseline_arm_1", "consent_pdf", None): OLD_CONSENT, ("101", "month_6_arm_1", "consent_pdf", None): _MONTH_6},
    ),
    Step(
        "Two reports for a repeating instrument",
        {"102_V1_lab_a.pdf": _LABS[0], "102_V1_lab_b.pdf": _LABS[1]},
        {"102_V1_lab_a.pdf": "stored", "102_V1_lab_b.pdf": "stored"},
        {("102", "baseline_arm_1", "lab_report", 1): _LABS[0], ("102", "baseline_arm_1", "lab_report", 2): _LABS[1]},
        until={"102_V1_lab_a.pdf": "done"},
    ),
    Step(
        "A typing error in a name, and a record that does not exist",
        {"103_V1_consnet.pdf": _TYPO, "999_V1_consent.pdf": _file("consent of nobody", 8_000)},
        {"103_V1_consnet.pdf": Reason.NO_RULE, "999_V1_consent.pdf": Reason.NO_RECORD},
    ),
    Step(
        "The typing error is put right: renamed within failed/",
        {},
        {"103_V1_consent.pdf": "stored"},
        {("103", "baseline_arm_1", "consent_pdf", None): _TYPO},
        rename=("103_V1_consnet.pdf", "103_V1_consent.pdf"),
    ),
    Step(
        "A corrected version of the first consent form",
        {"101_V1_consent.pdf": NEW_CONSENT},
        {"101_V1_consent.pdf": "replaced"},
        {("101", "baseline_arm_1", "consent_pdf", None): NEW_CONSENT},
    ),
)


def write_config(root: Path, drop: Path, url: str, token: str, more: str = "") -> Path:
    """Write a token file and the configuration into `root`, with `more` sections; the path of the latter."""
    token_file = root / "token"
    with open(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(token)
    # JSON strings are YAML strings, whatever the temporary folder is called.
    path = root / "config.yaml"
    paths = {"state_dir": root / "state", "drop": drop, "token_file": token_file}
    text = _CONFIG.format(url=url, **{name: json.dumps(str(path)) for name, path in paths.items()})
    path.write_text(text + more, encoding="utf-8")
    return path


_CONFIG = """\
# The demo's configuration. config.example.yaml shows everything that there is.
state_dir: {state_dir}
contact: "Data desk, ext. 4711"
log: {{format: json}}
tables:
  visits: {{V1: baseline_arm_1, V2: month_6_arm_1}}
projects:
  trial:
    url: {url}
    token_file: {token_file}
folders:
  consents:
    path: {drop}
    project: trial
    settle_closed: 200ms     # default: 5s
    settle_quiet: 1s         # default: 15s
    min_free: 0
    rules:
      - name: consent
        pattern: "{{record:digits}}_{{visit:visits}}_consent.pdf"
        event: "{{visit|visits}}"
        field: consent_pdf
      - name: lab
        pattern: "{{record:digits}}_{{visit:visits}}_lab_*.pdf"
        event: "{{visit|visits}}"
        field: lab_report
        instance: next
"""
