"""Starting dropcap in a process of its own without an interpreter's start and imports, which cost more than what it then does.

A server has imported dropcap and does nothing else; each start is a fork of it, which gets its words, environment, directory
and output as an exec would. `DROPCAP_COLD=1` starts all with an interpreter of their own, as people do; so is started in any
case what needs another program before the command (`strace`, `setpriv`) or variables of its own in its environment.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLD = os.environ.get("DROPCAP_COLD") == "1"

#: What most starts need.
_IMPORTED = tuple(f"dropcap.cli.{name}" for name in ("run", "once", "status", "history", "intervene", "verify", "check"))
#: What those need besides that have a ledger on PostgreSQL, or the operator's page; the extras may not be installed.
_EXTRAS = ("dropcap.ledger.postgres.database", "dropcap.ledger.postgres.connection", "dropcap.dashboard.server")
#: The most that a start may say: its words and environment.
_MOST = 1 << 20
_NUMBER = struct.Struct("i")
#: Several threads of a test start at once: there is one server, and a mask is read by being set.
_ASKING = threading.Lock()


class Warm:
    """A running `dropcap` that was forked; to be used as a `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], env: dict[str, str], out: int, err: int) -> None:
        told, tell = os.pipe()
        try:
            with _ASKING:
                mask = os.umask(0o022)
                os.umask(mask)
                wanted = {"words": list(words), "env": env, "directory": os.getcwd(), "mask": mask}
                socket.send_fds(_server()[0], [json.dumps(wanted).encode()], [out, err, tell])
        finally:
            os.close(tell)
        self._told = open(told, "rb", buffering=0)  # noqa: SIM115 - two numbers: the process's id, then its exit code
        self._reading = threading.Lock()
        self._code: int | None = None
        (self.pid,) = _NUMBER.unpack(self._told.read(_NUMBER.size))

    def poll(self) -> int | None:
        """Its exit code if it has ended, that of a signal negative."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code."""
        with self._reading:
            if self._code is None:
                if not select.select([self._told], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("dropcap", timeout or 0.0)
                (self._code,) = _NUMBER.unpack(self._told.read(_NUMBER.size))
                self._told.close()
            return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def returncode(self) -> int | None:
        """Its exit code, if anybody has asked since it ended."""
        return self._code


def run(words: Sequence[str], env: dict[str, str], patience: float) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` with captured output."""
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        process = Warm(words, env, out.fileno(), err.fileno())
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(["dropcap", *words], code, out.read(), err.read())


@functools.cache
def _server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The server of this process, and what to ask it by."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        command = [sys.executable, "-m", "tests.warm", str(its.fileno())]
        root = Path(__file__).parents[1]
        return ours, subprocess.Popen(command, cwd=root, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)


def end() -> None:
    """End the server, if there is one."""
    if _server.cache_info().currsize:
        asked, process = _server()
        asked.close()
        process.wait(10)


def _serve(asked: socket.socket) -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    for name in _EXTRAS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # what is shared with the forks stays so
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake)
    started: dict[int, int] = {}
    while True:
        ready = select.select([asked, woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _tell_of_the_dead(started)
        if asked in ready:
            data, fds, _, _ = socket.recv_fds(asked, _MOST, 3)
            if not data:
                return
            out, err, tell = fds
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for fd in (asked.detach(), woken, wake, tell, *started.values()):
                    os.close(fd)
                _become(out, err, **json.loads(data))
            started[pid] = tell
            os.write(tell, _NUMBER.pack(pid))
            os.close(out)
            os.close(err)


def _tell_of_the_dead(started: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            tell = started.pop(ended[0])
            with contextlib.suppress(BrokenPipeError):
                os.write(tell, _NUMBER.pack(os.waitstatus_to_exitcode(ended[1])))
            os.close(tell)


def _become(out: int, err: int, words: list[str], env: dict[str, str], directory: str, mask: int) -> None:
    """In the new process: be what an exec would have made of it, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(directory)
    os.umask(mask)
    for number, name, given in ((1, "stdout", out), (2, "stderr", err)):
        os.dup2(given, number)
        os.close(given)
        stream = open(number, "w", 1 if number == 2 else -1, encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    sys.argv = ["dropcap", *words]
    code: Any = 1
    try:
        from dropcap.files import names

        names._RUN = secrets.token_hex(4)  # else what one run left half written would be taken for the next one's own
        from dropcap.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
