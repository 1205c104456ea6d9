"""`dropcap check --adopt`: take over folders that are away because of their marker, unless somebody is alive there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dropcap.cli.configured import asked, prepared, stop
from dropcap.config.model import Config, Folder
from dropcap.daemon.control import ASKED, retry
from dropcap.daemon.opening import close_for_people, open_for_people
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.intake import owner
from dropcap.intake.mounts import Mount, Mounts
from dropcap.intake.owner import LEFT_AFTER, Run, Vigil
from dropcap.ledger.act import Deed, Who
from dropcap.ledger.database import DatabaseError, LedgerError
from dropcap.ledger.job import State
from dropcap.ledger.store import Ledger
from dropcap.preflight import drop_folder
from dropcap.preflight.remark import Remark, place_of
from dropcap.reasons import Reason, Scope

#: Seconds between two looks at a folder that is watched.
_LOOK = 2.0

#: Why a file stays held until somebody says `retry`.
_BY_HAND = frozenset({Reason.NEWER_WENT, Reason.TOO_MANY_MISMATCHES})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A folder that is away, open as `tree`, and why."""

    folder: Folder
    tree: Tree
    mount: Mount
    away: owner.Away
    vigil: Vigil = field(default_factory=Vigil)


def adopted(config: Config, folders: Sequence[Folder], *, force: bool) -> Iterator[Remark]:
    """Take over what is away because of its marker, and nothing else; what may be alive is watched first, if not `force`."""
    prepared(config)
    try:
        ledger = open_for_people(config)
    except (LedgerError, DatabaseError) as error:
        stop(f"the ledger cannot be written: {error}", 2)
    with contextlib.ExitStack() as stack:
        stack.callback(close_for_people, ledger, config)
        run = Run.of_installation(ledger.installation) if ledger.shared else Run.of(config.state_dir)
        wanted = list(_wanted(config, folders, ledger, stack))
        doubtful = [one for one in wanted if not force and _may_be_alive(one, ledger.installation, run)]
        for one in wanted:
            if one not in doubtful:
                yield _adopt(config, one, ledger, run)
        yield from _watched(config, doubtful, ledger, run)


def _wanted(config: Config, folders: Sequence[Folder], ledger: Ledger, stack: contextlib.ExitStack) -> Iterator[_Wanted]:
    mounts = Mounts.now()
    known = owner.KnownFolders(ledger.query, ledger.installation)
    for folder in folders:
        tree = drop_folder.open_folder(folder)
        if isinstance(tree, Remark):
            continue  # told with the rest
        stack.callback(tree.close)
        mount = drop_folder.mount_of(tree, folder, mounts)
        try:
            owner.examine(tree, folder.name, str(folder.path), mount, known)
        except owner.Away as away:
            yield _Wanted(folder, tree, mount, away)
        except OSError:
            pass  # told with the rest


def _may_be_alive(one: _Wanted, installation: str, run: Run) -> bool:
    """Whether somebody may be alive in the folder: whose marker it is, or whose was just removed."""
    try:
        found = owner.read(one.tree)
        if found is None:
            return not owner.left_alone(one.tree)
        if found.installation == installation:
            return not run.knows(found.beat)
        return found.beat is None or not run.knows(found.beat) or owner.written_since(one.tree)
    except (owner.Away, OSError):
        return False  # adopting it tells


def _watched(config: Config, folders: Sequence[_Wanted], ledger: Ledger, run: Run) -> Iterator[Remark]:
    """Watch folders together, each until it is known whether somebody is alive there."""
    for one in folders:
        message = f"the other dropcap has not said that it has ended: its marker is watched for {LEFT_AFTER:g} s"
        yield Remark("ok", place_of(one.folder), message, done=True)
    left = list(folders)
    while left:
        for one in list(left):
            try:
                seconds = one.vigil.look(owner.sign_of_life(one.tree))
            except OSError as error:
                left.remove(one)
                yield Remark("error", place_of(one.folder), f"the folder cannot be adopted: {error}")
                continue
            if one.vigil.moved:
                left.remove(one)
                message = f"the folder is not adopted: another dropcap is alive there (it was away: {one.away})"
                remedy = "end that one, then try again; --force takes the folder at once, and both may send one file"
                yield Remark("error", place_of(one.folder), message, remedy)
            elif not seconds:
                left.remove(one)
                yield _adopt(config, one, ledger, run)
        if left:
            time.sleep(_LOOK)


def _adopt(config: Config, one: _Wanted, ledger: Ledger, run: Run) -> Remark:
    folder, where = one.folder, place_of(one.folder)
    try:
        ledger.act(Who.me(), Deed.ADOPT, folder=folder.name, path=shown(str(folder.path)), was_away=str(one.away))
        _renamed(config, folder, one.tree, ledger)
        owner.adopt(one.tree, folder.name, str(folder.path), one.mount, ledger, run)
    except (owner.Away, OSError) as error:
        return Remark("error", where, f"the folder cannot be adopted: {error}")
    # A running dropcap is to notice which files are its now: those that were held are tried again on the way, but for those of
    # which a person alone decides.
    held = [job.id for job in ledger.query.in_state((State.HELD,), folder.name, limit=1_000_000) if job.reason not in _BY_HAND]
    told = asked(config, {"do": "retry", "jobs": held, "failed": False, "held": False, "folder": folder.name})
    if told is None and ledger.shared:  # another host may be the one that works there
        jobs = [job for number in held if (job := ledger.query.job(number)) is not None]
        retry(ledger.for_people(), config, jobs, Who.me())
        ledger.set_meta(ASKED, str(time.time()))
    return Remark("ok", where, f"adopted: this installation works there now (it was away: {one.away})", done=True)


def _renamed(config: Config, folder: Folder, tree: Tree, ledger: Ledger) -> None:
    """The marker names a folder of ours that is no longer in the configuration: it goes by another name now."""
    found = owner.read(tree)
    if found is None or found.installation != ledger.installation or found.folder in config.folders:
        return
    hosts = ledger.query.hosts()
    holder = hosts.holder(found.folder) if hosts is not None else None
    if hosts is not None and holder is not None:
        raise owner.Away(
            f"{hosts.called(holder)} works in it under the name {shown(found.folder)}: give all hosts the new configuration "
            "(dropcap reload) first"
        )
    paused = [pause for pause in ledger.query.pauses() if (pause.scope, pause.name) == (Scope.FOLDER, found.folder)]
    ledger.rename_folder(found.folder, folder.name)
    for pause in paused:  # before the first file can go on its way
        if pause.reason == Reason.BY_HAND:
            asked(config, {"do": "pause", "scope": "folder", "name": folder.name})
        asked(config, {"do": "resume", "scope": "folder", "name": found.folder})
