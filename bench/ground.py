"""What every benchmark stands on: the sink, a drop folder, and the uploaders that compete, each a process of its own."""

from __future__ import annotations

import atexit
import json
import os
import queue
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
TOKEN = "0123456789ABCDEF0123456789ABCDEF"
#: Seconds without any headway after which a benchmark is given up.
PATIENCE = 120.0


class GaveUp(Exception):  # noqa: N818
    """Something did not come to its end; the message says what."""


@dataclass
class Options:
    """How much is done, and where."""

    runs: int = 5
    scale: float = 1.0
    directory: str | None = None

    def scaled(self, number: int) -> int:
        """A number of files, times `scale`."""
        return max(int(number * self.scale), 1)


class Process:
    """A program whose output is read line by line; ended by its own number."""

    def __init__(self, command: list[str], *, err: bool = False) -> None:
        self.began = time.monotonic()
        self.ready_after = 0.0
        pipes: dict[str, Any] = {"stderr" if err else "stdout": subprocess.PIPE}
        other = {"stdout" if err else "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, start_new_session=True, **pipes, **other)
        self.pid = self._process.pid
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stream = self._process.stderr if err else self._process.stdout
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._stream is not None
        for line in self._stream:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, words: str, patience: float = PATIENCE) -> str:
        """The first line to come that holds `words`."""
        end = time.monotonic() + patience
        seen: list[str] = []
        while True:
            try:
                line = self._lines.get(timeout=max(end - time.monotonic(), 0.01))
            except queue.Empty:
                line = None
            if line is None:
                raise GaveUp(f"no {words!r} from {self._process.args!r}; it said: {''.join(seen[-5:])}")
            if words in line:
                return line
            seen.append(line)

    def cpu(self) -> float:
        """Seconds of CPU that it has used, all threads and children together, those that have ended as well."""
        ticks = 0
        for one in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has just ended
                fields = one.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.pid:  # of its session
                    ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident(self, peak: bool = False) -> float:
        """MiB of memory that it holds now, or has held at most since `forget_peak`."""
        key = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        return 0.0

    def forget_peak(self) -> None:
        """Begin the peak anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait(10)

    def end(self) -> None:
        """End it and what it started (its own session)."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
        with suppress(ProcessLookupError):  # the shell's inotifywait
            os.killpg(self.pid, signal.SIGTERM)


@dataclass
class Ground:
    """A temporary place with a sink; `drop` is the first drop folder."""

    root: Path
    sink: Process
    port: int
    certificate: Path | None = None  # the sink's own, if it speaks TLS
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}/api/"

    def drops(self, folders: int) -> list[Path]:
        """The first drop folders."""
        return [self.drop] + [self.root / f"drop{number}" for number in range(2, folders + 1)]

    @property
    def drop(self) -> Path:
        return self.root / "drop"

    @property
    def token_file(self) -> Path:
        return self.root / "token"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def received(self) -> list[tuple[str, int, float, float]]:
        """What the sink has received since the last asking: name, size, monotonic time of the first byte and of the last."""
        trust = ssl.create_default_context(cafile=self.certificate) if self.certificate else None
        with urllib.request.urlopen(self.url.replace("/api/", "/received"), timeout=30, context=trust) as reply:
            return [tuple(one) for one in json.load(reply)]

    def config(self, folders: int = 1, **settings: Any) -> Path:
        """Write a configuration; `settings` are those of all folders, `first` those of the first alone."""
        folder: dict[str, Any] = {
            "project": "bench",
            "settle_closed": "0",
            "min_free": "0",
            "existing_file": "replace",
            "confirm": "none",
            "rules": [{"name": "consent", "pattern": "{record:digits}_*.pdf", "field": "consent_pdf"}],
        }
        top: dict[str, Any] = {"state_dir": str(self.state), "uploads_at_once": settings.pop("uploads_at_once", 4)}
        first = settings.pop("first", {})
        folder |= settings
        paths = self.drops(folders)
        for path in paths:
            path.mkdir(exist_ok=True)
        project = {"url": self.url, "token_file": str(self.token_file), "requests_per_minute": 0, "max_size": "4GiB"}
        if self.certificate:
            project["ca_file"] = str(self.certificate)
        top |= {"projects": {"bench": project}, "folders": {path.name: {"path": str(path), **folder} for path in paths}}
        top["folders"][self.drop.name] |= first
        file = self.root / "config.yaml"
        file.write_text(yaml.safe_dump(top))
        return file

    @contextmanager
    def dropcap(self, folders: int = 1, **settings: Any) -> Iterator[Process]:
        """`dropcap run`, ready."""
        config = self.config(folders, **settings)
        process = Process([sys.executable, "-m", "dropcap", "run", "-c", str(config)], err=True)
        try:
            process.wait_for('"ready"')
            process.ready_after = time.monotonic() - process.began
            yield process
        finally:
            process.end()

    @contextmanager
    def rival(self, name: str, folders: int = 1) -> Iterator[Process]:
        """One of the scripts in rivals/, ready, for so many folders."""
        script = next((HERE / "rivals").glob(f"{name}.*"))
        shell = script.suffix == ".sh"
        drops = self.drops(folders)
        for path in drops:
            path.mkdir(exist_ok=True)
        command = [*(["bash"] if shell else [sys.executable]), str(script), self.url, str(self.token_file), *map(str, drops)]
        process = Process(command, err=shell)
        try:
            process.wait_for("established" if shell else "ready")
            yield process
        finally:
            process.end()

    def write(self, files: int, size: int, first: int = 1, folder: Path | None = None, folders: int = 1) -> None:
        """Files written into the drop folder, or in turn into the first ones, closed one after the other; no two are the same."""
        content = os.urandom(size)
        paths = [folder] if folder else self.drops(folders)
        for number in range(first, first + files):
            with open(paths[number % len(paths)] / f"{number}_consent.pdf", "wb") as file:
                file.write(b"%d\n" % number)
                file.write(content[: size - file.tell()])

    def wait_done(self, files: int, folder: Path | None = None, folders: int = 1) -> float:
        """Wait until so many files lie in done/, all of these folders together; the monotonic time."""
        paths = [folder] if folder else self.drops(folders)
        last, moved = -1, time.monotonic()
        while True:
            number = sum(len(names) for path in paths for _, _, names in os.walk(path / "done"))
            now = time.monotonic()
            if number >= files:
                return now
            if number != last:
                last, moved = number, now
            elif now - moved > PATIENCE:
                raise GaveUp(f"{number} of {files} files in done/ after {PATIENCE:.0f} s without headway")
            time.sleep(0.02 if files <= 5000 else 0.2)


@contextmanager
def ground(options: Options, latency: float = 0.0, hashes: bool = False, tls: bool = False) -> Iterator[Ground]:
    """A fresh place and a sink (see there); the place is gone when the benchmarks end.

    It is not removed at once: for half a minute after files are deleted, ext4 takes its time to create others (an inode is not
    given out again so soon), which slows down whoever drops the files of the next run.
    """
    root = Path(tempfile.mkdtemp(prefix="dropcap-bench-", dir=options.directory))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    certificate = _certificate(root) if tls else None
    asked = [*(["--hash"] if hashes else []), *(["--tls", str(certificate)] if tls else [])]
    sink = Process([sys.executable, str(HERE / "sink.py"), "--latency", str(latency), *asked])
    try:
        made = Ground(root, sink, int(sink.wait_for("\n")), certificate)
        made.drop.mkdir()
        made.token_file.write_text(TOKEN)
        made.token_file.chmod(0o600)
        yield made
    finally:
        sink.end()


def _certificate(root: Path) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, and its key, in one file."""
    file, key = root / "certificate.pem", root / "key.pem"
    for_whom = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([*make, *for_whom, "-keyout", str(key), "-out", str(file)], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + key.read_bytes())
    return file
