# ruff: noqa: E402 - the library may be missing
"""What people ask of one host holds for all: pauses, tries, folders that are let go of, configurations; and what each tells."""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import needs
from tests.site import Daemon, eventually

needs.library("psycopg")

from dropcap.daemon.control import ask
from redcap_sandbox import Fault
from tests.postgres.hosts import Hosts, hosts

#: Seconds within which what was asked of one host is so on the other, and what a busy machine adds.
SOON = 3.0 + 2.0


def test_what_is_asked_of_one_host_holds_for_all(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        (mine,), (theirs,) = h.held_by(a), h.held_by(b)
        asks = h.host("a").dropcap

        # A folder of the other host, paused and resumed from here.
        assert asks("pause", "--folder", theirs).returncode == 0
        eventually(lambda: paused(h, "b") == {("folder", theirs)}, SOON)
        h.put(theirs, "101_V1_consent.pdf")
        b.wait_for("claimed", file="101_V1_consent.pdf")
        assert asks("resume", "--folder", theirs).returncode == 0
        began = time.monotonic()
        b.wait_for("done", record="101")
        assert time.monotonic() - began < SOON

        # Paused on one host and resumed on the other, before the first has looked at the ledger again.
        for scope in (("--project", "trial"), ("--server", "trial"), ("--folder", mine)):
            assert asks("pause", *scope).returncode == 0
            assert h.host("b").dropcap("resume", *scope).returncode == 0
        eventually(lambda: paused(h, "a") == paused(h, "b") == set(), SOON)

        # What has failed there is tried again from here.
        h.put(theirs, "999_V1_consent.pdf")
        b.wait_for("failed", record="999")
        assert asks("retry", "--folder", theirs, "--failed").returncode == 0
        began = time.monotonic()
        b.wait_for("again")
        assert time.monotonic() - began < SOON

        # A folder of the other host is let go of: nothing of it is open anywhere, and nobody takes it, until it is resumed.
        released = asks("pause", "--release", "--folder", theirs)
        assert (released.returncode, released.stderr) == (0, "")
        assert [path for daemon in (a, b) for path in opened(daemon, h.folders[theirs])] == []
        taken = len(a.events("folder_taken")) + len(b.events("folder_taken"))
        time.sleep(4.5)  # two looks
        assert taken == len(a.events("folder_taken")) + len(b.events("folder_taken"))
        assert h.holders() == {mine: a.process.pid}
        assert asks("resume", "--folder", theirs).returncode == 0
        eventually(lambda: len(h.holders()) == 2, SOON)

        # A server that one host finds down is paused by both, told once, and goes on by itself.
        by_hand = len(a.events("paused", scope="server"))
        h.box.ill(Fault("maintenance"))
        h.put(mine, "102_V1_consent.pdf")
        a.wait_for("paused", by_hand + 1, scope="server")
        eventually(lambda: {scope for scope, _ in paused(h, "b")} == {"server"}, SOON)
        h.put(theirs, "103_V1_consent.pdf")
        b.wait_for("claimed", file="103_V1_consent.pdf")
        assert (len(a.events("paused", scope="server")), b.events("paused", scope="server")) == (by_hand + 1, [])
        h.box.well()
        eventually(lambda: len(h.done()) == 3)
        eventually(lambda: paused(h, "a") == paused(h, "b") == set(), SOON)
        assert a.events("internal_error") == b.events("internal_error") == []


def test_a_folder_is_let_go_of_only_once_nothing_of_it_is_open(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database) as h:
        h.config["projects"]["trial"]["timeout"] = "60s"
        a = h.start("a")
        a.wait_for("folder_taken")
        b = h.start("b")
        h.box.ill(Fault("slow_read", match={"record": "101", "action": "import"}, times=1, bytes_per_second=2000))
        h.put("d1", "101_V1_consent.pdf", b"%PDF " + b"x" * 55_000)
        a.wait_for("sending")
        with ThreadPoolExecutor(3) as asking:
            ask_to_release = ("pause", "--release", "--folder", "d1")
            elsewhere = asking.submit(h.host("b").dropcap, *ask_to_release)
            eventually(lambda: ("folder", "d1") in paused(h, "a"), SOON)
            here = [asking.submit(h.host("a").dropcap, *ask_to_release) for _ in range(2)]
            assert elsewhere.result().returncode == 1, "host a still has it open"
            assert {(one.result().returncode, "still open" in one.result().stderr) for one in here} == {(1, True)}
        a.wait_for("paused", reason="filing")  # it was sent, and stays where it is
        released = h.host("a").dropcap(*ask_to_release)
        assert (released.returncode, opened(a, h.folders["d1"]), opened(b, h.folders["d1"])) == (0, [], []), released
        assert h.host("b").dropcap("resume", "--folder", "d1").returncode == 0
        eventually(lambda: h.done() == ["d1/101_V1_consent.pdf"])


def test_a_configuration_comes_to_the_hosts_one_after_the_other(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=3) as h:
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        new = tmp_path / "new"
        new.mkdir()
        gone = h.held_by(b)[0]
        folders = {name: folder for name, folder in h.config["folders"].items() if name != gone}
        folders["new"] = {**next(iter(folders.values())), "path": str(new)}
        for name in "ab":
            h.host(name).config["folders"] = folders
            h.host(name).write_config()
            assert h.host(name).dropcap("reload").returncode == 0
            h.put(gone, f"10{name == 'a':d}_V1_consent.pdf")
            if name == "a":  # the other one knows the folder still
                b.wait_for("done", record="101")
                eventually(lambda: "new" in h.holders())
        left = h.folders.pop(gone)
        h.folders["new"] = new
        h.spread(a, b)
        eventually(lambda: set(h.holders()) == set(h.folders))
        for number, folder in enumerate(h.folders, 105):
            h.put(folder, f"{number}_V1_consent.pdf")
        eventually(lambda: len(h.done()) == 3)
        assert (left / "100_V1_consent.pdf").exists()  # nobody works there any more
        assert a.events("internal_error") == b.events("internal_error") == []


def opened(daemon: Daemon, path: Path) -> list[str]:
    """What a host has open beneath a folder."""
    found = []
    for number in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(number))
    return [target for target in found if target.startswith(str(path))]


def paused(h: Hosts, host: str) -> set[tuple[str, str]]:
    """What a daemon itself says is paused."""
    told = ask(h.host(host).state, {"do": "status"})
    return {(one["scope"], one["name"]) for one in told["pauses"]}
