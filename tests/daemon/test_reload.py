"""Taking up a changed configuration: nobody waits for a share, and what is seen is of now."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from redcap_sandbox import Fault, Rights
from tests.shares.mounting import drop, errfs, fill, tmpfs
from tests.site import Daemon, Site, eventually, site

IMPORT = {"content": "file", "action": "import"}


def reload(place: Site, daemon: Daemon) -> None:
    before = len(daemon.events("reloaded"))
    place.write_config()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded", before + 1)


def page(folder: Path) -> str:
    found = folder / "_STATUS.html"
    return found.read_text() if found.exists() else ""


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
            share.set(stat="block", list="block", open="block")
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


def folder_status(place: Site, name: str = "consents") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.dropcap("status", "--json").stdout)["folders"][name]
    return found


def test_a_folder_with_a_mistake_goes_on_by_its_last_good_rules(place: Site) -> None:
    daemon = place.start()
    rules = place.folder["rules"]
    place.folder["rules"] = [{**rules[0], "feild": "consent_pdf"}]
    place.config["contact"] = "Somebody else"  # the rest of the change is taken up
    place.write_config()
    result = place.dropcap("reload")
    assert result.returncode == 1
    assert "feild" in result.stderr
    assert "last good" in result.stderr
    (told,) = daemon.wait_for("config_problem")
    assert told["keeps"] == "folder consents as it was"
    place.put("101_V1_consent.pdf", b"by the old rules")
    place.put("999_V1_consent.pdf", b"for nobody")
    daemon.wait_for("done")
    daemon.wait_for("failed")
    assert "Somebody else" in place.why("999_V1_consent.pdf")
    status = folder_status(place)
    assert "feild" in status["mistake"]
    since = status["mistake_since"]
    assert since
    text = place.dropcap("status")
    assert "old rules" in text.stdout
    assert "feild" in text.stdout
    assert text.returncode == 1
    eventually(lambda: "have a mistake. The old ones go on" in page(place.drop), patience=40)
    assert "feild" not in page(place.drop), "that is for whoever runs dropcap"
    assert place.dropcap("reload").returncode == 1
    assert folder_status(place)["mistake_since"] == since, "since the first time"
    place.folder["rules"] = rules
    place.write_config()
    result = place.dropcap("reload")
    assert (result.returncode, result.stderr) == (0, "")
    assert folder_status(place)["mistake"] is None
    eventually(lambda: "The old ones go on" not in page(place.drop), patience=40)


def test_a_project_with_a_mistake_keeps_its_folders_at_work(place: Site) -> None:
    daemon = place.start()
    place.project["time_out"] = "5s"
    place.write_config()
    result = place.dropcap("reload")
    assert result.returncode == 1
    assert "time_out" in result.stderr
    place.put("101_V1_consent.pdf", b"goes on")
    daemon.wait_for("done")
    assert "time_out" in folder_status(place)["mistake"]


def test_a_new_folder_with_a_mistake_is_not_started(place: Site) -> None:
    daemon = place.start()
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["new"] = {**place.folder, "path": str(other), "rules": [{"pattern": "{record}.pdf"}]}
    place.write_config()
    assert place.dropcap("reload").returncode == 1
    place.put("101_V1_consent.pdf", b"goes on")
    daemon.wait_for("done")
    assert not daemon.events("folder_watched", folder="new")
    assert folder_status(place)["mistake"] is None


def test_a_folder_with_a_mistake_leaves_its_place_to_another(place: Site) -> None:
    """Two that work in one directory would each take the other's files."""
    daemon = place.start()
    moved = {**place.folder}
    place.folder["rules"] = [{"pattern": "{record}.pdf"}]
    place.folder["path"] = str(place.root / "elsewhere")
    (place.root / "elsewhere").mkdir()
    place.config["folders"]["forms"] = moved
    place.write_config()
    assert place.dropcap("reload").returncode == 1
    assert json.loads(place.dropcap("status", "--json").stdout)["folders"].keys() >= {"forms"}
    assert not daemon.events("internal_error")
    assert len(daemon.events("folder_watched", folder="consents")) == 1


@pytest.mark.parametrize("broken", ["state_dir: [", "folders: 7\n"])
def test_a_configuration_that_is_broken_as_a_whole_changes_nothing(place: Site, broken: str) -> None:
    daemon = place.start()
    place.config_file.write_text(broken)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("config_problem")
    if broken.startswith("folders"):
        place.config_file.unlink()
        os.mkfifo(place.config_file)  # nobody waits for its writer
        result = place.dropcap("reload", patience=20)
        assert (result.returncode, "is not a regular file" in result.stderr) == (2, True), result.stderr
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("config_problem", 4)
    place.put("101_V1_consent.pdf", b"goes on")
    daemon.wait_for("done")


def test_the_ledger_changes_with_a_restart_only(place: Site) -> None:
    daemon = place.start()
    place.config["ledger"] = "postgresql://u@localhost/d"
    place.folder["preserve_in"] = str(place.root)
    place.write_config()
    told = place.dropcap("reload")
    assert told.returncode == 1
    assert "ledger and lease can only change with a restart" in told.stderr + told.stdout
    place.put("101_V1_consent.pdf", b"goes on")
    daemon.wait_for("done")


def test_reloads_leave_nothing_of_the_share_open(place: Site) -> None:
    """Each kept a descriptor of the folder until Python looked for what refers to itself, which it seldom does."""

    def beneath() -> int:
        directory = f"/proc/{daemon.process.pid}/fd"
        found = [os.readlink(f"{directory}/{fd}") for fd in os.listdir(directory) if os.path.lexists(f"{directory}/{fd}")]
        return sum(target == str(place.drop) for target in found)

    daemon = place.start()
    place.put("101_V1_consent.pdf")
    daemon.wait_for("done")
    before = beneath()
    for number in range(6):
        place.folder["rescan"] = f"{number + 3}s"
        place.write_config()
        assert place.dropcap("reload").returncode == 0
        daemon.wait_for("folder_watched", number + 2)
    eventually(lambda: beneath() <= before)
    assert daemon.stop() == 0


def test_a_reload_while_the_ledger_cannot_be_written_holds_up_nobody(tmp_path: Path) -> None:
    """The disk of state_dir is full: who asks is told, the change is taken up once there is room, and dropcap can be ended."""
    with tmpfs(tmp_path / "small", "4m") as small, site(tmp_path) as place:
        place.state = small / "state"
        place.config["state_dir"] = str(place.state)
        place.write_config()
        daemon = place.start()
        for ends in (False, True):
            ballast = fill(small)
            place.put(f"101_V{1 + ends}_consent.pdf")
            daemon.wait_for("ledger_unwritable", 1 + ends)
            place.folder["rules"][0]["name"] = f"consent {ends}"
            place.write_config()
            result = place.dropcap("reload")
            assert result.returncode == 1
            assert "cannot be written" in result.stderr
            assert json.loads(place.dropcap("status", "--json").stdout)["answers"]
            if not ends:
                ballast.unlink()
                daemon.wait_for("reloaded")
                daemon.wait_for("done")
        assert daemon.stop(patience=10) == 0
        assert not daemon.events("internal_error")


def test_twenty_reloads_in_a_row_while_files_drop(place: Site) -> None:
    daemon = place.start()
    codes: list[int] = []

    def ask() -> None:
        codes.extend(place.dropcap("reload").returncode for _ in range(10))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for one in asking:
        one.start()
    names = [f"{record}_V{visit}_consent.pdf" for record in range(101, 116) for visit in (1, 2)]
    for number, name in enumerate(names):
        place.put(name, name.encode())
        place.folder["rescan"] = f"{2 + number / 100:.2f}s"
        beside = place.root / "config.new"
        beside.write_text(yaml.safe_dump(place.config))
        beside.rename(place.config_file)
    for one in asking:
        one.join()
    assert codes == [0] * 20
    daemon.wait_for("done", len(names), patience=60)
    assert len([r for r in place.box.requests if (r.content, r.action) == ("file", "import")]) == len(names)
    assert not daemon.events("internal_error")


def test_a_project_comes_and_goes_while_its_files_are_sent(place: Site) -> None:
    """What is decided at that very moment is no error inside dropcap."""
    other = place.root / "other"
    other.mkdir()
    projects, folders = place.config["projects"], place.config["folders"]
    twin, others = dict(place.project), {**place.folder, "path": str(other), "project": "twin"}
    projects["twin"], folders["others"] = twin, others
    place.write_config()
    place.box.ill(Fault("delay", seconds=0.1, match=IMPORT))
    daemon = place.start()
    for number in range(12):
        for record in range(101, 112):
            (other / f"{record}_V1_lab{number}.pdf").write_bytes(b"%d of %d" % (number, record))
        if "others" in folders:
            daemon.wait_for("sending", number * 3 + 1, folder="others")
            del projects["twin"], folders["others"]
        else:
            projects["twin"], folders["others"] = twin, others
        place.write_config()
        assert place.dropcap("reload").returncode == 0
    daemon.wait_for("done", 12 * 11, patience=60)
    assert len(place.box.holdings()) == 12 * 11
    assert not daemon.events("internal_error")


def test_a_refusal_of_the_token_of_before_pauses_nothing(place: Site) -> None:
    """It comes when the reload that has put the right token is over."""
    before = place.root / "before"
    before.write_text("C" * 32)
    before.chmod(0o600)
    place.box.grant("C" * 32, Rights())
    place.project["token_file"] = str(before)
    place.write_config()
    place.box.ill(Fault("slow_read", match=IMPORT, times=1, bytes_per_second=500))
    daemon = place.start()
    place.put("101_V1_consent.pdf", b"%PDF" + b"x" * 4000)
    daemon.wait_for("sending")
    place.box.revoke("C" * 32)
    place.project["token_file"] = str(place.token_file)
    reload(place, daemon)
    daemon.wait_for("done")
    assert [line["reason"] for line in daemon.events("retrying")] == ["token"]
    assert daemon.events("paused") == []
