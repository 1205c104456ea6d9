"""Copies of what REDCap held: for nobody who may drop files, on whatever way; and a place that fails stops nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redcap_sandbox import Fault, Limits, Sandbox, demo_project
from tests import needs
from tests.shares.mounting import bindfs, errfs, fill, tmpfs
from tests.site import TOKEN, Site, eventually, site

#: One who may drop: a member of the folder's group, with no other rights.
DROPPER, DROPPERS = 4711, 4712
IMPORT = {"content": "file", "action": "import"}

#: Reads all that it can beneath the directories that it is given, and tells what.
_READ = f"""
import os, sys
os.setgroups([{DROPPERS}]); os.setgid({DROPPERS}); os.setuid({DROPPER})
for top in sys.argv[1:]:
    for root, _, files in os.walk(top):
        for name in files:
            try:
                with open(os.path.join(root, name), 'rb') as file:
                    sys.stdout.buffer.write(file.read())
            except OSError:
                pass
"""


def read_by_a_dropper(*tops: Path) -> bytes:
    """All that a dropper can read there."""
    done = subprocess.run([sys.executable, "-c", _READ, *map(str, tops)], capture_output=True, check=True)
    return done.stdout


def dropped_by_a_dropper(place: Site, names: list[str], content: bytes) -> None:
    code = (
        f"import os, sys; os.setgroups([{DROPPERS}]); os.setgid({DROPPERS}); os.setuid({DROPPER})\n"
        "for name in sys.argv[2:]:\n"
        "    with open(os.path.join(sys.argv[1], name), 'wb') as file: file.write(sys.stdin.buffer.read() or b'junk')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(place.drop), *names], input=content, capture_output=True)
    assert done.returncode == 0, done.stderr.decode() + "\n".join(place.everywhere())


@pytest.fixture
def shared() -> Iterator[Site]:
    """The drop folder is its droppers'; and they may go as far as the state directory. (Not beneath pytest's own directory: each
    pytest that starts closes that to others.)
    """
    needs.root("to become somebody else")
    with tempfile.TemporaryDirectory(prefix="dropcap-test-") as name, site(Path(name)) as place:
        place.root.chmod(0o711)
        os.chown(place.drop, 0, DROPPERS)
        place.drop.chmod(0o2770)
        yield place


def test_thirty_files_of_junk_show_a_dropper_nothing(shared: Site) -> None:
    place = shared
    records = [record for record in ("101", "102", "103") for _ in range(10)]
    for record in dict.fromkeys(records):
        place.put(f"{record}_V1_consent.pdf", b"a secret of " + record.encode())
    daemon = place.start()
    daemon.wait_for("done", 3)
    for path in (place.drop / "done").rglob("*.pdf"):
        path.unlink()  # what was dropped itself is the droppers' to see
    for number, record in enumerate(records):
        dropped_by_a_dropper(place, [f"{record}_V1_consent.pdf"], b"junk %d" % number)
        daemon.wait_for("done", 4 + number)
    assert len(place.copies()) == 30
    seen = read_by_a_dropper(place.drop, place.state, place.kept, *(place.kept / name for name in place.copies()))
    assert b"junk" in seen, "the test can see what droppers can"
    assert b"secret" not in seen
    for name in place.copies():
        assert (place.kept / name).stat().st_mode & 0o077 == 0
        assert (place.kept / f"{name}.json").stat().st_mode & 0o077 == 0
    assert not (place.drop / "preserved").exists()
    assert {line["kept_as"] for line in daemon.events("preserved")} == {str(place.kept / name) for name in place.copies()}


def test_what_redcap_then_refuses_shows_a_dropper_nothing(tmp_path: Path) -> None:
    needs.root("to give directories away")
    limits = Limits(upload_max_filesize=1000, post_max_size=100_000)
    with Sandbox(demo_project(), token=TOKEN, limits=limits) as box, site(tmp_path, box) as place:
        os.chown(place.drop, -1, DROPPERS)
        place.drop.chmod(0o2770)
        place.put("101_V1_consent.pdf", b"a secret")
        assert place.once().returncode == 0
        place.put("101_V1_consent.pdf", b"x" * 5000)
        assert place.once().returncode == 1
        assert place.failed() == ["101_V1_consent.pdf"]
        assert box.content("101", "consent_pdf", "baseline_arm_1") == b"a secret"
        (kept,) = place.copies()
        assert (place.kept / kept).read_bytes() == b"a secret"
        assert (place.kept / kept).stat().st_mode & 0o077 == 0
        # Tried again and again: kept once.
        for _ in range(2):
            place.dropcap("retry", "--failed")
            place.once()
        assert place.copies() == [kept]


def test_the_same_bytes_are_kept_once_by_many_files_and_over_restarts(place: Site) -> None:
    for _ in range(3):
        for content in (b"one", b"two"):
            place.put("101_V1_consent.pdf", content)
            assert place.once().returncode == 0
    assert sorted((place.kept / name).read_bytes() for name in place.copies()) == [b"one", b"two"]
    told = [job.preserved_as for job in place.jobs()]
    assert told[0] is None
    assert set(told[1:]) == {str(place.kept / name) for name in place.copies()}


def test_an_import_that_goes_wrong_is_tried_again_with_the_one_copy(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"one")
    daemon = place.start()
    daemon.wait_for("done")
    place.box.ill(Fault("status", code=503, times=3, match=IMPORT))
    place.put("101_V1_consent.pdf", b"two")
    daemon.wait_for("done", 2)
    assert len(place.copies()) == 1


# A place that others could get at -----------------------------------------------------------------------------------


def two_folders(place: Site) -> Path:
    """A second folder beside the first, with the place that it has by default."""
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["scans"] = {**place.folder, "path": str(other)}
    return other


def inside(place: Site) -> Path:
    (place.drop / "kept").mkdir(mode=0o700)
    return place.drop / "kept"


def by_a_link(place: Site) -> Path:
    (place.root / "link").symlink_to(inside(place))
    return place.root / "link"


def in_the_other(place: Site) -> Path:
    return place.root / "other"


def written_by_a_group(place: Site) -> Path:
    made = place.root / "kept"
    made.mkdir()
    os.chown(made, -1, DROPPERS)
    made.chmod(0o770)
    return made


def written_above_by_everybody(place: Site) -> Path:
    made = place.root / "open" / "kept"
    made.mkdir(parents=True, mode=0o700)
    made.parent.chmod(0o777)
    return made


def of_somebody_else(place: Site) -> Path:
    made = place.root / "kept"
    made.mkdir(mode=0o700)
    os.chown(made, DROPPER, -1)
    return made


def made_readable(place: Site) -> Path:
    made = place.root / "kept"
    (made / "consents").mkdir(parents=True)
    (made / "consents").chmod(0o750)
    return made


WAYS: list[Callable[[Site], Path]] = [
    inside,
    by_a_link,
    in_the_other,
    written_by_a_group,
    written_above_by_everybody,
    of_somebody_else,
    made_readable,
]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_such_a_place_is_an_error_and_its_folder_is_not_started(place: Site, way: Callable[[Site], Path]) -> None:
    needs.root("to give directories away")
    other = two_folders(place)
    place.folder["preserve_in"] = str(way(place))
    place.write_config()
    checked = place.dropcap("check", "--offline")
    assert checked.returncode == 1
    (line,) = [line for line in checked.stdout.splitlines() if line.startswith("error")]
    assert "folder consents" in line
    assert "preserve_in" in line
    place.put("101_V1_consent.pdf", b"one")
    (other / "102_V1_consent.pdf").write_bytes(b"two")
    daemon = place.start()
    (away,) = daemon.wait_for("folder_away", folder="consents")
    assert "copies of what REDCap held would not be safe" in away["message"]
    daemon.wait_for("done", folder="scans")
    assert (place.drop / "101_V1_consent.pdf").exists()
    status = place.dropcap("status")
    assert status.returncode == 1
    assert "would not be safe" in status.stdout
    # Mended, it goes on with a reload.
    del place.folder["preserve_in"]
    place.write_config()
    daemon.process.send_signal(1)
    daemon.wait_for("done", folder="consents")
    assert daemon.stop() == 0


def test_a_place_that_is_mended_while_dropcap_runs(place: Site) -> None:
    keep = place.root / "kept"
    keep.mkdir()
    keep.chmod(0o777)
    place.folder["preserve_in"] = str(keep)
    place.write_config()
    place.put("101_V1_consent.pdf", b"one")
    daemon = place.start()
    daemon.wait_for("folder_away")
    keep.chmod(0o755)
    daemon.wait_for("done")
    place.put("101_V1_consent.pdf", b"two")
    (told,) = daemon.wait_for("preserved")
    assert Path(told["kept_as"]).is_relative_to(keep / "consents")
    assert Path(told["kept_as"]).read_bytes() == b"one"
    assert place.copies() == []


def test_a_place_that_is_opened_to_others_while_dropcap_runs(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"a secret")
    daemon.wait_for("done")
    place.kept.chmod(0o755)
    place.put("101_V1_consent.pdf", b"junk")
    place.put("102_V1_consent.pdf", b"another")
    told, *_ = daemon.wait_for("retrying")
    assert told["reason"] == "no_copy"
    daemon.wait_for("done", 2)
    assert place.copies() == []
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"a secret"
    assert not daemon.events("paused")
    place.kept.chmod(0o700)
    daemon.wait_for("done", 3, patience=60.0)
    assert len(place.copies()) == 1


def test_a_folder_that_keeps_no_copies_needs_no_place(place: Site) -> None:
    place.folder.update(existing_file="replace", preserve_in=str(inside(place)))
    place.folder["rules"] = place.folder["rules"][:1]
    place.write_config()
    assert "preserve_in" not in place.dropcap("check", "--offline").stdout
    place.put("101_V1_consent.pdf", b"one")
    assert place.once().returncode == 0


def test_a_mount_that_shows_everybody_everything(place: Site) -> None:
    keep = place.root / "kept"
    with bindfs(place.root / "lower", keep, "--chmod-ignore", "-o", "allow_other", "-p", "0777"):
        place.folder["preserve_in"] = str(keep)
        place.write_config()
        checked = place.dropcap("check", "--offline")
        assert checked.returncode == 1
        assert "preserve_in" in next(line for line in checked.stdout.splitlines() if line.startswith("error"))
        daemon = place.start()
        daemon.wait_for("folder_away")


# A place that fails -------------------------------------------------------------------------------------------------


def test_without_room_only_what_needs_a_copy_waits(place: Site) -> None:
    other = two_folders(place)
    with tmpfs(place.root / "kept", "4m", "mode=0755") as keep:
        place.folder.update(preserve_in=str(keep), min_free="1MiB")
        place.write_config()
        daemon = place.start()
        place.put("101_V1_consent.pdf", b"one")
        daemon.wait_for("done")
        filler = fill(keep)
        place.put("101_V1_consent.pdf", b"two")
        told, *_ = daemon.wait_for("retrying", reason="no_space")
        asked = len([r for r in place.box.requests if r.action == "export"])
        place.put("102_V1_consent.pdf", b"in an empty field")
        place.put("101_V1_scan.pdf", b"in an empty field")
        (other / "103_V1_consent.pdf").write_bytes(b"of another folder")
        daemon.wait_for("done", 4)
        daemon.wait_for("retrying", 2, reason="no_space")
        assert len([r for r in place.box.requests if r.action == "export" and r.record == "101"]) <= asked + 1
        assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"one"
        assert not daemon.events("paused")
        assert str(place.root / "kept") in place.dropcap("status").stdout
        filler.unlink()
        daemon.wait_for("done", 5, patience=60.0)
        assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"two"
        assert [path.read_bytes() for path in keep.rglob("*.pdf")] == [b"one"]
        assert told["scope"] == "file"
        assert daemon.stop() == 0


def test_the_ledgers_gibibyte(place: Site) -> None:
    """What REDCap holds is not copied to the last bytes of the ledger's disk; what needs no copy goes on."""
    with tmpfs(place.state, "1000m", "mode=0755"):
        daemon = place.start()
        place.put("101_V1_consent.pdf", b"one")
        daemon.wait_for("done")
        place.put("101_V1_consent.pdf", b"two")
        told, *_ = daemon.wait_for("retrying", reason="no_space")
        assert "for the ledger" in told["message"]
        place.put("101_V1_consent.pdf", b"one")
        place.put("102_V1_consent.pdf", b"one")
        daemon.wait_for("done", 2)
        assert not daemon.events("paused")
        checked = place.dropcap("check", "--offline")
        assert "stay free for the ledger" in checked.stdout
        subprocess.run(["mount", "-o", "remount,size=1200m", str(place.state)], check=True)
        daemon.wait_for("preserved", patience=60.0)
        daemon.wait_for("done", 3)
        assert daemon.stop() == 0


def test_a_place_that_hangs_holds_up_only_what_needs_a_copy(place: Site) -> None:
    with errfs(place.root, place.root / "kept", "modes") as keep:
        os.chmod(place.root / "lower", 0o755)
        place.folder["preserve_in"] = str(place.root / "kept")
        place.write_config()
        daemon = place.start()
        place.put("101_V1_consent.pdf", b"one")
        daemon.wait_for("done")
        keep.set(create="block", stat="block", write="block", list="block")
        place.put("101_V1_consent.pdf", b"two")
        daemon.wait_for("sending", 2)
        for number in range(102, 105):
            place.put(f"{number}_V1_consent.pdf", b"in an empty field")
        daemon.wait_for("done", 4)
        told, *_ = daemon.wait_for("retrying", 1, patience=60.0)
        assert told["reason"] == "no_copy"
        assert not daemon.events("paused")
        assert not daemon.events("folder_away")
        keep.set()
        daemon.wait_for("done", 5, patience=60.0)
        assert place.box.content("101", "consent_pdf", "baseline_arm_1") == b"two"
        eventually(lambda: [path.read_bytes() for path in (place.root / "lower").rglob("*.pdf")] == [b"one"])
        assert daemon.stop() == 0


def test_a_place_that_is_not_there(place: Site) -> None:
    """A share that is not mounted: copies must not land beneath its mount point."""
    place.folder["preserve_in"] = str(place.root / "not" / "mounted")
    place.write_config()
    checked = place.dropcap("check", "--offline")
    assert checked.returncode == 1
    assert "there is no directory" in checked.stdout
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done")
    place.put("101_V1_consent.pdf", b"two")
    daemon.wait_for("retrying", reason="no_copy")
    place.put("102_V1_consent.pdf", b"three")
    daemon.wait_for("done", 2)
    (place.root / "not" / "mounted").mkdir(parents=True)
    daemon.wait_for("done", 3, patience=60.0)


def test_an_old_folder_of_copies_stays_and_is_told_of(place: Site) -> None:
    old = place.drop / "preserved" / "2026-01-02"
    old.mkdir(parents=True)
    (old / "101_V1_consent.pdf").write_bytes(b"an old copy")
    place.put("101_V1_consent.pdf", b"one")
    assert place.once().returncode == 0
    assert (old / "101_V1_consent.pdf").read_bytes() == b"an old copy"
    checked = place.dropcap("check", "--offline")
    (line,) = [line for line in checked.stdout.splitlines() if "preserved/ in it" in line]
    assert line.startswith("warning")
    assert "move" in line
