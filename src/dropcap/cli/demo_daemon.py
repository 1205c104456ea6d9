"""The demo's daemon: a child process, its log read as it is written."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dropcap.child import command

#: systemd's, should the demo be run by it: they are not meant for this daemon.
_NOT_OURS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "DROPCAP_CONFIG"})

Line = Mapping[str, Any]


class NotSeenError(Exception):
    """The log did not say what it should have said."""


class DemoDaemon:
    """`dropcap run` with a configuration, from entry to exit. Its log is kept in `log_file` as well."""

    def __init__(self, config: Path, log_file: Path) -> None:
        self._config = config
        self._log_file = log_file
        self._env = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
        self._lines: list[Line] = []
        self._told = 0
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            command("dropcap.cli", "run", "-c", str(self._config)),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, name="log of the daemon", daemon=True)
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            # Ctrl-C has reached it as well; asked a second time, it lets no upload end.
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)

    def mark(self) -> int:
        """The place in the log where it now ends."""
        with self._changed:
            return len(self._lines)

    def lines(self) -> list[Line]:
        """What the log says so far."""
        with self._changed:
            return self._lines[:]

    def wait_for(
        self, event: str, name: str = "", since: int = 0, patience: float = 30.0, tell: Callable[[Line], None] | None = None
    ) -> Line:
        """The first line of `event` after the mark `since`, about the file `name` if it is about a file.

        Each line of the log is given to `tell` once, in its order.

        Raises:
            NotSeenError: there is none within `patience` seconds, or the daemon ended.
        """
        end = time.monotonic() + patience
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._told < len(self._lines) or not self._reader.is_alive(), 0.1)
                lines = self._lines[:]
            for line in lines[self._told :]:
                if tell:
                    tell(line)
            self._told = len(lines)
            for line in lines[since:]:
                if line["event"] == event and line.get("file", name) == name:
                    return line
            if not self._reader.is_alive():
                raise NotSeenError(f"the daemon ended by itself (exit code {self._process.wait()}); its log: {self._log_file}")
            if time.monotonic() > end:
                of = f" of {name}" if name else ""
                raise NotSeenError(f"the daemon's log did not mention `{event}`{of} within {patience:g} s")

    def command(self, *words: str) -> str:
        """What another command, with the same configuration, prints."""
        done = subprocess.run(
            command("dropcap.cli", *words, "-c", str(self._config)),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=30,
        )
        return done.stdout.rstrip()

    def stop(self, patience: float) -> int:
        """End it with SIGTERM; its exit code."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(patience)
        self._process.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End it as the death of its machine would."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with open(self._log_file, "w", encoding="utf-8") as kept:
            for text in self._process.stderr:
                kept.write(text)
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if isinstance(line, dict) and "event" in line:
                    with self._changed:
                        self._lines.append(line)
                        self._changed.notify_all()
