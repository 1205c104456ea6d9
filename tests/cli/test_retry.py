"""`dropcap retry`, beside a running dropcap and without one."""

from __future__ import annotations

from dropcap.daemon.state import only_one
from dropcap.ledger.job import Change, State
from dropcap.ledger.store import Ledger
from tests.site import Site


def test_failed_files_without_a_daemon(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    place.put("holiday.jpg")
    place.put("gone.jpg")
    place.once()
    (place.drop / "failed" / "gone.jpg").unlink()
    place.folder["rules"].append({"pattern": "holiday.jpg", "record": "101", "event": "baseline_arm_1", "field": "scan"})
    place.write_config()
    numbers = {job.name: job.id for job in place.jobs()}
    result = place.dropcap("retry", "--failed", "--folder", "consents")
    assert result.returncode == 1
    assert f"tried again: consents/holiday.jpg (job {numbers['holiday.jpg']})" in result.stdout
    assert f"not tried: job {numbers['gone.jpg']} (gone.jpg): there is no failed/gone.jpg any more" in result.stderr
    assert "no dropcap runs" in result.stderr
    assert (place.drop / "holiday.jpg").exists()
    place.once()
    assert place.done() == ["holiday.jpg"]
    assert place.names("failed") == ["gone.jpg.why.txt"]
    again = place.dropcap("retry", str(numbers["holiday.jpg"]))
    assert again.returncode == 1
    assert "it was tried again already, as job" in again.stderr


def test_by_number_with_a_daemon(place: Site) -> None:
    daemon = place.start()
    place.put("999_V1_consent.pdf", b"one")
    place.put("998_V1_consent.pdf", b"two")
    place.put("101_V1_consent.pdf", b"three")
    daemon.wait_for("failed", 2)
    daemon.wait_for("done")
    numbers = {job.name: job.id for job in place.jobs()}
    (place.drop / "998_V1_consent.pdf").write_bytes(b"a newer one")  # in the way, or taken and failed by then
    done, failed = str(numbers["101_V1_consent.pdf"]), str(numbers["999_V1_consent.pdf"])
    result = place.dropcap("retry", failed, failed, done, "77")
    assert result.returncode == 1
    assert result.stdout.count("tried again") == 1
    assert f"job {done} (101_V1_consent.pdf) is done: nothing to try again" in result.stderr
    assert "there is no job 77" in result.stderr
    daemon.wait_for("failed", 2, file="999_V1_consent.pdf")
    assert (place.drop / "failed" / "999_V1_consent.pdf").read_bytes() == b"one"


def test_held_files(place: Site) -> None:
    place.dropcap("run", "--once")
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    place.put("101_V1_consent.pdf")
    place.once()
    ledger = Ledger(place.state / "ledger.db")
    why = {"reason": "server_error", "message": "8 tries went wrong", "remedy": "look at the file"}
    assert ledger.change([Change(1, State.HELD, "server_error", why)]) == {1}
    ledger.close()
    assert place.dropcap("resume", "--folder", "consents").returncode == 0
    status = place.dropcap("status").stdout
    for expected in (
        "1 file  consents/101_V1_consent.pdf",
        "held: 8 tries went wrong",
        "what to do: look at the file",
        "dropcap retry 1",
    ):
        assert expected in status
    daemon = place.start()
    result = place.dropcap("retry", "--held")
    assert (result.returncode, result.stdout) == (0, "tried again: consents/101_V1_consent.pdf (job 1)\n")
    daemon.wait_for("done")
    nothing = place.dropcap("retry", "--held")
    assert (nothing.returncode, nothing.stdout) == (0, "there is nothing to try again\n")


def test_usage(place: Site) -> None:
    place.once()
    for words in ([], ["1", "--failed"], ["one"], ["0"], ["1", "--folder", "consents"]):
        assert place.dropcap("retry", *words).returncode == 2
    wrong = place.dropcap("retry", "--failed", "--folder", "consent")
    assert wrong.returncode == 2
    assert "did you mean `consents`?" in wrong.stderr
    with only_one(place.state):  # as `run --once` does
        busy = place.dropcap("retry", "--failed")
        assert busy.returncode == 4
        assert "another dropcap uses" in busy.stderr
