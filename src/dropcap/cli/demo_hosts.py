"""`dropcap demo --hosts 2`: two daemons with one ledger on PostgreSQL, of which one is killed and the other takes over."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from dropcap.cli.demo_daemon import DemoDaemon, Line, NotSeenError
from dropcap.cli.demo_database import DemoDatabase
from dropcap.cli.demo_told import Telling, imports
from redcap_sandbox import Fault, Sandbox, demo_project

#: Seconds: the shortest lease that is possible, and after how many something that should happen is taken not to.
_LEASE, _PATIENCE = 15, 60.0
_FOLDERS = ("consents", "scans")
_CHANGES = {"folder_taken": 1, "folder_handed_over": -1, "lease_lost": -1}
_EVENTS = {"V1": "baseline_arm_1", "V2": "month_6_arm_1"}


def show_hosts(root: Path) -> list[str]:
    """Play the story in `root`, an empty directory; what was not as it should be. Raises NoDatabase."""
    with DemoDatabase(root) as database, Sandbox(demo_project()) as box:
        return _Hosts(root, box, database.url).run()


class _Host:
    """A daemon, and the folders in which it says that it works."""

    def __init__(self, name: str, daemon: DemoDaemon) -> None:
        self.name = name
        self.daemon = daemon

    @property
    def folders(self) -> list[str]:
        """By its log."""
        balance: Counter[str] = Counter()
        for line in self.daemon.lines():
            balance[line.get("folder", "")] += _CHANGES.get(line["event"], 0)
        return sorted(folder for folder, number in balance.items() if number > 0)


class _Hosts:
    def __init__(self, root: Path, box: Sandbox, url: str) -> None:
        self._root = root
        self._box = box
        self._url = url
        self._telling = Telling()
        self._holds: dict[tuple[str, str, str, int | None], bytes] = {}

    def run(self) -> list[str]:
        """Everything in its order; what was not as it should be."""
        say = self._telling
        for folder in _FOLDERS:
            (self._root / folder).mkdir()
        (self._root / "preserved").mkdir()
        say.console.print(Text("dropcap demo --hosts 2", "bold"), f"in {self._root}")
        say.console.print(f"A sandbox REDCap at {self._box.url} holds a made-up trial.")
        say.console.print("A PostgreSQL of the demo's own holds the ledger.")
        with self._daemon("a") as a, self._daemon("b") as b:
            hosts = [_Host("host A", a), _Host("host B", b)]
            try:
                self._play(hosts)
            except NotSeenError as error:
                say.wrong.append(str(error))
            say.holdings(self._box, self._holds)
            self._end(hosts[1])
        sent = imports(self._box)
        say.check(sent == len(self._holds), f"{sent} files were sent to REDCap instead of {len(self._holds)}")
        say.in_the_end(f"All as it should be: {len(self._holds)} dropped, all stored, each sent once.")
        if not say.wrong:
            say.console.print("next: docs/several-hosts.md")
        return say.wrong

    def _daemon(self, name: str) -> DemoDaemon:
        return DemoDaemon(self._write_config(name), self._root / f"dropcap-{name}.log")

    def _play(self, hosts: list[_Host]) -> None:
        say = self._telling
        say.title("dropcap run, on two hosts: the folders are shared out")
        for host in hosts:
            host.daemon.wait_for("ready", patience=_PATIENCE)
        self._until(lambda: all(len(host.folders) == 1 for host in hosts), "each host did not get one folder")
        where = {host.folders[0]: host for host in hosts}
        for folder, host in where.items():
            say.line("taken", f"{folder}/", f"by {host.name}")
        say.title("A file in each folder: its host delivers it")
        for number, folder in enumerate(_FOLDERS, 1):
            self._drop(folder, str(100 + number), "V1")
        for number, folder in enumerate(_FOLDERS, 1):
            self._see_done(where[folder], f"{100 + number}_V1_consent.pdf")
        self._lose(hosts[0], hosts[1])

    def _lose(self, lost: _Host, other: _Host) -> None:
        """Kill a host while REDCap has a file of its and has not answered; the other one is left."""
        say = self._telling
        (folder,) = lost.folders
        say.title(f"{lost.name} is killed while a file of {folder}/ is being sent")
        self._box.ill(Fault("delay", 1, {"content": "file", "action": "import"}, seconds=3.0))
        self._drop(folder, "103", "V1")
        lost.daemon.wait_for("sending", "103_V1_consent.pdf", patience=_PATIENCE)
        self._until(lambda: any(held.record == "103" for held in self._box.holdings()), "the file did not reach REDCap")
        lost.daemon.kill()
        say.line("killed", lost.name, "REDCap has the file; nobody has heard the answer")
        began = time.monotonic()
        self._drop(folder, "104", "V1")
        say.title(f"{other.name} takes {folder}/ over once the lease of {_LEASE} s has lapsed")
        since = other.daemon.mark()
        while folder not in other.folders:
            other.daemon.wait_for("folder_taken", since=since, patience=_PATIENCE, tell=self._teller(other))
            since = other.daemon.mark()
        took = time.monotonic() - began
        say.line("taken", f"{folder}/", f"by {other.name}, {took:.1f} s after the kill")
        say.check(took < _LEASE + 10, f"the folder was taken over after {took:.1f} s")
        for record in ("104", "103"):
            self._see_done(other, f"{record}_V1_consent.pdf")
        say.title("Everything goes on with one host")
        for number, name in enumerate(_FOLDERS, 1):
            self._drop(name, str(100 + number), "V2")
        for number, _ in enumerate(_FOLDERS, 1):
            self._see_done(other, f"{100 + number}_V2_consent.pdf")

    def _end(self, host: _Host) -> None:
        say = self._telling
        say.title(f"dropcap status, on {host.name}")
        say.console.print(Text(host.daemon.command("status")))
        say.title("SIGTERM: the daemon ends")
        code = host.daemon.stop(_PATIENCE)
        say.line("stopped", host.name, f"exit code {code}")
        say.check(code == 0, f"{host.name} ended with exit code {code} instead of 0")

    def _drop(self, folder: str, record: str, visit: str) -> None:
        name = f"{record}_{visit}_consent.pdf"
        content = b"%PDF-1.7 " + f"consent of {record} at {visit}\n".encode() * 500
        self._holds[record, _EVENTS[visit], "consent_pdf", None] = content
        beside = self._root / "being-written"
        beside.write_bytes(content)
        self._telling.line("dropped", f"{folder}/{name}")
        beside.rename(self._root / folder / name)

    def _see_done(self, host: _Host, name: str) -> None:
        line = host.daemon.wait_for("done", name, patience=_PATIENCE, tell=self._teller(host))
        self._telling.check(line["result"] == "stored", f"{name} came out as {line['result']} instead of stored")

    def _teller(self, host: _Host) -> Callable[[Line], None]:
        return lambda line: self._telling.log_line(line, host.name)

    def _until(self, true: Callable[[], bool], otherwise: str) -> None:
        end = time.monotonic() + _PATIENCE
        while not true():
            if time.monotonic() > end:
                raise NotSeenError(f"{otherwise} within {_PATIENCE:g} s")
            time.sleep(0.05)

    def _write_config(self, name: str) -> Path:
        token_file = self._root / "token"
        if not token_file.exists():
            with open(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
                file.write(self._box.token)
        texts = {"state_dir": self._root / f"state-{name}", "token_file": token_file, "preserved": self._root / "preserved"}
        values = {key: json.dumps(str(path)) for key, path in texts.items()}
        path = self._root / f"config-{name}.yaml"
        text = _CONFIG.format(url=self._box.url, ledger=json.dumps(self._url), lease=_LEASE, **values)
        folders = [_FOLDER.format(name=folder, path=json.dumps(str(self._root / folder))) for folder in _FOLDERS]
        path.write_text(text + "".join(folders), encoding="utf-8")
        return path


_CONFIG = """\
# The demo's configuration of one host. On machines of their own all hosts have the same, state_dir included.
state_dir: {state_dir}
ledger: {ledger}
lease: {lease}s               # default: 60s
contact: "Data desk, ext. 4711"
log: {{format: json}}
tables:
  visits: {{V1: baseline_arm_1, V2: month_6_arm_1}}
projects:
  trial:
    url: {url}
    token_file: {token_file}
    timeout: 3s              # default: 120s
defaults:
  preserve_in: {preserved}
  settle_closed: 200ms       # default: 5s
  settle_quiet: 1s           # default: 15s
  min_free: 0
folders:
"""
_FOLDER = """\
  {name}:
    path: {path}
    project: trial
    rules:
      - name: consent
        pattern: "{{record:digits}}_{{visit:visits}}_consent.pdf"
        event: "{{visit|visits}}"
        field: consent_pdf
"""
