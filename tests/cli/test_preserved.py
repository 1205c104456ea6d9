"""`dropcap preserved`: which copies there are, and fetching them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.site import DROPCAP, Site


@pytest.fixture
def kept(place: Site) -> Site:
    """Two copies: of a consent that was replaced, and of a scan that another folder's file replaced."""
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["scans"] = {**place.folder, "path": str(other)}
    place.write_config()
    daemon = place.start()
    for number, content in enumerate((b"the old consent", b"the new consent"), 1):
        place.put("101_V1_consent.pdf", content)
        daemon.wait_for("done", number)
    for number, content in enumerate((b"the old scan", b"the new scan")):
        (other / f"102_V2_scan_{number}.jpg").write_bytes(content)
        daemon.wait_for("done", 3 + number)
    assert daemon.stop() == 0
    return place


def told(place: Site, *words: str) -> list[dict[str, Any]]:
    done = place.dropcap("preserved", "--json", *words)
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_all_of_them(kept: Site) -> None:
    consent, scan = told(kept)
    assert consent == {
        "folder": "consents",
        "preserved": consent["preserved"],
        "job": 2,
        "project": "trial",
        "record": "101",
        "redcap_event": "baseline_arm_1",
        "field": "consent_pdf",
        "instance": None,
        "original_name": "101_V1_consent.pdf",
        "size": 15,
        "sha256": hashlib.sha256(b"the old consent").hexdigest(),
        "path": str(kept.kept / kept.copies()[0]),
        "there": True,
    }
    assert (scan["folder"], scan["record"], scan["original_name"]) == ("scans", "102", "102_V2_scan_0.jpg")
    listed = kept.dropcap("preserved")
    assert listed.returncode == 0
    for one in (consent, scan):
        for expected in (one["path"], one["sha256"], one["original_name"], f"{one['size']} bytes", one["field"], one["record"]):
            assert expected in listed.stdout


#: Words, and the records whose copies they find.
ASKED: tuple[tuple[list[str], list[str]], ...] = (
    (["101_V1_consent.pdf"], ["101"]),  # as it was dropped, and as it was called in REDCap
    (["102_V2_scan_1.jpg"], ["102"]),  # what the dropped file of this name replaced
    (["{other}/102_V2_scan_1.jpg"], ["102"]),
    (["SCAN_0"], ["102"]),  # a part of its name in REDCap
    (["consent_pdf_baseline"], ["101"]),  # a part of the copy's name
    (["{copy}"], ["101"]),
    (["nothing"], []),
    (["--record", "102"], ["102"]),
    (["--folder", "scans"], ["102"]),
    (["--since", "1h"], ["101", "102"]),
    (["--since", "2126-01-01"], []),
    (["scan", "--folder", "consents"], []),
)


def test_those_that_are_asked_for(kept: Site) -> None:
    here = {"other": kept.root / "other", "copy": kept.kept / kept.copies()[0]}
    for asked, records in ASKED:
        words = [word.format(**here) for word in asked]
        assert [one["record"] for one in told(kept, *words)] == records, words
        code = kept.dropcap("preserved", *words).returncode
        assert code == (0 if records or "--since" in words else 1), words


def test_an_unknown_folder(kept: Site) -> None:
    done = kept.dropcap("preserved", "--folder", "scan")
    assert done.returncode == 2
    assert "scans" in done.stderr


def test_fetched_whole_for_one_alone_and_over_nothing(kept: Site) -> None:
    to = kept.root / "fetched"
    os.umask(0)
    try:
        assert kept.dropcap("preserved", "--to", str(to)).returncode == 0
    finally:
        os.umask(0o022)
    assert stat.S_IMODE(to.stat().st_mode) == 0o700
    assert sorted(path.read_bytes() for path in to.iterdir()) == [b"the old consent", b"the old scan"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in to.iterdir()} == {0o600}
    again = kept.dropcap("preserved", "consent", "--to", str(to))
    assert again.returncode == 0
    assert again.stdout.strip().endswith(" (2).pdf")
    assert Path(again.stdout.strip()).read_bytes() == b"the old consent"
    assert len(list(to.iterdir())) == 3
    (one,) = told(kept, "consent", "--to", str(to))
    assert Path(one["fetched_as"]).read_bytes() == b"the old consent"


def test_one_that_is_not_what_it_was_is_not_fetched(kept: Site) -> None:
    (kept.kept / kept.copies()[0]).write_bytes(b"the odd consent")
    done = kept.dropcap("preserved", "--to", str(kept.root / "fetched"))
    assert done.returncode == 1
    assert "not those that were kept" in done.stderr
    assert [path.read_bytes() for path in (kept.root / "fetched").iterdir()] == [b"the old scan"]


def test_not_into_a_drop_folder(kept: Site) -> None:
    (kept.root / "link").symlink_to(kept.drop)
    for to in (kept.drop, kept.drop / "sub", kept.root / "link" / "sub"):
        done = kept.dropcap("preserved", "--to", str(to))
        assert done.returncode == 2
        assert "drop folder consents" in done.stderr
    assert not (kept.drop / "sub").exists()


def test_a_link_in_the_place_of_a_copy_is_not_followed(kept: Site) -> None:
    copy = kept.kept / kept.copies()[0]
    copy.unlink()
    copy.symlink_to(kept.token_file)
    done = kept.dropcap("preserved", "consent", "--to", str(kept.root / "fetched"))
    assert done.returncode == 1
    assert list((kept.root / "fetched").iterdir()) == []


def test_copies_that_an_earlier_dropcap_kept_on_the_share(kept: Site) -> None:
    (old,) = kept.copies()
    (kept.drop / "preserved").mkdir()
    shutil.copytree((kept.kept / old).parent, kept.drop / "preserved" / "2026-01-02")
    name = f"preserved/2026-01-02/{Path(old).name}"
    shutil.rmtree(kept.kept)
    ledger = sqlite3.connect(kept.state / "ledger.db")
    with ledger:
        ledger.execute("update job set preserved_as = ? where preserved_as is not null and folder = 'consents'", (name.encode(),))
    ledger.close()
    (one,) = told(kept, "--record", "101")
    assert one["path"] == str(kept.drop / name)
    history = kept.dropcap("history", "101_V1_consent.pdf")
    assert str(kept.drop / name) in history.stdout
    as_data = [json.loads(line) for line in kept.dropcap("history", "--json", "--record", "101").stdout.splitlines()]
    assert [job["preserved_as"] for job in as_data] == [None, str(kept.drop / name)]
    assert kept.dropcap("preserved", "101_V1_consent.pdf", "--to", str(kept.root / "fetched")).returncode == 0
    assert [path.read_bytes() for path in (kept.root / "fetched").iterdir()] == [b"the old consent"]


def test_what_nobody_kept_is_not_told_of(kept: Site) -> None:
    """Old copies lie on the share, where who may drop may write what he likes."""
    (old,) = kept.copies()
    true = json.loads((kept.kept / f"{old}.json").read_text())
    share = kept.drop / "preserved" / "2026-01-02"
    share.mkdir(parents=True)
    for number, wrong in enumerate([{"sha256": "x" * 5000}, {"sha256": ""}, {"size": -1}, {"size": True, "job": None}, {}]):
        (share / f"{number}.pdf.json").write_text(json.dumps({**true, **wrong}))
    assert [one["path"] for one in told(kept, "--record", "101")] == [str(share / "4.pdf"), str(kept.kept / old)]


def test_copies_of_a_folder_that_has_left_the_configuration(kept: Site) -> None:
    del kept.config["folders"]["scans"]
    kept.write_config()
    assert [one["folder"] for one in told(kept)] == ["consents", "scans"]
    assert [one["record"] for one in told(kept, "--folder", "scans")] == ["102"]


def test_copies_stay_known_when_preserve_in_changes(kept: Site) -> None:
    (kept.root / "elsewhere").mkdir()
    kept.folder["preserve_in"] = str(kept.root / "elsewhere")
    kept.write_config()
    kept.put("101_V1_consent.pdf", b"the third consent")
    assert kept.once().returncode == 0
    paths = [one["path"] for one in told(kept, "--record", "101")]
    assert [Path(path).read_bytes() for path in paths] == [b"the old consent", b"the new consent"]
    assert Path(paths[1]).is_relative_to(kept.root / "elsewhere" / "consents")


def test_none_yet(place: Site) -> None:
    done = place.dropcap("preserved")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no copies" in done.stderr
    assert place.dropcap("preserved", "101_V1_consent.pdf").returncode == 1


def test_somebody_who_may_not(kept: Site) -> None:
    needs.root("to give directories away")
    os.chown(kept.kept, 4711, -1)
    done = kept.dropcap("preserved")
    assert done.returncode == 0, "root may"
    done = subprocess.run([*needs.unprivileged(), *DROPCAP, "preserved"], env=kept.env(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "run this as dropcap's user" in done.stderr
    assert "Traceback" not in done.stderr
