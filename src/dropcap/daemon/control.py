"""The control socket, and what people have a running dropcap do."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import shlex
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import structlog

from dropcap.config.model import Config, Folder
from dropcap.daemon.state import StateError
from dropcap.delivery.order import Order
from dropcap.display import shown
from dropcap.filing.loop import Filer
from dropcap.hosts.membership import boot_time
from dropcap.intake.mounts import open_tree
from dropcap.ledger.chain import AuditAction, AuditActor
from dropcap.ledger.database import TOLD, LeaseLost
from dropcap.ledger.job import Change, Job, Mark, MarkKind, Pause, State
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.threads import begin, spare

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
Answer = Callable[[dict[str, Any], AuditActor], dict[str, Any]]


class Overdue(Exception):  # noqa: N818 - a state, not a fault
    """The request has expired: the client was told that nothing was done, so nothing is."""


class Control:
    """Serves the control socket until `close`."""

    def __init__(self, state_dir: Path, answer: Answer) -> None:
        """Raises StateError if the socket cannot be made."""
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
        begin(self._serve, "control")

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
            # Without a thread for it: a reload is to be refused even then.
            if spare(self._one, "control request", connection) is None:
                self._one(connection, _ALONE)

    def _one(self, connection: socket.socket, patience: float = 30.0) -> None:
        with connection:
            connection.settimeout(patience)
            try:
                asked = json.loads(_line(connection, _LONGEST))
                asked = asked if isinstance(asked, dict) else {}
                if boot_time() > float(asked.pop("until", math.inf)):
                    raise Overdue
                told = self._answer(asked, AuditActor.peer(connection))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                told = {"error": f"not understood: {error}"}
            except Overdue:
                told = {"error": "the request expired: nothing was changed; try again"}
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
            until = boot_time() + timeout - _ANSWERING  # a clock that both ends of the socket share
            client.sendall(json.dumps(question | {"until": until}).encode() + b"\n")
            told = json.loads(_line(client))
        except PermissionError:
            raise
        except (OSError, ValueError, RecursionError):
            return None
    return told if isinstance(told, dict) else None


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


#: Jobs that an act names; of more it tells the number.
_NAMED = 10_000
#: A job that is tried again begins with a clean slate.
CLEAN: dict[str, Any] = {"due": 0.0, "faults": 0, "lookups": 0, "reason": None, "message": None, "remedy": None, "created": None}


def try_again(ledger: Ledger, held: Iterable[Job]) -> int:
    """These go on, with a clean slate; how many. Each folder is a write of its own: one that is another host's by now keeps no
    other folder's files from that, and goes on there. Raises DatabaseError."""
    of_folder: dict[str, list[Change]] = {}
    for job in held:
        of_folder.setdefault(job.folder, []).append(Change(job.id, job.tried_again_as, "tried again", CLEAN))
    done = 0
    for changes in of_folder.values():
        with contextlib.suppress(LeaseLost):
            done += len(ledger.change(changes))
    return done


def pause_by_hand(scope: Scope, name: str) -> Pause:
    """The pause that `dropcap pause` makes."""
    return Pause(
        scope,
        name,
        Reason.BY_HAND,
        "paused by hand",
        f"end it with: dropcap resume --{scope} {shlex.quote(name)}",
        time.time(),
        True,
    )


def retry(ledger: Ledger, config: Config, jobs: Sequence[Job], actor: AuditActor) -> tuple[list[int], list[str]]:
    """Try jobs again: held and waiting ones at once, failed ones by moving their file back into the drop folder.

    Returns the jobs that are tried, and a sentence for each that cannot be.
    """
    if jobs:
        ledger.act(actor, AuditAction.RETRY, number=len(jobs), jobs=[job.id for job in jobs[:_NAMED]])
    tried: list[int] = []
    cannot: list[str] = []
    open_jobs = [job for job in jobs if job.state in (State.HELD, State.WAITING, State.UNKNOWN)]
    guessed = {(job.folder, job.record) for job in open_jobs if job.reason == Reason.TOO_MANY_MISMATCHES}
    ledger.forget_mismatches(guessed)
    order = Order(config.projects.values(), config.folders.values(), ledger.query.told_projects())
    went = ledger.change([Change(j.id, j.tried_again_as, "tried again", CLEAN | _released(ledger, order, j)) for j in open_jobs])
    tried += sorted(went)
    for job in jobs:
        if job.state is State.FAILED:
            said = _move_back(ledger, config.folders.get(job.folder), job)
            if said:
                cannot.append(f"job {job.id} ({shown(job.name)}): {said}")
            else:
                tried.append(job.id)
        elif job.id not in went:
            cannot.append(f"job {job.id} ({shown(job.name)}) is {job.state.value}: nothing to try again")
    return tried, cannot


def _released(ledger: Ledger, order: Order, job: Job) -> dict[str, Any]:
    """One that newer files went before goes over them; one that may be in another project, to where its entry leads now. Where
    that is the same project, it is read back at its place."""
    if job.reason == Reason.NEWER_WENT:
        return {"sent_over": ledger.query.last_job()}
    return {"key": None} if job.reason == Reason.PROJECT_MISMATCH and order.elsewhere(job) else {}


def _move_back(ledger: Ledger, folder: Folder | None, job: Job) -> str:
    if folder is None:
        return f"the folder `{job.folder}` is not in the configuration"
    if job.tried_again is not None:
        return f"it was tried again already, as job {job.tried_again}" if job.tried_again != job.id else "its file is gone"
    if job.filed_as is None:
        return "its file is gone"
    try:
        tree = open_tree(folder.path)
    except OSError as error:
        return f"the folder cannot be opened ({error.strerror})"
    try:
        # An explicit retry overrides the truncation check.
        lies = tree.lstat(job.filed_as)
        as_is = Mark(job.name, MarkKind.AS_IS, lies.st_size, lies.st_mtime_ns, lies.st_ctime_ns, lies.st_ino, time.time())
        ledger.mark(job.folder, [as_is])  # before the daemon can see the file
        tree.move(job.filed_as, job.name)
        tree.sync(_parent(job.filed_as), _parent(job.name))
    except FileNotFoundError:
        return f"there is no {shown(job.filed_as)} any more"
    except FileExistsError:
        return f"a file of that name lies in {shown(str(folder.path))} already"
    except OSError as error:
        return f"it cannot be moved ({error.strerror})"
    finally:
        tree.close()
    return ""


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def select(ledger: Ledger, numbers: Sequence[int], *, failed: bool, held: bool, folder: str | None) -> list[Job]:
    """The jobs that a `retry` names."""
    jobs = [job for number in numbers if (job := ledger.query.job(number)) is not None]
    if failed:
        jobs += ledger.query.failed(folder, limit=1_000_000)
    if held:
        jobs += ledger.query.in_state((State.HELD,), folder, limit=1_000_000)
    return jobs


def server_of(config: Config, name: str, paused: Collection[str] = ()) -> str | None:
    """The server that a person means: its host, with or without port, or the name of one of its projects.

    That is the server by whatever way; only what is `paused` can be a single way there.
    """
    if name in config.projects:
        projects = [config.projects[name]]
    else:
        given = name.lower()
        projects = [project for project in config.projects.values() if given in (project.host, project.host.rpartition(":")[0])]
    hosts = {project.host for project in projects}
    ways = {project.server for project in projects}
    found = sorted(hosts & set(paused) or ways & set(paused) or hosts)
    return found[0] if len(found) == 1 else None


#: Seconds that a folder has until nothing of it is open any more; an upload that is under way may take longer.
LASTS = 20.0
_BETWEEN_LOOKS = 0.1
_RELEASED = "released "


def release(ledger: Ledger, folder: str, released: bool) -> None:
    """Let go of a folder from now on, or no longer."""
    if (folder in released_of(ledger.query)) != released:
        ledger.set_meta(f"{_RELEASED}{folder}", "yes" if released else "")


def released_of(query: Query) -> frozenset[str]:
    """All folders that are to be let go of, be they in the configuration or not. Raises DatabaseError."""
    return frozenset(folder for folder, said in query.metas(_RELEASED).items() if said)


def still_open(path: Path, within: float, filer: Filer | None) -> list[str]:
    """What this process has open beneath `path` after so many seconds at most. Touches no file system but /proc."""
    end = time.monotonic() + within
    while True:
        if filer is not None:
            filer.borrowed()  # it sees that the folder is away, and closes it
        gc.collect()  # what intake had opened refers to itself
        found = _open_beneath(os.path.realpath(path))
        if not found or time.monotonic() >= end:
            return found
        time.sleep(_BETWEEN_LOOKS)


def _open_beneath(path: str) -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            target = os.readlink(f"/proc/self/fd/{number}")
            if target == path or target.startswith(path + "/"):
                found.append(target)
    return sorted(set(found))


#: The word of the installation that is another one after each such act.
ASKED = "asked"
