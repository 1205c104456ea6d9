"""What people can ask a dropcap to do, running or not: pause, resume, try again."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from dropcap.config.model import Config, Folder
from dropcap.display import shown
from dropcap.intake.mounts import open_tree
from dropcap.ledger.act import Deed, Who
from dropcap.ledger.errors import LeaseLost
from dropcap.ledger.job import Job, Mark, MarkKind, Pause, State
from dropcap.ledger.store import Ledger
from dropcap.ledger.transition import Change
from dropcap.reasons import Reason, Scope

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


def retry(ledger: Ledger, config: Config, jobs: Sequence[Job], who: Who) -> tuple[list[int], list[str]]:
    """Try jobs again: held and waiting ones at once, failed ones by moving their file back into the drop folder.

    Returns the jobs that are tried, and a sentence for each that cannot be.
    """
    if jobs:
        ledger.act(who, Deed.RETRY, number=len(jobs), jobs=[job.id for job in jobs[:_NAMED]])
    tried: list[int] = []
    cannot: list[str] = []
    open_jobs = [job for job in jobs if job.state in (State.HELD, State.WAITING, State.UNKNOWN)]
    guessed = {(job.folder, job.record) for job in open_jobs if job.reason == Reason.TOO_MANY_MISMATCHES}
    ledger.forget_mismatches(guessed)
    # Whoever was told that newer ones went has this one go over them; that it may be in another project, to where it leads now.
    released: dict[str, dict[str, Any]] = {
        Reason.NEWER_WENT: {"sent_over": ledger.query.last_job()},
        Reason.PROJECT_MISMATCH: {"key": None},
    }
    went = ledger.change(
        [Change(j.id, j.tried_again_as, "tried again", CLEAN | released.get(j.reason or "", {})) for j in open_jobs]
    )
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
        # Whoever asks for it wants these bytes sent, be it that they look cut off.
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
