"""Disks that are full, read-only or forbidden: one clear message, nothing half moved, and all goes on by itself."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dropcap.files.tree import Tree
from dropcap.intake.marker_heartbeat import MarkerHeartbeat
from dropcap.intake.owner import Marker, Run
from redcap_sandbox import Sandbox
from tests import needs
from tests.content.make import pdf
from tests.intake.conftest import Quiet
from tests.shares.mounting import drop, fill, tmpfs
from tests.site import Daemon, Site, eventually

OLD = Path(__file__).parents[1] / "ledger" / "ledger-0.1.0.db.gz"


def tracebacks(daemon: Daemon) -> list[str]:
    return [line for line in daemon.raw if "Traceback" in line or '"exception"' in line]


def imports(box: Sandbox) -> int:
    return sum((r.content, r.action) == ("file", "import") for r in box.requests)


def test_a_full_state_disk(place: Site) -> None:
    with tmpfs(place.state, "12m"):
        daemon = place.start()
        place.put("101_V1_consent.pdf", b"one")
        daemon.wait_for("done")
        filler = fill(place.state)
        place.put("102_V1_consent.pdf", b"two")
        place.put("holiday.jpg", b"nowhere")
        (told,) = daemon.wait_for("ledger_unwritable")
        assert "make room" in told["remedy"]
        assert {"102_V1_consent.pdf", "holiday.jpg"} == {Path(name).name for name in place.everywhere()} - {"101_V1_consent.pdf"}
        filler.unlink()
        daemon.wait_for("done", 2)
        daemon.wait_for("failed", 1)
        assert len(daemon.events("ledger_unwritable")) == 1, "said once"
        assert not tracebacks(daemon)
        assert daemon.stop() == 0
        assert place.box.content("102", "consent_pdf", "baseline_arm_1") == b"two"
        assert place.done() == ["101_V1_consent.pdf", "102_V1_consent.pdf"]
        assert imports(place.box) == 2


@pytest.mark.parametrize("before", ["an orderly end", "a kill", "an upgrade", "damage"])
def test_a_start_on_an_almost_full_state_disk_starts_or_ends_with_5(place: Site, before: str) -> None:
    """Whatever is free: where the first step does not fit, where the last one does not, and in between."""
    codes = set()
    for free in (0, 4, 8, 16, 32, 36, 40, 44, 48, 80, 200):
        with tmpfs(place.state, "3m"):
            if before == "an upgrade":
                (place.state / "ledger.db").write_bytes(gzip.decompress(OLD.read_bytes()))
            else:
                daemon = place.start()
                daemon.kill() if before == "a kill" else daemon.stop()
            if before == "damage":
                (place.state / "ledger.db").write_bytes(b"damaged" * 10_000)
                (place.state / "ledger.in-use").touch()
            filler = fill(place.state, free * 1024)
            daemon = place.start(ready=False)
            eventually(lambda: daemon.events("ready") or daemon.process.poll() is not None)  # noqa: B023
            codes.add(code := daemon.process.poll())
            assert not tracebacks(daemon)
            if code is not None:
                assert daemon.stop() == 5, "ended, and its last words are read"
                assert any("make room" in line and str(place.state) in line for line in daemon.raw), daemon.raw
                filler.unlink()
                daemon = place.start()
            assert daemon.stop() == 0
        for ours in (".dropcap", "_STATUS.html"):
            (place.drop / ours).unlink(missing_ok=True)
    assert 5 in codes


def test_commands_and_a_run_once_end_at_once_on_a_full_state_disk(place: Site) -> None:
    with tmpfs(place.state, "3m"):
        assert place.once().returncode == 0
        for free in (0, 36):
            filler = fill(place.state, free * 1024)
            for words in (["run", "--once"], ["pause", "--folder", "consents"]):
                told = place.dropcap(*words, patience=30.0)
                assert told.returncode == 2, told
                assert "ledger.db cannot be" in told.stderr
                assert "Traceback" not in told.stderr
            filler.unlink()
        assert place.once().returncode == 0


def test_status_knows_at_once_that_the_ledger_cannot_be_written(place: Site) -> None:
    def status() -> tuple[int, dict[str, Any]]:
        result = place.dropcap("status", "--json")
        return result.returncode, json.loads(result.stdout)

    with tmpfs(place.state, "12m"):
        daemon = place.start()
        assert status()[0] == 0
        filler = fill(place.state)
        code, told = status()
        assert (code, told["ok"], bool(told["ledger_unwritable"])) == (1, False, True)
        filler.unlink()
        eventually(lambda: status()[0] == 0)
        assert not tracebacks(daemon)
        assert daemon.stop() == 0


def test_a_state_disk_that_is_read_only(place: Site) -> None:
    place.state.mkdir()
    with tmpfs(place.state, "8m"):
        place.put("101_V1_consent.pdf")
        assert place.once().returncode == 0
        remount(place.state, "ro")
        for words in (["run"], ["run", "--once"], ["pause", "--folder", "consents"], ["retry", "--failed"]):
            told = place.dropcap(*words)
            assert told.returncode == (5 if words == ["run"] else 2), "the daemon is started again: it may pass"
            assert f"state_dir {place.state} cannot be written" in told.stderr
            assert "Traceback" not in told.stderr


def test_a_share_with_less_than_min_free(place: Site) -> None:
    with tmpfs(place.drop, "8m"):
        place.folder["min_free"] = "2MiB"
        place.write_config()
        daemon = place.start()
        daemon.wait_for("folder_watched")
        filler = fill(place.drop, leave=1024 * 1024)
        drop(place.drop, "101_V1_consent.pdf", b"one")
        (told,) = daemon.wait_for("folder_full")
        assert "make room" in told["remedy"]
        assert place.everywhere() == [".filler", "101_V1_consent.pdf"]
        status = place.dropcap("status")
        assert status.returncode == 1
        assert "room" in status.stdout + status.stderr
        filler.unlink()
        daemon.wait_for("done")
        assert len(daemon.events("folder_full")) == 1
        assert daemon.stop() == 0


def test_a_share_that_is_full_to_the_last_byte(place: Site) -> None:
    """No room for a why.txt, nor for a copy of what REDCap holds: the files stay where they are until there is some."""
    with tmpfs(place.drop, "4m"):
        daemon = place.start()
        drop(place.drop, "101_V1_consent.pdf", b"the old one")
        daemon.wait_for("done")
        # It is taken though the disk fills up before it has rested, since nobody can take it for cut off: full is the disk in
        # the moment of filing.
        whole = pdf()
        drop(place.drop, "101_V1_consent.pdf", whole)
        drop(place.drop, "holiday.jpg", b"nowhere")
        filler = fill(place.drop)
        daemon.wait_for("paused", scope="folder", reason="filing")
        assert "holiday.jpg" not in place.failed(), "not without its reason"
        assert any(name.endswith("holiday.jpg") for name in place.everywhere())
        filler.unlink()
        daemon.wait_for("failed")
        daemon.wait_for("done", 2)
        assert "its name does not fit" in place.why("holiday.jpg")
        assert place.box.content("101", "consent_pdf", "baseline_arm_1") == whole
        assert place.copies()
        assert not [name for name in place.names("") if "/.dropcap-" in f"/{name}"], "nothing half written is left"
        assert not tracebacks(daemon)
        assert daemon.stop() == 0


def test_a_share_that_is_remounted_read_only(place: Site) -> None:
    with tmpfs(place.drop, "4m"):
        place.folder["settle_closed"] = "1s"
        place.write_config()
        daemon = place.start()
        drop(place.drop, "101_V1_consent.pdf", b"one")
        daemon.wait_for("done")
        drop(place.drop, "102_V1_consent.pdf", b"two")
        remount(place.drop, "ro")
        told = eventually(lambda: _trouble(daemon))
        assert "read-only" in told.lower()
        assert "name it in ReadWritePaths=" in told
        assert [name for name in place.everywhere() if not name.startswith("done/")] == ["102_V1_consent.pdf"]
        remount(place.drop, "rw")
        daemon.wait_for("done", 2)
        assert len(daemon.events("folder_away") + daemon.events("entry_ignored") + daemon.events("paused")) == 1
        assert not tracebacks(daemon)
        assert daemon.stop() == 0


def remount(path: Path, how: str) -> None:
    """Once nobody writes there: the status page may just be being written."""
    command = ["mount", "-o", f"remount,{how}", str(path)]
    eventually(lambda: subprocess.run(command, capture_output=True).returncode == 0)


def _trouble(daemon: Daemon) -> str:
    found = daemon.events("folder_away") + daemon.events("paused") + daemon.events("entry_ignored")
    return str(found[0]["message"]) if found else ""


def test_permission_taken_away(place: Site) -> None:
    """The daemon runs without root's privileges; its rights go and come back."""
    needs.root("to act where dropcap may not")
    daemon = place.start(prefix=needs.unprivileged())
    daemon.wait_for("folder_watched")
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done")
    os.chmod(place.drop, 0o555)
    place.put("102_V1_consent.pdf", b"two")
    told = eventually(lambda: _trouble(daemon))
    assert "may" in told
    assert "102_V1_consent.pdf" in place.everywhere()
    assert len(daemon.events("folder_away") + daemon.events("entry_ignored") + daemon.events("paused")) == 1
    os.chmod(place.drop, 0o755)
    daemon.wait_for("done", 2)
    assert not tracebacks(daemon)
    assert daemon.stop() == 0


def test_a_subfolder_that_may_not_be_read(place: Site) -> None:
    """It is told of alone, also when it comes while dropcap looks; the folder does not go away for it."""
    needs.root("to act where dropcap may not")
    daemon = place.start(prefix=needs.unprivileged())
    daemon.wait_for("folder_watched")
    private = place.root / "private"
    private.mkdir(0o000)
    private.rename(place.drop / "private")
    daemon.wait_for("entry_ignored", file="private")
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done")
    assert not daemon.events("folder_away")
    (place.drop / "private" / "102_V1_consent.pdf").write_bytes(b"two")
    os.chmod(place.drop / "private", 0o777)
    daemon.wait_for("done", 2)
    assert daemon.stop() == 0


def test_a_file_that_may_not_be_read(place: Site) -> None:
    """One unreadable file is told of once and left; the others go on, and it too once it may be read."""
    needs.root("to give files away")
    daemon = place.start(prefix=needs.unprivileged())
    secret = place.root / "secret"
    secret.write_bytes(b"two")
    os.chown(secret, 65534, 65534)
    secret.chmod(0o600)
    secret.rename(place.drop / "102_V1_consent.pdf")
    place.put("101_V1_consent.pdf", b"one")
    daemon.wait_for("done")
    (told,) = daemon.wait_for("entry_ignored")
    assert told["file"] == "102_V1_consent.pdf"
    assert "give dropcap's user the right" in told["message"]
    assert (place.drop / "102_V1_consent.pdf").read_bytes() == b"two"
    page = place.drop / "_STATUS.html"
    eventually(lambda: page.exists() and "102_V1_consent.pdf" in page.read_text())
    (place.drop / "102_V1_consent.pdf").chmod(0o644)
    daemon.wait_for("done", 2)
    assert len(daemon.events("entry_ignored")) == 1
    assert daemon.stop() == 0


def test_the_beat_on_a_full_disk_and_on_one_that_is_read_only(tmp_path: Path) -> None:
    """It is written in place, and so needs no room; whoever cannot write it is not sure of the folder for long."""
    drop_folder = tmp_path / "drop"
    drop_folder.mkdir()
    marker = Marker("an installation", "consents", "an id")
    with tmpfs(drop_folder, "1m"):
        (drop_folder / ".dropcap").write_bytes(marker.to_bytes())
        filler = fill(drop_folder)
        tree = Tree(drop_folder)
        with pytest.raises(OSError, match="no room for its marker"):
            MarkerHeartbeat(tree, marker, Run.of(tmp_path), Quiet())  # that of the version before has no beat yet
        filler.unlink()
        heartbeat = MarkerHeartbeat(tree, marker, Run.of(tmp_path), Quiet(), every=0.05, lasts=0.5)
        fill(drop_folder)
        heartbeat.start()
        before = (drop_folder / ".dropcap").read_bytes()
        eventually(lambda: (drop_folder / ".dropcap").read_bytes() != before)
        assert heartbeat.sure()
        remount(drop_folder, "ro")
        eventually(lambda: not heartbeat.sure())
        with pytest.raises(OSError, match="Read-only"):
            heartbeat.confirm()
        remount(drop_folder, "rw")
        eventually(heartbeat.sure)
        heartbeat.end(within=5)
        tree.close()
