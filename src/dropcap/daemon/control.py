"""The control socket: how `status`, `retry`, `pause` and `resume` reach a running daemon.

One JSON object a line each way, on a Unix socket in state_dir that only dropcap's user and group may open.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from dropcap.daemon.state import StateError
from dropcap.ledger.act import Who
from dropcap.ledger.errors import TOLD
from dropcap.threads import NoThread, begin

log = structlog.get_logger()

SOCKET = "control.sock"
#: Nothing that is asked is longer (a retry of many jobs is the longest). An answer may be: it names every file of a folder.
_LONGEST = 1024 * 1024
#: Seconds for which a silent client is waited for while no other can be answered.
_ALONE = 2.0
#: Seconds until a socket that gives nobody is asked again.
_BETWEEN_TRIES = 0.2

#: Seconds that a command waits for an answer; and of them those in which the daemon no longer begins with what is asked.
PATIENCE, _ANSWERING = 4.5, 1.5

#: What is answered to a question of somebody's.
Answer = Callable[[dict[str, Any], Who], dict[str, Any]]


class Overdue(Exception):  # noqa: N818 - a state, not a fault
    """Whoever asked has been told by now that nothing was done, so nothing is."""


class Control:
    """Serves the control socket until `close`."""

    def __init__(self, state_dir: Path, answer: Answer) -> None:
        """Raises StateError if the socket cannot be made, NoThread if nobody can serve it."""
        self._path = state_dir / SOCKET
        self._answer = answer
        self._closed = threading.Event()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()  # of an earlier run: the lock is ours
            with _short(self._path) as address:
                self._server.bind(address)
            os.chmod(self._path, 0o660)
            self._server.listen(8)
        except OSError as error:
            self._server.close()
            raise StateError(
                f"{self._path} cannot be made ({error.strerror or error}): put state_dir on a local disk with room"
            ) from None
        try:
            begin(self._serve, "control")
        except NoThread:
            self._server.close()
            raise

    def close(self) -> None:
        """Take the socket away."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:  # closed, or out of descriptors for the moment
                if self._closed.wait(_BETWEEN_TRIES):
                    return
                continue
            try:
                begin(self._one, "control request", connection)
            except NoThread:  # then `status` is needed most
                self._one(connection, _ALONE)

    def _one(self, connection: socket.socket, patience: float = 30.0) -> None:
        with connection:
            connection.settimeout(patience)
            try:
                asked = json.loads(_line(connection, _LONGEST))
                asked = asked if isinstance(asked, dict) else {}
                if _now() > float(asked.pop("until", math.inf)):
                    raise Overdue
                told = self._answer(asked, Who.peer(connection))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                told = {"error": f"not understood: {error}"}
            except Overdue:
                told = {"error": "it came to it too late, so that nothing was done: try again"}
            except OSError:
                return
            except TOLD as error:
                told = {"error": f"the ledger cannot be used ({error}): nothing was done, or not all of it; try again"}
            except Exception as error:
                log.error("internal_error", where="control", error=f"{type(error).__name__}: {error}", exc_info=True)
                told = {"error": f"an error inside dropcap: {error}"}
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(told).encode() + b"\n")


def ask(state_dir: Path, question: dict[str, Any], timeout: float = PATIENCE) -> dict[str, Any] | None:
    """Ask the running daemon; None if there is none, or none that answers within `timeout` (seconds).

    With None, nothing was done, nor will be: a daemon that comes to it as late as that (it was halted, say) does nothing.

    Raises:
        PermissionError: the socket is not ours to open.
    """
    path = state_dir / SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(timeout)
        try:
            with _short(path) as address:
                client.connect(address)
            until = _now() + timeout - _ANSWERING
            client.sendall(json.dumps(question | {"until": until}).encode() + b"\n")
            told = json.loads(_line(client))
        except PermissionError:
            raise
        except (OSError, ValueError, RecursionError):
            return None
    return told if isinstance(told, dict) else None


def _now() -> float:
    """Seconds on a clock that nobody sets, and that both ends of the socket share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _line(connection: socket.socket, longest: float = math.inf) -> bytearray:
    data = bytearray()
    while not data.endswith(b"\n") and len(data) < longest:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for `path`: a socket's may have 107 bytes only, so a longer one goes by way of its directory's descriptor."""
    if len(os.fsencode(path)) <= 100:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
