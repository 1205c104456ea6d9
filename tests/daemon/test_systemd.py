"""The daemon under systemd, played by a socket: sd_notify(3), Type=notify-reload, the watchdog."""

from __future__ import annotations

import contextlib
import itertools
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shares.mounting import errfs
from tests.site import PATIENCE, Site

MICROSECONDS = 1_000_000


class Manager:
    """Listens where NOTIFY_SOCKET says, as systemd does, and keeps every datagram."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.datagrams: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(PATIENCE)

    def next(self, key: str) -> dict[str, str]:
        """The next datagram that has `key`."""
        while True:
            datagram = dict(line.partition("=")[::2] for line in self._socket.recv(65536).decode().splitlines())
            self.datagrams.append(datagram)
            if key in datagram:
                return datagram

    def rest(self) -> None:
        """Take in what has come by now."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.next("")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@dropcap-test-{time.monotonic_ns()}"
    made = Manager(address)
    yield made
    made.close()


def test_systemd_is_told_of_start_work_reload_and_end(place: Site, manager: Manager) -> None:
    daemon = place.start(ready=False, NOTIFY_SOCKET=manager.address, WATCHDOG_USEC=str(MICROSECONDS))
    ready = manager.next("READY")
    assert ready["READY"] == "1"
    assert "1 folder" in ready["STATUS"]
    daemon.wait_for("folder_watched")
    assert manager.next("WATCHDOG") == {"WATCHDOG": "1"}

    place.put("holiday.jpg")
    daemon.wait_for("failed")
    while "1 failed" not in manager.next("STATUS")["STATUS"]:
        pass

    before = time.monotonic_ns() // 1000
    daemon.process.send_signal(signal.SIGHUP)
    reloading = manager.next("RELOADING")
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000, "systemd must know which reload it was"
    assert manager.next("READY")["READY"] == "1"
    daemon.wait_for("reloaded")

    assert daemon.stop() == 0
    assert manager.next("STOPPING")["STOPPING"] == "1"
    manager.rest()
    assert not any("READY" in datagram for datagram in manager.datagrams[manager.datagrams.index({"STOPPING": "1"}) :])


@pytest.fixture
def one_manager() -> Iterator[Manager]:
    with contextlib.closing(Manager(f"@dropcap-test-{time.monotonic_ns()}")) as made:
        yield made


def test_a_start_that_waits_for_another_writer_says_so_and_heeds_a_stop(place: Site, one_manager: Manager) -> None:
    assert place.start().stop() == 0
    ledger = place.state / "ledger.db"
    with contextlib.closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("begin immediate")
        daemon = place.start(ready=False, NOTIFY_SOCKET=one_manager.address)
        while one_manager.next("STATUS")["STATUS"] != f"starting: waiting for the ledger {ledger}":
            pass
        assert daemon.stop(patience=10.0) == 0
        assert not daemon.events("ready")
    assert place.start().stop() == 0


def test_a_start_on_a_disk_that_hangs_says_so_and_heeds_a_stop(place: Site, one_manager: Manager) -> None:
    """No process ends in the midst of a call that FUSE does not answer: but it has done all that it could."""
    with errfs(place.root, place.state) as disk:
        disk.set(write="block")
        daemon = place.start(ready=False, NOTIFY_SOCKET=one_manager.address)
        assert one_manager.next("STATUS")["STATUS"] == f"starting: waiting for state_dir {place.state}"
        daemon.process.terminate()
        daemon.wait_for("stopped", patience=10.0)
        disk.set()
        assert daemon.process.wait(10.0) == 0
        assert not daemon.events("started")


def test_the_watchdog_hears_of_it_well_within_its_limit(place: Site, one_manager: Manager) -> None:
    limit = 1.0
    place.start(ready=False, NOTIFY_SOCKET=one_manager.address, WATCHDOG_USEC=str(int(limit * MICROSECONDS)))
    one_manager.next("WATCHDOG")
    heard = [time.monotonic()]
    for _ in range(4):
        one_manager.next("WATCHDOG")
        heard.append(time.monotonic())
    assert max(later - sooner for sooner, later in itertools.pairwise(heard)) < limit


def test_a_reload_that_fails_is_over_as_well(place: Site, one_manager: Manager) -> None:
    daemon = place.start(ready=False, NOTIFY_SOCKET=one_manager.address)
    one_manager.next("READY")
    place.config_file.write_text("state_dir: [")
    daemon.process.send_signal(signal.SIGHUP)
    one_manager.next("RELOADING")
    one_manager.next("READY")  # else systemd would wait for it, and then end the daemon
    daemon.wait_for("config_problem")
    place.write_config()
    place.put("101_V1_consent.pdf", b"under the old configuration")
    daemon.wait_for("done")
    assert daemon.stop() == 0


def test_a_watchdog_that_is_meant_for_another_process_is_none_of_ours(place: Site, one_manager: Manager) -> None:
    daemon = place.start(NOTIFY_SOCKET=one_manager.address, WATCHDOG_USEC="1000", WATCHDOG_PID="1")
    assert daemon.stop() == 0
    one_manager.next("STOPPING")
    # With a limit of 1 ms there would be hundreds.
    assert sum("WATCHDOG" in datagram for datagram in one_manager.datagrams) <= 5


def test_nobody_listening_is_no_trouble(place: Site, tmp_path: Path) -> None:
    daemon = place.start(NOTIFY_SOCKET=str(tmp_path / "nobody"))
    place.put("101_V1_consent.pdf", b"content")
    daemon.wait_for("done")
    assert daemon.stop() == 0


def test_every_trouble_with_the_configuration_is_shown(place: Site, one_manager: Manager) -> None:
    """`systemctl status` shows it: a token that is gone, a reload that was not taken up, why there was no start."""

    def status_with(words: str) -> str:
        while words not in (told := one_manager.next("STATUS")["STATUS"]):
            pass
        return told

    place.token_file.unlink()
    daemon = place.start(ready=False, NOTIFY_SOCKET=one_manager.address)
    status_with(f"project trial: the token file {place.token_file} does not exist; write the project's API token into it")
    place.token_file.write_text(place.box.token)
    place.token_file.chmod(0o600)
    assert place.dropcap("reload").returncode == 0
    while "project trial" in one_manager.next("STATUS")["STATUS"]:
        pass

    place.config["folders"]["consents"]["rules"][0]["pattern"] = "{record"
    place.write_config()
    assert place.dropcap("reload").returncode == 1
    status_with("configuration not wholly in force: ")
    place.config["uploads_at_once"] = "many"
    place.write_config()
    told = place.dropcap("reload")
    assert told.returncode == 2
    assert "what was in force goes on" in told.stderr
    status_with("uploads_at_once")
    daemon.wait_for("config_problem", message="the configuration cannot be used as a whole; the old one stays in force")
    assert daemon.stop() == 0

    assert place.dropcap("run", NOTIFY_SOCKET=one_manager.address).returncode == 2
    assert "config.yaml" in status_with("cannot start: ")
