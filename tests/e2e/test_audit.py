"""What an auditor asks: who, by what rule, when; is the record whole; does the copy on disk agree with it?"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

from dropcap import __version__
from dropcap.ledger.job import Address, NewFile
from dropcap.ledger.store import Ledger
from tests import needs
from tests.site import Site, eventually


def lines(place: Site, *words: str) -> list[dict[str, Any]]:
    result = place.dropcap(*words, "--json")
    assert result.returncode in (0, 1), result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def acts(place: Site) -> list[tuple[str, str, int | None, Any]]:
    told = lines(place, "history", "--acts")
    assert [act["n"] for act in told] == list(range(1, len(told) + 1))
    return [(act["what"], act["way"], act["uid"], act["told"]) for act in told]


def test_a_job_says_who_dropped_it_and_by_what_it_went(place: Site) -> None:
    daemon = place.start()
    eventually(lambda: any(request.content == "user" for request in place.box.requests))
    path = place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    (job,) = lines(place, "history", path.name)
    assert job["dropped_by"]["uid"] == os.getuid()
    origin = job["origin"]
    assert origin["dropcap"] == __version__
    assert origin["configuration"] == hashlib.sha256(place.config_file.read_bytes()).hexdigest(), "as sha256sum tells it"
    assert (origin["rule"]["name"], origin["rule"]["pattern"]) == ("consent", place.folder["rules"][0]["pattern"])
    assert origin["rule"]["settings"]["confirm"] == "readback"
    redcap = origin["redcap"]
    assert (redcap["url"], redcap["project_id"], redcap["title"]) == (place.box.url, 42, "Demo trial")
    assert place.box.token not in (place.state / "ledger.db").read_bytes().decode("latin-1")

    # Changed rules: what goes on is entered anew, what is over keeps what it had.
    place.config["defaults"] = {"confirm": "listed"}
    place.write_config()
    assert place.dropcap("reload").returncode == 0
    place.put("102_V1_consent.pdf")
    daemon.wait_for("done", 2)
    (second,) = lines(place, "history", "102_V1_consent.pdf")
    assert second["origin"]["rule"]["settings"]["confirm"] == "listed"
    assert second["origin"]["configuration"] != origin["configuration"]
    assert lines(place, "history", path.name)[0]["origin"] == origin
    assert "token of" in place.dropcap("history", "102_V1_consent.pdf").stdout


def test_the_owner_at_the_claim_is_who_dropped_it(place: Site) -> None:
    needs.root("to give files to others")
    for uid, name in ((4711, "101_V1_consent.pdf"), (0, "102_V1_consent.pdf")):
        path = place.root / name
        path.write_bytes(b"%PDF")
        os.chown(path, uid, uid)
        path.rename(place.drop / name)
    place.once()
    found = {job["file"]: job["dropped_by"] for job in lines(place, "history")}
    assert found == {"101_V1_consent.pdf": {"uid": 4711, "name": None}, "102_V1_consent.pdf": {"uid": 0, "name": "root"}}


def test_what_people_have_dropcap_do_is_entered_with_who_and_how(place: Site) -> None:
    place.put("999_V1_consent.pdf")
    place.once()
    me = os.getuid()
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    assert place.dropcap("retry", "--failed").returncode == 0
    daemon = place.start()
    place.dropcap("resume", "--folder", "consents")
    daemon.wait_for("failed")
    place.dropcap("retry", "2")
    place.dropcap("reload")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded", 2)
    daemon.stop()
    digest = hashlib.sha256(place.config_file.read_bytes()).hexdigest()
    by = {"dropcap": __version__, "configuration": digest}
    folder = {"scope": "folder", "name": "consents"}
    assert acts(place)[1:] == [
        ("started", "command", me, {**by, "once": True}),
        ("stopped", "dropcap", me, {}),
        ("pause", "command", me, folder),
        ("retry", "command", me, {"number": 1, "jobs": [1]}),
        ("started", "dropcap", me, by),
        ("resume", "socket", me, folder),
        ("retry", "socket", me, {"number": 1, "jobs": [2]}),
        ("reload", "socket", me, by),
        ("reload", "signal", None, by),
        ("stopped", "dropcap", me, {}),
    ]
    told = place.dropcap("history", "--acts").stdout
    assert "folder consents" in told
    assert "not known (a signal)" in told
    rows = list(csv.DictReader(io.StringIO(place.dropcap("history", "--acts", "--csv").stdout)))
    assert [row["what"] for row in rows][-3:] == ["reload", "reload", "stopped"]


def test_who_is_told_by_the_kernel_and_not_by_the_asker(place: Site) -> None:
    needs.root("to become somebody else")
    daemon = place.start()
    os.chmod(place.state, 0o755)
    os.chmod(place.state / "control.sock", 0o666)
    script = (
        "import os, socket, sys; os.chdir(sys.argv[1]); os.setgid(4711); os.setuid(4711);"
        " s = socket.socket(socket.AF_UNIX); s.connect('control.sock');"
        ' s.sendall(b\'{"do":"pause","scope":"folder","name":"consents","uid":0,"who":"root"}\\n\'); s.recv(99)'
    )
    assert os.spawnlp(os.P_WAIT, "python3", "python3", "-c", script, str(place.state)) == 0
    daemon.wait_for("paused")
    assert acts(place)[-1] == ("pause", "socket", 4711, {"scope": "folder", "name": "consents"})


def test_a_folder_that_is_adopted_is_an_act(place: Site) -> None:
    place.once()
    marker = place.drop / ".dropcap"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "installation": "f" * 32}))
    assert place.dropcap("check", "--offline", "--adopt", "--force").returncode == 0
    what, way, uid, told = acts(place)[-1]
    assert (what, way, uid, told["folder"]) == ("adopt", "command", os.getuid(), "consents")


def test_a_copy_of_the_ledger_that_is_put_back_is_told(place: Site) -> None:
    place.put("101_V1_consent.pdf")
    place.once()
    ledger, copy = place.state / "ledger.db", place.root / "copy.db"
    with sqlite3.connect(ledger) as connection:
        connection.execute("vacuum into ?", (str(copy),))
    connection.close()
    place.put("102_V1_consent.pdf")
    place.once()
    noted = place.dropcap("verify", "--chain").stdout
    (place.root / "note.txt").write_text(noted)
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (place.state / name).unlink(missing_ok=True)
    shutil.copyfile(copy, ledger)
    before = place.dropcap("verify", "--chain")
    assert before.returncode == 1
    assert before.stdout.count("was noted elsewhere") == 2, "its acts, and its one folder"

    again = place.once()
    assert "ledger_restored" in again.stderr
    what, way, _, told = next(act for act in acts(place) if act[0] == "restored")
    assert (what, way) == ("restored", "dropcap")
    assert [head in noted for head in told["lost"]] == [True, True], "it carries the heads of what is lost"
    after = place.dropcap("verify", "--chain")
    assert after.returncode == 0, "it goes on from there"
    assert "entries were missing at a start" in after.stdout
    witnessed = place.dropcap("verify", "--chain", "--witness", str(place.root / "note.txt"))
    assert witnessed.returncode == 1, "but not for who has noted more"
    assert place.dropcap("verify", "--chain", "--witness", str(place.config_file)).returncode == 2, "which has no head"


def test_files_and_copies_are_compared_with_the_ledger(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"old")
    place.once()
    for name in ("101_V1_consent.pdf", "102_V1_consent.pdf", "101_V2_scan.png", "102_V2_scan.png"):
        place.put(name, name.encode())
    place.once()
    assert place.dropcap("verify", "--files").stdout == "6 files looked at: 6 same\n"
    done = {path.name: path for path in (place.drop / "done").rglob("*.p*") if path.name != "101_V1_consent.pdf"}
    done["102_V1_consent.pdf"].write_bytes(b"another one")
    done["101_V2_scan.png"].unlink()
    done["102_V2_scan.png"].unlink()
    done["102_V2_scan.png"].symlink_to(place.config_file)
    (copy,) = place.copies()
    (place.kept / copy).write_bytes(b"not what REDCap held")
    result = place.dropcap("verify", "--files", "--list")
    assert result.returncode == 1
    told = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in told[:-1]].count("same") == 2
    changed = [line for line in told if line.startswith("changed: ")]
    assert len(changed) == 2
    assert any("102_V1_consent.pdf" in line and hashlib.sha256(b"another one").hexdigest() in line for line in changed)
    assert any("copy of what REDCap held" in line for line in changed)
    assert "gone: consents/done/" in result.stdout
    assert told[-1] == "6 files looked at: 2 same, 2 changed, 1 gone, 1 unreadable"
    (data,) = [json.loads(line) for line in place.dropcap("verify", "--files", "--json", "--after", "2").stdout.splitlines()]
    behind = [job for job in place.jobs() if job.id > 2]
    assert data["files"] == len(behind) + sum(job.preserved_sha256 is not None for job in behind)
    assert place.dropcap("verify", "--list").stdout.count("\n") == 5, "each file that REDCap has, and the sum"


def test_a_period_is_told_whole_and_else_what_is_left_out(place: Site) -> None:
    place.once()
    ledger = Ledger(place.state / "ledger.db")
    files = [NewFile(f"{number}_V1_consent.pdf", 1, 2, 3) for number in range(9000, 9064)]
    ledger.claim("consents", files, lambda _: Address("trial"))
    ledger.close()
    last = place.dropcap("history")
    assert last.stdout.count("_V1_consent.pdf") == 50
    assert last.stderr == "14 more: --since, --until or --limit tells them\n"
    for words in (["--since", "1h"], ["--until", "2099-01-01"], ["--since", "1h", "--project", "trial"]):
        whole = place.dropcap("history", *words)
        assert (whole.stdout.count("_V1_consent.pdf"), whole.stderr) == (64, "")
    assert place.dropcap("history", "--since", "1h", "--limit", "5").stderr.startswith("59 more")
    assert "_consent.pdf" not in place.dropcap("history", "--until", "2020-01-01").stdout
    assert "_consent.pdf" not in place.dropcap("history", "--since", "1h", "--project", "other").stdout


def test_no_name_is_a_formula_in_a_spreadsheet(place: Site) -> None:
    names = ['=HYPERLINK("x")', "+1+1", "-2+3", "@SUM(A1)", " =1", "\t=1", "a,b;c\"d'e", "ü\n=1"]
    for name in names:
        place.put(f"{name}.pdf")
    place.folder["first_start"] = "take"
    place.folder["rules"].append({"name": "=rule", "pattern": "{record:any}.none", "field": "scan"})
    place.write_config()
    daemon = place.start()
    for name in names:
        place.put(f"{name}.pdf", b"%PDF again")
    daemon.wait_for("failed", len(names) - 1)
    told = place.dropcap("history", "--csv").stdout
    rows = list(csv.reader(io.StringIO(told)))
    assert rows[0][:3] == ["job", "folder", "file"]
    assert len(rows) > len(names) - 2
    for row in rows[1:]:
        assert not [cell for cell in row if cell.lstrip(" '\t")[:1] in "=+@" and cell.strip() and not cell.startswith("'")]
    assert '\'=HYPERLINK("x").pdf' in [row[2] for row in rows]


def test_usage(place: Site, tmp_path: Path) -> None:
    place.once()
    for words in (["--chain", "--files"], ["--witness", str(place.config_file)], ["--after", "3"], ["--chain", "--since", "1d"]):
        assert place.dropcap("verify", *words).returncode == 2, words
    for words in (["--csv", "--json"], ["--acts", "--failed"]):
        assert place.dropcap("history", *words).returncode == 2, words
