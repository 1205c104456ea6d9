"""A place to try dropcap from outside: a sandbox REDCap, a drop folder, a configuration, the real command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from dropcap.config.model import Folder
from dropcap.daemon.log import known
from dropcap.files.tree import Tree
from dropcap.filing.preserve import Keep
from dropcap.ledger.job import Address, Job, Pause
from dropcap.ledger.proof import prove
from dropcap.ledger.query import Query
from dropcap.reasons import Scope
from redcap_sandbox import Sandbox, demo_project
from tests.warm import COLD, Warm, run

DROPCAP = [sys.executable, "-m", "dropcap"]
TOKEN = "0123456789ABCDEF0123456789ABCDEF"
#: Seconds after which something that should happen is taken not to.
PATIENCE = 45.0


def eventually(true: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Wait for a thing that happens in another process; its value. What takes long to ask is asked less often."""
    end = time.monotonic() + patience
    while True:
        asked = time.monotonic()
        value = true()
        if value:
            return value
        if (now := time.monotonic()) > end:
            raise AssertionError(f"it did not happen within {patience:g} s")
        time.sleep(min(max(0.02, 4 * (now - asked)), 0.5))


def keep_in(root: Path, name: str = "consents", min_free: int = 0) -> Keep:
    """A place for copies beneath `root`, which nobody else is said to get at."""
    return Keep(root / "preserved" / name, min_free, root, lambda: None, make_above=True)


class NobodyTold:
    """Hears of pauses that begin and end."""

    def pause_began(self, pause: Pause) -> None:
        pass

    def pause_ended(self, scope: Scope, name: str, asked: bool) -> None:
        pass


class QuietFolder:
    """A drop folder at work, as delivery and filing see it, in which nothing happens."""

    def __init__(self, folder: Folder, tree: Tree | None = None) -> None:
        self.folder = folder
        self.opened = tree
        self.is_away = False
        self.over_with: list[tuple[int, bool]] = []
        self.told = threading.Event()

    def tree(self) -> Tree | None:
        return self.opened

    def away(self) -> bool:
        return self.is_away

    def confirm(self) -> bool:
        return True

    def holds(self) -> bool:
        return True

    def address(self, name: str) -> Address:
        return Address()

    def ended(self, jobs: Sequence[Job], stored: bool) -> None:
        self.over_with.extend((job.id, stored) for job in jobs)
        self.told.set()

    def changed(self) -> None:
        pass

    def filed(self, names: list[str]) -> None:
        pass

    def missing(self) -> None:
        pass

    def refresh(self) -> float:
        return 60.0

    def stopped(self) -> None:
        pass

    def over(self) -> None:
        pass


class Daemon:
    """A running `dropcap run`, its log read as it comes."""

    def __init__(self, command: list[str] | None, env: dict[str, str]) -> None:
        """Without `command`: `dropcap run`, whose start costs little (`tests.warm`)."""
        self.lines: list[dict[str, Any]] = []
        self.raw: list[str] = []
        self._changed = threading.Condition()
        reading, writing = os.pipe()
        self.process: Warm | subprocess.Popen[bytes]
        with open(os.devnull, "wb") as nowhere:
            if command is None:
                self.process = Warm(["run"], env, nowhere.fileno(), writing)
            else:
                self.process = subprocess.Popen(command, env=env, stdout=nowhere, stderr=writing)
        os.close(writing)
        self._reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
        self._reader.start()

    def _read(self, fd: int) -> None:
        with open(fd, encoding="utf-8", errors="replace") as log:
            for line in log:
                with self._changed:
                    self.raw.append(line)
                    with contextlib.suppress(ValueError):
                        self.lines.append(json.loads(line))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def events(self, event: str, **keys: Any) -> list[dict[str, Any]]:
        """The log lines of an event so far."""
        with self._changed:
            return [line for line in self.lines if _is(line, event, keys)]

    def wait_for(self, event: str, count: int = 1, patience: float = PATIENCE, **keys: Any) -> list[dict[str, Any]]:
        """Wait until the log has so many lines of an event."""
        end = time.monotonic() + patience
        with self._changed:
            while True:
                found = [line for line in self.lines if _is(line, event, keys)]
                if len(found) >= count:
                    return found
                left = end - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._reader.is_alive()):
                    raise AssertionError(f"no {count} × {event} {keys} in the log:\n{''.join(self.raw[-40:])}")
                self._changed.wait(min(left, 0.2))

    def wait_until_watched(self, patience: float = 8.0) -> None:
        """Until all folders are watched, so that what is dropped then was not there at first (one that hangs never is)."""
        (ready,) = self.events("ready")
        end = time.monotonic() + patience
        with self._changed:
            while time.monotonic() < end:
                told = {line.get("folder") for line in self.lines if line.get("event") in ("folder_watched", "folder_away")}
                if told >= set(ready["folders"]):
                    return
                self._changed.wait(0.1)

    def stop(self, number: int = signal.SIGTERM, patience: float = 30.0) -> int:
        """End it and wait; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(patience)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """As a power cut would, but for what the kernel has already."""
        self.process.kill()
        self.process.wait(10)
        self._reader.join(5)


class Site:
    """`root/drop` is the drop folder of the one folder `consents`, delivered to `project` on a sandbox."""

    def __init__(self, root: Path, box: Sandbox, **folder: Any) -> None:
        self.root = root
        self.box = box
        self.drop = root / "drop"
        self.drop.mkdir(exist_ok=True)
        self.token_file = root / "token"
        self.token_file.write_text(box.token)
        self.token_file.chmod(0o600)
        self.state = root / "state"
        self.config_file = root / "config.yaml"
        self.config: dict[str, Any] = {
            "state_dir": str(self.state),
            "contact": "Data desk, ext. 4711",
            "tables": {"visits": {"V1": "baseline_arm_1", "V2": "month_6_arm_1"}},
            "projects": {"trial": {"url": box.url, "token_file": str(self.token_file), "requests_per_minute": 0}},
            "folders": {
                "consents": {
                    "path": str(self.drop),
                    "project": "trial",
                    "settle_closed": "50ms",
                    "settle_quiet": "300ms",
                    "rescan": "2s",
                    "min_free": "0",
                    "rules": [
                        {
                            "name": "consent",
                            "pattern": "{record:alnum}_{visit:visits}_consent.pdf",
                            "event": "{visit|visits}",
                            "field": "consent_pdf",
                        },
                        {
                            "name": "lab",
                            "pattern": "{record:digits}_{visit:visits}_lab*.pdf",
                            "event": "{visit|visits}",
                            "field": "lab_report",
                            "instance": "next",
                        },
                        {
                            "name": "scan",
                            "pattern": "{record:digits}_{visit:visits}_scan*.*",
                            "event": "{visit|visits}",
                            "field": "scan",
                        },
                    ],
                    **folder,
                }
            },
        }
        self.write_config()
        self._daemons: list[Daemon] = []

    @property
    def folder(self) -> dict[str, Any]:
        """The settings of the one folder; call `write_config` after a change."""
        found: dict[str, Any] = self.config["folders"]["consents"]
        return found

    @property
    def project(self) -> dict[str, Any]:
        """The settings of the one project."""
        found: dict[str, Any] = self.config["projects"]["trial"]
        return found

    def write_config(self) -> None:
        self.config_file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    # Files --------------------------------------------------------------------------------------------------------

    def put(self, name: str, content: bytes = b"%PDF some content\n") -> Path:
        """Drop a file the careful way: written beside, then renamed into the folder."""
        path = self.drop / name
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.root / f"putting-{time.monotonic_ns()}"
        beside.write_bytes(content)
        beside.rename(path)
        return path

    def names(self, place: str) -> list[str]:
        """The files beneath `place`, relative to it."""
        base = self.drop / place
        return sorted(str(p.relative_to(base)) for p in base.rglob("*") if p.is_file()) if base.is_dir() else []

    def done(self) -> list[str]:
        """The names in done/, without the day."""
        return sorted(name.partition("/")[2] for name in self.names("done"))

    def failed(self) -> list[str]:
        """The names in failed/, without the texts."""
        return [name for name in self.names("failed") if not name.endswith(".why.txt")]

    def why(self, name: str) -> str:
        """The text beside a failed file."""
        return (self.drop / "failed" / f"{name}.why.txt").read_text()

    def everywhere(self) -> list[str]:
        """Every dropped file, wherever it lies now, by its path in the drop folder."""
        ours = ("_STATUS.html", ".dropcap")
        return [n for n in self.names("") if not n.endswith(".why.txt") and n not in ours]

    @property
    def kept(self) -> Path:
        """Where copies of what REDCap held are kept."""
        return self.state / "preserved" / "consents"

    def copies(self) -> list[str]:
        """The copies there, relative to it, without what tells of them and what a crash left half written."""
        found = sorted(str(p.relative_to(self.kept)) for p in self.kept.rglob("*") if p.is_file())
        return [name for name in found if not name.endswith(".json") and not Path(name).name.startswith(".dropcap-")]

    # dropcap ------------------------------------------------------------------------------------------------------

    def env(self, **more: str) -> dict[str, str]:
        """The environment of the command."""
        return {**os.environ, "DROPCAP_CONFIG": str(self.config_file), "PYTHONUNBUFFERED": "1", **more}

    def dropcap(self, *words: str, patience: float = 60.0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; `env` on top of the environment is for an interpreter of its own."""
        if env or COLD:
            return subprocess.run(
                [*DROPCAP, *words], env=self.env(**env), capture_output=True, text=True, errors="replace", timeout=patience
            )
        return run(words, self.env(), patience)

    def once(self, *words: str, patience: float = 60.0) -> subprocess.CompletedProcess[str]:
        """`dropcap run --once`."""
        return self.dropcap("run", "--once", *words, patience=patience)

    def retry(self, job: int) -> None:
        """`dropcap retry JOB` for a job that waits; a turn of its own may have been quicker."""
        done = self.dropcap("retry", str(job))
        assert done.returncode == 0 or "nothing to try again" in done.stderr, done.stderr

    def start(self, prefix: list[str] | None = None, ready: bool = True, **env: str) -> Daemon:
        """Start the daemon; ended with the site."""
        cold = COLD or bool(prefix or env)
        daemon = Daemon([*(prefix or []), *DROPCAP, "run"] if cold else None, self.env(**env))
        self._daemons.append(daemon)
        if ready:
            daemon.wait_for("ready")
            daemon.wait_until_watched()
        return daemon

    def jobs(self) -> list[Job]:
        """All jobs in the ledger, oldest first."""
        query = Query(self.state / "ledger.db")
        try:
            return query.recent(1_000_000)[::-1]
        finally:
            query.close()

    def acts(self, what: str) -> list[dict[str, Any]]:
        """What `history --acts` tells of acts of a kind."""
        told = (json.loads(line) for line in self.dropcap("history", "--acts", "--json").stdout.splitlines())
        return [act for act in told if act["what"] == what]

    def close(self) -> None:
        for daemon in self._daemons:
            if daemon.process.poll() is None:
                daemon.kill()


@contextlib.contextmanager
def site(root: Path, box: Sandbox | None = None, **folder: Any) -> Iterator[Site]:
    """A site with a sandbox of its own, unless one is given."""
    with contextlib.ExitStack() as stack:
        if box is None:
            box = stack.enter_context(Sandbox(demo_project(), token=TOKEN))
        made = Site(root, box, **folder)
        stack.callback(made.close)
        yield made
        if os.environ.get("DROPCAP_PROVE") and (made.state / "ledger.db").exists():
            made.close()
            assert prove(made.state / "ledger.db", known(made.state)).broken == []


def _is(line: dict[str, Any], event: str, keys: dict[str, Any]) -> bool:
    return line.get("event") == event and all(line.get(key) == value for key, value in keys.items())
