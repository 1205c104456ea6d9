"""Taking up a changed configuration: nobody waits for a share, and what is seen is of now."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import pytest

from dropcap.sandbox.fault import Fault
from tests.shares.mounting import drop, errfs
from tests.site import Daemon, Site, eventually

IMPORT = {"content": "file", "action": "import"}


def reload(place: Site, daemon: Daemon) -> None:
    before = len(daemon.events("reloaded"))
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded", before + 1)


def page(folder: Path) -> str:
    found = folder / "_STATUS.html"
    return found.read_text() if found.exists() else ""


def test_the_page_of_a_changed_folder_goes_on_at_once(place: Site) -> None:
    daemon = place.start()
    eventually(lambda: page(place.drop))
    place.folder["rescan"] = "3s"
    reload(place, daemon)
    place.put("999_V1_consent.pdf")
    daemon.wait_for("failed")
    eventually(lambda: "999_V1_consent.pdf" in page(place.drop), patience=15)


def test_the_page_of_a_folder_that_left_is_left_to_grow_old(place: Site) -> None:
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["others"] = {**place.folder, "path": str(other)}
    place.write_config()
    daemon = place.start()
    eventually(lambda: page(other))
    place.box.ill(Fault("delay", seconds=2.0, match=IMPORT))
    (other / "101_V1_consent.pdf").write_bytes(b"under way")
    daemon.wait_for("sending", folder="others")
    del place.config["folders"]["others"]
    reload(place, daemon)
    before = page(other)
    daemon.wait_for("done", folder="others")  # what was under way is still filed
    place.put("102_V1_consent.pdf")
    daemon.wait_for("done", folder="consents")
    assert page(other) == before


def test_a_folder_that_comes_back_goes_on(place: Site) -> None:
    other = place.root / "other"
    other.mkdir()
    mine = {**place.folder, "path": str(other)}
    place.config["folders"]["others"] = mine
    place.write_config()
    daemon = place.start()
    for content in (b"one", b"two"):
        (other / "101_V1_consent.pdf").write_bytes(content)
        eventually(lambda content=content: content in [place.box.content(h.record, h.field) for h in place.box.holdings()])
        del place.config["folders"]["others"]
        reload(place, daemon)
        place.config["folders"]["others"] = mine
        reload(place, daemon)
    assert not daemon.events("internal_error")


@pytest.mark.parametrize("hung", [1, 3])
def test_a_reload_waits_for_no_share(place: Site, hung: int) -> None:
    """Only the contact changes, while shares hang: the folders that are well go on at once."""
    with contextlib.ExitStack() as stack:
        shares = []
        for number in range(hung):
            root = place.root / f"share{number}"
            root.mkdir()
            path = root / "drop"
            shares.append(stack.enter_context(errfs(root, path)))
            place.config["folders"][f"share{number}"] = {**place.folder, "path": str(path), "rescan": "300ms"}
        place.write_config()
        daemon = place.start()
        for share in shares:
            drop(share.path, "101_V1_scan.tif", b"not to hang")
        daemon.wait_for("done", hung)
        for share in shares:
            share.set(stat="block", opendir="block", readdir="block", open="block")
        time.sleep(1.0)  # a walk of each, which hangs then
        place.config["contact"] = "Somebody else, ext. 12"
        began = time.monotonic()
        reload(place, daemon)
        place.put("102_V1_consent.pdf", b"goes on")
        daemon.wait_for("done", folder="consents")
        assert time.monotonic() - began < 5.0
        place.put("999_V1_consent.pdf", b"for nobody")
        daemon.wait_for("failed", folder="consents")
        assert "Somebody else" in place.why("999_V1_consent.pdf")
        for share in shares:
            share.set()
        for number, share in enumerate(shares):
            drop(share.path, "103_V1_scan.tif", b"back again %d" % number)
        daemon.wait_for("done", hung + 1 + hung, patience=40)
        assert daemon.stop() == 0


def test_a_folder_is_changed_over_and_over_under_load(place: Site) -> None:
    """Every file arrives once, whatever channel it was claimed, sent and filed by."""
    place.box.ill(Fault("delay", seconds=0.05, match=IMPORT))
    daemon = place.start()
    names = [f"{record}_V{visit}_consent.pdf" for record in range(101, 121) for visit in (1, 2)]
    for number, name in enumerate(names):
        place.put(name, name.encode())
        if number % 4 == 0:
            place.folder["rescan"] = f"{2 + number / 100:.2f}s"
            reload(place, daemon)
    daemon.wait_for("done", len(names), patience=60)
    assert place.done() == sorted(names)
    imports = [r for r in place.box.requests if (r.content, r.action) == ("file", "import")]
    assert len(imports) == len(names)
    assert not daemon.events("internal_error")
