"""A small mix of files and what must be true of it afterwards, whenever and however often dropcap was killed in between."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dropcap.daemon.log import known
from dropcap.ledger.proof import prove
from redcap_sandbox import RowKey
from tests.site import Site

BASELINE = "baseline_arm_1"
OLD = b"%PDF what REDCap held before"
REFUSED = "999_V1_consent.pdf"
#: Name -> content: one that replaces, one plain, two that each take the next instance, one whose record is not there.
FILES = {
    "101_V1_consent.pdf": b"%PDF the new consent",
    "102_V1_consent.pdf": b"%PDF a first consent",
    "101_V1_lab_1.pdf": b"%PDF one sample",
    "101_V1_lab_2.pdf": b"%PDF another sample",
    REFUSED: b"of a record that is not there",
}
STORED = [name for name in FILES if name != REFUSED]


def drop(place: Site) -> None:
    """Let REDCap hold the old file, and drop the mix."""
    place.box.project.store.put_bytes("101", RowKey(BASELINE), "consent_pdf", "old.pdf", OLD)
    for name, content in FILES.items():
        place.put(name, content)


def whole_and_once(place: Site) -> list[str]:
    """What is wrong with where the files lie; true at any moment, dropcap running, dead or done."""
    found = Counter((place.drop / name).read_bytes() for name in place.everywhere() if not _temporary(name))
    wrong = [f"{name} is there {found[content]} times" for name, content in FILES.items() if found[content] != 1]
    return wrong + [f"something else is there: {content!r}" for content in found if content not in FILES.values()]


def nothing_lost(place: Site) -> list[str]:
    """What is wrong with REDCap's old file: it must be on disk, whole, before REDCap no longer has it."""
    kept = preserved(place)
    wrong = [f"a preserved copy is {content!r}" for content in kept if content != OLD]
    wrong += [f"nothing tells of {name}" for name in place.copies() if not (place.kept / f"{name}.json").is_file()]
    if place.box.content("101", "consent_pdf", BASELINE) != OLD and not kept:
        wrong.append("the old file was replaced before it was preserved")
    return wrong


def done_is_true(place: Site) -> list[str]:
    """What is wrong with done/: each file in it must be what REDCap holds."""
    held = [place.box.content(h.record, h.field, h.event, h.instance) for h in place.box.holdings()]
    return [f"done/ has {name}, REDCap has not" for name in place.done() if held.count(FILES[name]) != 1]


def ended_well(place: Site) -> list[str]:
    """What is wrong once everything has been delivered."""
    wrong = whole_and_once(place) + nothing_lost(place) + done_is_true(place)
    if place.done() != sorted(STORED) or place.failed() != [REFUSED]:
        wrong.append(f"done/ has {place.done()}, failed/ has {place.failed()}")
    if place.names("failed") != [REFUSED, f"{REFUSED}.why.txt"]:
        wrong.append(f"failed/ has {place.names('failed')}")
    labs = {h.instance: place.box.content("101", "lab_report", BASELINE, h.instance) for h in place.box.holdings() if h.instance}
    if sorted(labs) != [1, 2] or set(labs.values()) != {FILES["101_V1_lab_1.pdf"], FILES["101_V1_lab_2.pdf"]}:
        wrong.append(f"REDCap has the instances {labs}")
    sent = [r.record for r in place.box.requests if (r.content, r.action, r.status) == ("file", "import", 200)]
    if len(sent) != len(STORED):
        wrong.append(f"{len(sent)} imports arrived where {len(STORED)} are enough")
    wrong += [f"a leftover: {name}" for name in place.everywhere() if _temporary(name)]
    beside = sorted(path.name for path in place.kept.rglob("*") if path.is_file())
    if len(beside) != 2 or preserved(place) != [OLD]:
        wrong.append(f"where one copy and what tells of it should be, there is {beside}")
    return wrong + chains_hold(place)


def chains_hold(place: Site) -> list[str]:
    """What is wrong with the ledger's chains: whatever ended dropcap, all is sealed, and what was told is in it."""
    return [str(broken) for broken in prove(place.state / "ledger.db", known(place.state)).broken]


def preserved(place: Site) -> list[bytes]:
    """The copies of what REDCap held."""
    return [(place.kept / name).read_bytes() for name in place.copies()]


def _temporary(name: str) -> bool:
    return Path(name).name.startswith(".dropcap-")
