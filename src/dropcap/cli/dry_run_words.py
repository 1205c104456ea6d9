"""What `dropcap dry-run` calls the outcomes."""

from __future__ import annotations

from dropcap.preflight.survey import LANDS, Prospect

_WORDS = {
    "stored": "would be stored",
    "replaces": "would replace a file",
    "creates_record": "would be stored in a new record",
    "ignored": "ignored",
    "unsettled": "not settled yet",
    "incomplete": "not taken until it is whole",
    "waits": "would wait",
    "rights": "would be held (rights)",
    "left": "left alone",
    "not_a_file": "no regular file",
    "not_asked": "REDCap could not be asked",
}


def word(outcome: str) -> str:
    """An outcome, or the reason for which a file would be refused, in words."""
    return _WORDS.get(outcome, f"would fail ({outcome})")


def goal(one: Prospect) -> str:
    """Where a file would land; empty if it would not."""
    if one.outcome not in LANDS:
        return ""
    parts = [f"record {one.record}", f"event {one.event}" if one.event else "", f"field {one.field}"]
    parts.append(f"instance {one.instance}" if one.instance else "")
    return ", ".join(part for part in parts if part)
