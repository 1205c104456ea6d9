"""A sick network: whatever is cut, reset, delayed or swallowed, nothing is falsely done or failed, nothing sent twice."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest

from redcap_sandbox import Fault, RowKey, Sandbox, demo_project
from tests.faults.proxy import Kind, proxy
from tests.site import TOKEN, Site, site

BASELINE = "baseline_arm_1"
OLD = b"what REDCap held before"
#: More than the client sends in one piece.
LARGE = b"%PDF" + bytes(range(256)) * 2048
FILES = {"101_V1_consent.pdf": LARGE, "101_V1_lab_1.pdf": b"%PDF one sample", "101_V1_lab_2.pdf": b"%PDF " + LARGE}

KINDS: tuple[Kind, ...] = get_args(Kind)
#: A 413 is an answer: the file is too large. Everything else says nothing about a file.
REFUSING = {"early_413"}


def spoil(place: Site) -> None:
    """Quick time-outs, an old file in REDCap, and the files."""
    place.project.update(timeout="1s", connect_timeout="1s", deadline="20s")
    place.write_config()
    place.box.project.store.put_bytes("101", RowKey(BASELINE), "consent_pdf", "old.pdf", OLD)


def wrong(place: Site, files: dict[str, bytes] = FILES) -> list[str]:
    """What is not as it should be once all is delivered."""
    found = [] if place.done() == sorted(files) else [f"done/ has {place.done()}"]
    found += [f"failed/ has {name}: {place.why(name)}" for name in place.failed()]
    lying = [name for name in place.everywhere() if not name.startswith(".dropcap-")]  # the page may just be being written
    if {place.drop / n for n in lying} != {place.drop / "done" / n for n in place.names("done")}:
        found.append(f"files lie in {lying}")
    if "101_V1_consent.pdf" in files:
        if place.box.content("101", "consent_pdf", BASELINE) != files["101_V1_consent.pdf"]:
            found.append("REDCap has another consent")
        kept = [(place.kept / n).read_bytes() for n in place.copies()]
        if kept != [OLD]:
            found.append(f"copies are kept of {[content[:60] for content in kept]}")
    labs = {h.instance: place.box.content("101", "lab_report", BASELINE, h.instance) for h in place.box.holdings() if h.instance}
    samples = sorted(content for name, content in files.items() if "lab" in name)
    if sorted(labs) != list(range(1, len(samples) + 1)) or sorted(labs.values()) != samples:
        found.append(f"REDCap has the instances {sorted(labs)}")
    return found


def deliver(kind: Kind, action: str, root: Path) -> list[str]:
    """Deliver the files through one trouble of `kind`; what is wrong then."""
    root.mkdir()
    with Sandbox(demo_project(), token=TOKEN) as box, proxy(box.port) as between, site(root, box) as place:
        place.project["url"] = between.url
        spoil(place)
        trouble = between.trouble(kind, "import" if action == "import" else "export")
        for name, content in FILES.items():
            place.put(name, content)
        daemon = place.start()
        daemon.wait_for("done", len(FILES), patience=60)
        daemon.stop()
        found = wrong(place)
        if not trouble.struck.is_set():
            found.append("the trouble did not strike")
        found += [f"in the log: {line}" for line in daemon.events("internal_error") + daemon.events("failed")]
        arrived = [r for r in box.requests if (r.content, r.action, r.status) == ("file", "import", 200)]
        if len(arrived) != len(FILES):
            found.append(f"{len(arrived)} imports arrived where {len(FILES)} are enough")
        return found


@pytest.mark.slow
@pytest.mark.parametrize("action", ["import", "export"])
def test_one_trouble_of_each_kind(action: str, tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if action == "export" or kind not in REFUSING]
    with ThreadPoolExecutor(len(kinds)) as pool:
        found = dict(zip(kinds, pool.map(lambda kind: deliver(kind, action, tmp_path / kind), kinds), strict=True))
    assert {kind: texts for kind, texts in found.items() if texts} == {}


def test_a_413_in_the_middle_of_the_body_refuses_that_file_alone(tmp_path: Path) -> None:
    with Sandbox(demo_project(), token=TOKEN) as box, proxy(box.port) as between, site(tmp_path, box) as place:
        place.project["url"] = between.url
        place.write_config()
        between.trouble("early_413", "import")
        place.put("102_V1_consent.pdf", LARGE)
        assert place.once().returncode == 1
        assert place.failed() == ["102_V1_consent.pdf"]
        assert "413" in (place.jobs()[0].message or "")
        place.put("103_V1_consent.pdf", LARGE)
        assert place.once().returncode == 0
        assert hashlib.sha256(box.content("103", "consent_pdf")).digest() == hashlib.sha256(LARGE).digest()


def test_a_network_that_swallows_everything_is_asked_once_at_a_time_and_taken_up_again(tmp_path: Path) -> None:
    with Sandbox(demo_project(), token=TOKEN) as box, proxy(box.port) as between, site(tmp_path, box) as place:
        place.project["url"] = between.url
        spoil(place)
        holes = between.trouble("black_hole", times=3)
        daemon = place.start()
        for name, content in FILES.items():
            place.put(name, content)
        daemon.wait_for("done", len(FILES), patience=60)
        assert holes.times == 0
        assert wrong(place) == []
        assert daemon.events("failed") == []


#: Faults of the sandbox, and whether they strike imports, exports or both.
SICK = [
    ("empty_200_without_storing", "import"),
    ("stored_then_500", "import"),
    ("html_200", "import"),
    ("html_200", "export"),
    ("maintenance", "export"),
    ("token_echo", "import"),
    ("redirect", "import"),
    ("redirect", "export"),
    ("rate_429", "export"),
    ("wrong_content", "export"),
    ("truncated_body", "import"),
    ("truncated_body", "export"),
    ("drip", "import"),
    ("slow_read", "import"),
]


def endure(fault: tuple[str, str], root: Path) -> list[str]:
    kind, action = fault
    root.mkdir()
    files = {name: content for name, content in FILES.items() if "lab" in name}
    with Sandbox(demo_project(), token=TOKEN) as box, site(root, box) as place:
        place.project.update(timeout="5s")
        place.write_config()
        speeds = {"drip": {"bytes_per_second": 2000}, "slow_read": {"bytes_per_second": 1_000_000}}
        box.ill(Fault(kind, times=1, match={"content": "file", "action": action}, **speeds.get(kind, {})))
        for name, content in files.items():
            place.put(name, content)
        daemon = place.start()
        # What REDCap itself refuses is an answer: such a file goes to failed/, and is tried again here.
        if kind == "token_echo":
            daemon.wait_for("failed", patience=30)
            if TOKEN in "".join(daemon.raw) or any(TOKEN in place.why(name) for name in place.failed()):
                return ["the token was told"]
            place.dropcap("retry", "--failed")
        daemon.wait_for("done", len(files), patience=60)
        found = wrong(place, files)
        if TOKEN in "".join(daemon.raw):
            found.append("the token was told")
        if not box.illness.wait(1, 0):
            found.append("the fault did not strike")
        found += [f"in the log: {line}" for line in daemon.events("internal_error")]
        if kind != "token_echo":
            found += [f"in the log: {line}" for line in daemon.events("failed")]
        return found


@pytest.mark.slow
def test_one_fault_of_each_kind(tmp_path: Path) -> None:
    with ThreadPoolExecutor(len(SICK)) as pool:
        roots = [tmp_path / f"{kind}_{action}" for kind, action in SICK]
        found = dict(zip(SICK, pool.map(endure, SICK, roots), strict=True))
    assert {fault: texts for fault, texts in found.items() if texts} == {}


def test_one_wrong_answer_to_a_readback_makes_no_second_instance(place: Site) -> None:
    place.box.ill(Fault("stored_then_500", times=1, match={"content": "file", "action": "import"}))
    place.box.ill(Fault("wrong_content", times=1, match={"content": "file", "action": "export"}))
    place.put("101_V1_lab_1.pdf", b"%PDF one sample")
    daemon = place.start()
    daemon.wait_for("done", patience=30)
    assert wrong(place, {"101_V1_lab_1.pdf": b"%PDF one sample"}) == []
