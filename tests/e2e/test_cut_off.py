"""What looks cut off stays until it is whole, and is refused in the end; what a person sends all the same is sent."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from tests.content.make import WHOLE, pdf
from tests.shares.mounting import tmpfs
from tests.site import Daemon, Site, eventually

PDF = pdf()
NAME = "101_V1_consent.pdf"


def impatient(place: Site, seconds: float = 2.0) -> Daemon:
    """The daemon, which refuses after so many seconds instead of an hour."""
    shorter = f"import dropcap.intake.content as content; content.REFUSED_AFTER = {seconds}; content.RELOOK = 0.5"
    daemon = Daemon([sys.executable, "-c", f"{shorter}\nfrom dropcap.cli import main\nmain()", "run"], place.env())
    place._daemons.append(daemon)
    daemon.wait_for("ready")
    return daemon


def page(place: Site) -> str:
    """The status page, empty as long as there is none."""
    path = place.drop / "_STATUS.html"
    return path.read_text() if path.exists() else ""


def holds(place: Site) -> bool:
    """Whether REDCap has a consent form of 101."""
    try:
        return bool(place.box.content("101", "consent_pdf", "baseline_arm_1"))
    except KeyError:
        return False


def test_it_stays_until_it_is_whole(place: Site) -> None:
    daemon = place.start()
    path = place.put(NAME, PDF[:25_000])
    place.put("102_V1_consent.pdf", PDF)
    daemon.wait_for("done", file="102_V1_consent.pdf")
    daemon.wait_for("looks_cut_off", file=NAME)
    eventually(lambda: "It looks cut off." in page(place))
    told = place.dropcap("status").stdout
    assert "1 file  consents: not taken yet: it looks cut off" in told
    assert NAME in told
    told = json.loads(place.dropcap("status", "--json").stdout)["folders"]["consents"]
    assert [one["file"] for one in told["settling"]] == [NAME]
    assert place.names("in_progress") == []
    assert not holds(place)
    with path.open("ab") as file:
        file.write(PDF[25_000:])
    daemon.wait_for("done", file=NAME)
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == PDF
    eventually(lambda: "cut off" not in page(place))
    assert daemon.stop() == 0


@pytest.mark.parametrize("name", ["letter.docx", "figure.png", "photo.jpg", "volume.nii.gz", "ct.dcm", "night.edf", "gait.mp4"])
def test_every_other_format(place: Site, name: str) -> None:
    whole = WHOLE[name]
    place.put(f"101_V1_scan.{name}", whole)
    place.put(f"102_V1_scan.{name}", whole[: len(whole) * 9 // 10])
    result = place.once("--wait", "2s")
    assert result.returncode == 1
    assert f"not taken: consents: 102_V1_scan.{name}: it looks cut off" in result.stdout
    assert place.done() == [f"101_V1_scan.{name}"]
    assert (place.drop / f"102_V1_scan.{name}").exists()


def test_only_time_and_mode_were_put_back(place: Site) -> None:
    """A copy that fills the file in place, and gives it the time that it had before."""
    daemon = place.start()
    path = place.put(NAME, PDF[:20_000] + b"\0" * (len(PDF) - 20_000))
    before = path.stat()
    daemon.wait_for("looks_cut_off")
    with path.open("r+b") as file:
        file.seek(20_000)
        file.write(PDF[20_000:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    daemon.wait_for("done")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == PDF


def test_refused_when_nothing_has_changed_for_long_and_sent_by_retry(place: Site) -> None:
    daemon = impatient(place)
    cut = PDF[:25_000]
    path = place.put(NAME, cut)
    daemon.wait_for("looks_cut_off")
    with path.open("ab") as file:  # a change: it has its time anew
        file.write(PDF[25_000:26_000])
    cut = PDF[:26_000]
    changed = time.time()
    (failed,) = daemon.wait_for("failed", file=NAME)
    assert time.time() - changed >= 1.9
    assert failed["reason"] == "incomplete"
    assert place.failed() == [NAME]
    why = place.why(NAME)
    assert "it looks cut off: save or copy it again" in failed["message"]
    assert "The file is cut off: its end is missing." in why
    assert "folder consents, incomplete" in why
    status = " ".join(place.dropcap("status").stdout.split())
    assert "only `dropcap retry` sends it as it is: moved back or renamed" in status, "that is for whoever runs dropcap"
    assert not holds(place)
    result = place.dropcap("retry", str(failed["job"]))
    assert result.returncode == 0, result.stderr
    daemon.wait_for("done")
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == cut
    assert place.done() == [NAME]
    assert place.names("failed") == []
    assert daemon.stop() == 0
    assert marks(place) == []


def test_retry_while_no_daemon_runs(place: Site) -> None:
    daemon = impatient(place, 0.5)
    place.put(NAME, PDF[:25_000])
    daemon.wait_for("failed")
    daemon.kill()
    assert place.dropcap("retry", "--failed").returncode == 0
    assert place.once().returncode == 0
    assert place.done() == [NAME]
    assert place.box.content("101", "consent_pdf", "baseline_arm_1") == PDF[:25_000]


def test_what_was_retried_and_changed_is_looked_into_again(place: Site) -> None:
    daemon = impatient(place, 0.5)
    place.put(NAME, PDF[:25_000])
    daemon.wait_for("failed")
    daemon.stop()
    assert place.dropcap("retry", "--failed").returncode == 0
    (place.drop / NAME).write_bytes(PDF[:12_000])
    assert place.once("--wait", "1s").returncode == 1
    assert not holds(place)


def test_moved_back_or_renamed_by_hand_it_is_looked_into_again(place: Site) -> None:
    daemon = impatient(place)
    place.put(NAME, PDF[:25_000])
    place.put("102_V1_consent.pdf", PDF[:25_000])
    daemon.wait_for("failed", 2)
    (place.drop / "failed" / NAME).rename(place.drop / NAME)
    (place.drop / "failed" / "102_V1_consent.pdf").rename(place.drop / "failed" / "103_V1_consent.pdf")
    daemon.wait_for("looks_cut_off", 2, file=NAME)
    daemon.wait_for("failed", 2, file=NAME)
    daemon.wait_for("failed", file="103_V1_consent.pdf")
    assert place.failed() == [NAME, "103_V1_consent.pdf"]
    assert not holds(place)


def test_a_kill_while_it_waits_begins_nothing_anew(place: Site) -> None:
    daemon = place.start()
    place.put(NAME, PDF[:25_000])
    daemon.wait_for("looks_cut_off")
    eventually(lambda: marks(place))
    daemon.kill()
    before = marks(place)
    daemon = place.start()
    eventually(lambda: "looks cut off" in page(place))
    assert marks(place) == before, "first seen then"
    assert daemon.events("looks_cut_off") == []
    (place.drop / NAME).unlink()
    eventually(lambda: marks(place) == [])


def test_a_kill_before_it_is_filed(place: Site) -> None:
    daemon = impatient(place, 0.5)
    place.put(NAME, PDF[:25_000])
    daemon.wait_for("claimed")
    daemon.kill()
    place.once()
    assert place.failed() == [NAME]
    assert not holds(place)
    assert "The file is cut off: its end is missing." in place.why(NAME)


@pytest.mark.parametrize("where", ["rule", "folder", "defaults"])
def test_switched_off(place: Site, where: str) -> None:
    section = {"rule": place.folder["rules"][0], "folder": place.folder, "defaults": place.config.setdefault("defaults", {})}
    section[where]["content_check"] = "off"
    place.write_config()
    place.put(NAME, PDF[:25_000])
    assert place.once().returncode == 0
    assert place.done() == [NAME]
    if where == "rule":
        place.put("101_V1_scan.pdf", PDF[:25_000])
        assert place.once("--wait", "1s").returncode == 1


def test_a_rule_wins_over_its_folder(place: Site) -> None:
    place.folder["content_check"] = "off"
    place.folder["rules"][0]["content_check"] = "auto"
    place.write_config()
    place.put(NAME, PDF[:25_000])
    assert place.once("--wait", "1s").returncode == 1
    assert "content_check auto (rule)" in place.dropcap("explain", NAME).stdout


def test_a_name_that_no_rule_matches_fails_at_once(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    place.put("holiday.pdf", PDF[:25_000])
    place.once()
    assert place.failed() == ["holiday.pdf"]
    assert "no_rule" in place.why("holiday.pdf")


def test_volumes_are_not_for_us(place: Site) -> None:
    archive = WHOLE["letter.docx"]
    place.put("101_V1_scan.zip.001", archive[:20_000])
    assert place.once().returncode == 0
    assert place.done() == ["101_V1_scan.zip.001"]


def test_dry_run_tells(place: Site) -> None:
    place.put(NAME, PDF[:25_000])
    place.put("102_V1_consent.pdf", PDF)
    time.sleep(0.1)
    result = place.dropcap("dry-run", "--json")
    assert result.returncode == 1
    told = {one["name"]: one for one in json.loads(result.stdout)["files"]}
    assert told[NAME]["outcome"] == "incomplete"
    assert told[NAME]["message"].startswith("it looks cut off")
    assert told["102_V1_consent.pdf"]["outcome"] == "stored"


class TestTheDiskWasFull:
    """A writer that has met a full disk leaves what it could write, which nobody has open any more."""

    def fill(self, place: Site) -> Path:
        ballast = place.drop / ".ballast"
        with ballast.open("wb") as file:
            file.write(b"x" * (900 * 1024))
        return ballast

    def torn(self, place: Site, name: str, content: bytes) -> Path:
        """Copy into the folder as `cp` does; the disk is full before its end."""
        path = place.drop / name
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):  # noqa: PT012
            for at in range(0, len(content), 4096):
                os.write(fd, content[at : at + 4096])
        os.close(fd)
        assert os.statvfs(place.drop).f_bavail == 0
        return path

    def test_text_waits_until_it_is_copied_again(self, place: Site) -> None:
        text = b"a line of a table\n" * 20_000
        with tmpfs(place.drop, "1m"):
            ballast = self.fill(place)
            daemon = place.start()
            daemon.wait_for("folder_watched")
            path = self.torn(place, "101_V1_scan.csv", text)
            daemon.wait_for("looks_cut_off", file="101_V1_scan.csv")
            ballast.unlink()
            (place.drop / "102_V1_scan.csv").write_bytes(b"short")
            daemon.wait_for("done", file="102_V1_scan.csv")
            eventually(lambda: "The disk was full when it was saved." in page(place))
            eventually(lambda: marks(place))
            daemon.kill()
            daemon = place.start()
            (place.drop / "103_V1_scan.csv").write_bytes(b"short")
            daemon.wait_for("done", file="103_V1_scan.csv")
            assert path.exists(), "forgotten over a restart"
            with path.open("r+b") as file:
                file.write(text)
            daemon.wait_for("done", file="101_V1_scan.csv")
            assert place.box.content("101", "scan", "baseline_arm_1") == text
            assert daemon.stop() == 0

    @pytest.mark.parametrize("ends", ["stopped", "killed"])
    def test_it_is_kept_before_the_file_has_rested(self, place: Site, ends: str) -> None:
        """Its writer gives up, somebody makes room and starts dropcap anew, all within the rest of a file."""
        place.folder.update(settle_closed="1h", rescan="1h")
        place.write_config()
        with tmpfs(place.drop, "1m"):
            ballast = self.fill(place)
            daemon = place.start()
            path = self.torn(place, "101_V1_scan.csv", b"a line of a table\n" * 20_000)
            daemon.wait_for("looks_cut_off")
            eventually(lambda: any(path.stat().st_size in mark for mark in marks(place)))
            if ends == "killed":
                daemon.kill()
            else:
                assert daemon.stop() == 0
            ballast.unlink()
            place.folder.update(settle_closed="50ms")
            place.write_config()
            daemon = place.start()
            (place.drop / "103_V1_scan.csv").write_bytes(b"short")
            daemon.wait_for("done", file="103_V1_scan.csv")
            assert path.exists()
            assert daemon.stop() == 0

    def test_renamed_it_is_another(self, place: Site) -> None:
        with tmpfs(place.drop, "1m"):
            ballast = self.fill(place)
            daemon = place.start()
            path = self.torn(place, "101_V1_scan.csv", b"a line of a table\n" * 20_000)
            daemon.wait_for("looks_cut_off")
            ballast.unlink()
            path.rename(place.drop / "102_V1_scan.csv")
            daemon.wait_for("done", file="102_V1_scan.csv")
            assert daemon.stop() == 0

    def test_what_is_seen_to_be_whole_is_taken(self, place: Site) -> None:
        with tmpfs(place.drop, "1m"):
            daemon = place.start()
            daemon.wait_for("folder_watched")
            place.folder["min_free"] = "0"
            beside = place.drop / ".beside"
            beside.write_bytes(PDF)
            with (place.drop / ".ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):  # noqa: PT012
                while True:
                    file.write(b"x" * 4096)
            beside.rename(place.drop / NAME)
            daemon.wait_for("looks_cut_off", file=NAME)
            (place.drop / ".ballast").unlink()
            daemon.wait_for("done", file=NAME)
            assert daemon.stop() == 0


def marks(place: Site) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(place.state / "ledger.db")
    try:
        return connection.execute("select * from mark").fetchall()
    finally:
        connection.close()
