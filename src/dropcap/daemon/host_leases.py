"""Which folders are this host's, where several share a ledger: taken, handed over, agreed on."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import Protocol

import structlog

from dropcap.config.model import Config, Folder, Project
from dropcap.daemon.channel import Channel
from dropcap.daemon.control import ASKED
from dropcap.delivery.project_client import MakeWindow, window_of
from dropcap.hosts.membership import Heartbeat, LeaseHandle, Others, SharedWindow, boot_time
from dropcap.hosts.send_journal import BegunSend, SendJournal
from dropcap.intake import owner
from dropcap.intake.mounts import open_tree
from dropcap.intake.owner import Away
from dropcap.ledger.database import DatabaseError, Unavailable
from dropcap.ledger.job import Job
from dropcap.ledger.postgres import leases
from dropcap.ledger.postgres.leases import ThisHost
from dropcap.ledger.postgres.wire import Connector, Wire
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from dropcap.redcap.window import Allowance
from dropcap.threads import begin

#: For so long (seconds) a folder is away before another host is to have it.
AWAY = 10.0
#: For so long (seconds) one that was handed over as away counts as lacking, though its marker is seen here: the reason may be one
#: that only shows where it is worked in (a share that cannot be written), and would send it round the hosts.
HANDED_OVER = 300.0


class Lacking:
    """For one thread."""

    def __init__(self) -> None:
        self.folders: frozenset[str] = frozenset()
        self.surely: frozenset[str] = frozenset()  # of them, those that are known not to be there; replaced whole
        self._away_since: dict[str, float] = {}
        self._gone: frozenset[str] = frozenset()
        self._handed_over: dict[str, float] = {}

    def look(
        self,
        held: Collection[str],
        away: Collection[str],
        leaving: Collection[str],
        unseen: Collection[str],
        gone: frozenset[str],
        now: float,
    ) -> frozenset[str]:
        """The folders that this host lacks `now` (monotonic seconds).

        `held` are those in which it works, and of these `away` are not there; `leaving` are to be handed over; `unseen` are those
        of other hosts that are not seen from here, `gone` those that were looked for in vain.
        """
        self._away_since = {name: self._away_since.get(name, now) for name in away}
        long = {name for name, since in self._away_since.items() if now - since > AWAY}
        back, self._gone = self._gone.difference(unseen), gone
        self._handed_over |= dict.fromkeys(self.folders.intersection(leaving), now)
        self._handed_over = {
            name: at
            for name, at in self._handed_over.items()
            if now - at <= HANDED_OVER and name not in back and (name not in held or name in leaving)
        }
        self.folders = frozenset(long).union(self._handed_over, unseen)
        self.surely = self.folders.difference(unseen) | gone
        return self.folders


#: Seconds between two looks at a folder.
_EVERY = 10.0


@dataclass(slots=True)
class _Look:
    """The last look at a folder; a share that hangs lets it last."""

    thread: Thread
    began: float
    there: bool = False


class WithinReach:
    """For one thread. Waits for no share."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._looks: dict[str, _Look] = {}

    def lacking(self, folders: Collection[Folder]) -> frozenset[str]:
        """Those of `folders` that are not known to be there: no directory of theirs is, or another one than in the ledger."""
        now = time.monotonic()
        names = {folder.name for folder in folders}
        # What was seen before this host worked there itself says nothing of now.
        self._looks = {name: look for name, look in self._looks.items() if name in names or look.thread.is_alive()}
        lacking = set()
        for folder in folders:
            last = self._looks.get(folder.name)
            if last is None or (not last.thread.is_alive() and now - last.began > _EVERY):
                self._begin(folder, now, last)
            if (look := self._looks.get(folder.name)) is None or not look.there or now - look.began > 2 * _EVERY:
                lacking.add(folder.name)
        return frozenset(lacking)

    def gone(self) -> frozenset[str]:
        """Those that were looked for last and found not to be there."""
        return frozenset(name for name, look in self._looks.items() if not look.there and not look.thread.is_alive())

    def _begin(self, folder: Folder, now: float, last: _Look | None) -> None:
        def run() -> None:
            there = self._is_there(folder)
            look.there = there

        look = _Look(Thread(), now, last is not None and last.there)
        look.thread = begin(run, f"reach {folder.name}")
        self._looks[folder.name] = look

    def _is_there(self, folder: Folder) -> bool:
        try:
            known = self._query.known_folder(folder.name)
            tree = open_tree(folder.path)
            try:
                marker = owner.read(tree)
            finally:
                tree.close()
        except (OSError, Away, DatabaseError):
            return False
        return known is None or (marker is not None and marker.id == known.marker)


log = structlog.get_logger()

#: Seconds between two looks at what is to be done, and between two at what other hosts have entered.
_LOOK, _AGREE = 0.5, 2.0
#: The same while a folder is to be handed over: whether nothing is under way there any more.
_HURRY = 0.1
#: After so many seconds something hangs in a folder that is to be handed over, if no upload is under way there.
_HANGS = 20.0
_HANGING = "its file system does not answer here: others may take it once this host's lease is over"


class HostEngine(Protocol):
    """What is asked of `daemon.engine.Engine`."""

    config: Config
    channels: dict[str, Channel]
    released: set[str]

    def arrange(self) -> None: ...

    def leaving(self, folder: str) -> Channel | None: ...

    def forget(self, folder: str) -> None: ...

    def agree(self, asked: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class SharedPlace:
    """Where the shared ledger is, for the connections that are not the ledger's own."""

    connector: Connector
    me: ThisHost
    lease: float


class SharedLeases:
    """A `HostLeases`. One thread takes and hands over; `Heartbeat` tells it what."""

    def __init__(self, config: Config, place: SharedPlace, journal: SendJournal) -> None:
        self._config = config
        self._place = place
        self._journal = journal
        self._wire = Wire(place.connector)  # of the request limits
        self._handles: dict[str, LeaseHandle] = {}  # replaced whole
        self._leaving: dict[str, LeaseHandle] = {}  # to be handed over, or lost, once nothing is under way there; of the thread
        self._waits_since: dict[str, float] = {}  # since when these wait for their file system alone (`boot_time`)
        self._lock = threading.Lock()  # the three below
        self._lost: list[LeaseHandle] = []
        self._to_release: list[LeaseHandle] = []
        self._to_take: dict[str, int | None] = {}
        self._woken = threading.Event()
        self._ending = self._over = False
        self._ledger: Ledger | None = None  # once it has begun
        self.heartbeat = Heartbeat(place.connector, place.me, self, config.folders, lease=place.lease)
        self._lacking = Lacking()
        self._agreed = 0.0
        self._asked: str | None = None
        self._released: frozenset[str] = frozenset()
        self._told = place.me.configuration
        self._thread: Thread | None = None

    # HostLeases ----------------------------------------------------------------------------------------------------

    @property
    def window(self) -> MakeWindow:
        """One request limit for all hosts: the database counts."""
        return self._window_of

    def _window_of(self, config: Config, project: Project) -> Allowance:
        return SharedWindow(self._wire, project.host, config.limit_of(project.host))

    @property
    def host(self) -> str:
        """The id of this host among the others."""
        return self._place.me.id

    def lease_handle(self, folder: str) -> LeaseHandle | None:
        """This host's lease of a folder, None if it has none or is to hand it over."""
        handle = self._handles.get(folder)
        return None if handle is None or handle.lost or folder in self._leaving else handle

    def at_work_elsewhere(self) -> frozenset[str]:
        """The folders whose leases others hold, as they were seen last."""
        return frozenset(row.folder for row in self.others.look.leases if not row.lapsed and row.holder not in ("", self.host))

    def before_send(self, jobs: Sequence[Job]) -> None:
        """Enter on this host's own disk what is about to be sent. Raises OSError."""
        now, commits = time.time(), 0 if self._ledger is None else self._ledger.database.commits
        self._journal.append(
            [
                BegunSend(
                    *(job.id, job.folder, job.name, job.size, _words(job), job.instance, job.sha256 or ""),
                    *(self._place.me.id, commits, now),
                )
                for job in jobs
            ]
        )

    def configured(self, config: Config) -> None:
        """Another configuration is in force."""
        self._config = config
        self.heartbeat.configured(config.folders.keys() - self._released)

    def kept_by(self, folder: str, within: float) -> str | None:
        """Which other host works in a folder that nobody is to work in, once so many seconds have gone at most."""
        end = time.monotonic() + within
        while True:
            others = self.others
            holder = next((row.holder for row in others.look.leases if row.folder == folder and not row.released), "")
            if not holder or holder == self._place.me.id:
                return None
            if time.monotonic() > end:
                return next((row.name for row in others.look.hosts if row.id == holder), holder)
            time.sleep(_HURRY)

    def alive(self) -> bool:
        """Whether its threads run, since they were begun."""
        return self._thread is None or (self._thread.is_alive() and self.heartbeat.is_alive())

    # For the daemon -----------------------------------------------------------------------------------------------

    def fence(self, folder: str) -> int | None:
        """The fence by which this host writes for a folder."""
        handle = self._handles.get(folder)
        return None if handle is None or handle.lost else handle.fence

    @property
    def others(self) -> Others:
        """All hosts and leases, as they were seen last."""
        return self.heartbeat.others

    def settled(self, engine: HostEngine) -> bool:
        """Whether this host works in each folder that no other one has, but for those that it is known to lack: by a channel,
        which comes some questions to the database later than the lease."""
        if all(host.id != self.host for host in self.others.look.hosts):
            return False
        missing = self._config.folders.keys() - self.at_work_elsewhere() - self._lacking.surely
        at_work = {name: channel.lease_handle for name, channel in engine.channels.items()}
        return all((handle := self.lease_handle(name)) is not None and at_work.get(name) is handle for name in missing)

    def start(self, engine: HostEngine, ledger: Ledger) -> None:
        """Begin to take folders."""
        self._ledger = ledger
        self.heartbeat.start()
        self._thread = begin(self._run, "leases", engine, ledger)

    def end(self) -> None:
        """Dropcap is to end: take nothing more, and hand over each folder as soon as nothing is under way there, if there is
        another host. Waits for nothing."""
        if any(host.alive and host.id != self._place.me.id for host in self.others.look.hosts):
            with self._lock:
                self._to_release += self._handles.values()
        self._ending = True
        self.heartbeat.end()
        self._woken.set()

    def stop(self, within: float, *, hands_over: bool = True) -> None:
        """Nothing is under way in any folder any more: hand all over, unless what this host knows of them is to be settled by its
        next start. Waits so many seconds at most."""
        self._over = True
        self.end()
        if self._thread is not None:
            self._thread.join(within)
        for handle in self._handles.values() if hands_over else ():
            self.heartbeat.release(handle)
        self.heartbeat.stop(within)
        self._journal.close()
        self._wire.close()

    # A `Holder`, for the heartbeat ------------------------------------------------------------------------------------

    def lost(self, handle: LeaseHandle) -> None:
        """It is to be left at once."""
        with self._lock:
            self._lost.append(handle)
        self._woken.set()

    def may_take(self, folder: str, beat: int | None) -> None:
        """It is taken with the next look."""
        with self._lock:
            self._to_take[folder] = beat
        self._woken.set()

    def must_release(self, handle: LeaseHandle) -> None:
        """It is handed over once nothing is under way there."""
        with self._lock:
            if handle not in self._to_release:
                self._to_release.append(handle)
        self._woken.set()

    def answers(self, why: str) -> None:
        """As a question to the ledger would have found."""
        if self._ledger is not None:
            if why:
                self._ledger.trouble.met_asking(Unavailable(why))
            else:
                self._ledger.trouble.answers()

    # The thread ---------------------------------------------------------------------------------------------------

    def _run(self, engine: HostEngine, ledger: Ledger) -> None:
        reach = WithinReach(ledger.query)
        while not self._over:
            try:
                self._give_up(engine)
                self._hand_over(engine)
                if not self._ending:
                    self._agree(engine, ledger)
                    self._tell_lacking(engine, reach)
                    self._tell_configuration()
                    self._take(engine, ledger)
            except DatabaseError:
                pass  # the ledger itself tells
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                log.error("internal_error", where="leases", error=said, exc_info=True)
            self._woken.wait(_HURRY if self._leaving else _LOOK)
            self._woken.clear()

    def _give_up(self, engine: HostEngine) -> None:
        """Leave what was lost, and what is to be handed over."""
        with self._lock:
            lost, self._lost = self._lost, []
            to_release, self._to_release = self._to_release, []
        # Nobody works in a folder that is let go of; one that is out of the configuration here may be in another host's.
        wanted = engine.config.folders.keys() - engine.released
        to_release += [handle for name, handle in self._handles.items() if name not in wanted]
        for handle in lost:
            message = "its lease could not be renewed in time, and another host works there now"
            log.warning("lease_lost", folder=handle.folder, fence=handle.fence, message=message)
        for handle in [*lost, *to_release]:
            if self._handles.get(handle.folder) is handle and handle.folder not in self._leaving:
                self._leaving[handle.folder] = handle
                self._waits_since[handle.folder] = boot_time()
        self._arrange(engine)

    def _arrange(self, engine: HostEngine) -> None:
        """Work in what is ours and in nothing else. Raises DatabaseError: it is still to be done."""
        channels = engine.channels
        at_work = {name: channels[name].lease_handle if name in channels else None for name in engine.config.folders}
        if any(self.lease_handle(name) is not handle for name, handle in at_work.items()):
            engine.arrange()

    def _hand_over(self, engine: HostEngine) -> None:
        """What was left and has nothing under way any more is another host's."""
        ended = []
        for folder, handle in list(self._leaving.items()):
            channel = engine.leaving(folder)
            if channel is not None and not channel.ends():
                if not channel.hangs():
                    self._waits_since[folder] = boot_time()
                elif not handle.lost and boot_time() - self._waits_since[folder] > _HANGS:
                    self.heartbeat.let_lapse(handle)
                    log.warning("folder_handed_over", folder=folder, fence=handle.fence, message=_HANGING)
                continue
            ended.append(handle)
            self._handles = {name: held for name, held in self._handles.items() if held is not handle}
            del self._leaving[folder], self._waits_since[folder]
            engine.forget(folder)
        if ended:
            # What intake had opened refers to itself, and nothing of a folder is to stay open here. Once for all of them: it
            # stops every thread, the heartbeat's too.
            gc.collect()
        for handle in ended:
            if not handle.lost:
                self.heartbeat.release(handle)
                log.info("folder_handed_over", folder=handle.folder, fence=handle.fence)

    def _take(self, engine: HostEngine, ledger: Ledger) -> None:
        with self._lock:
            wanted, self._to_take = self._to_take, {}
        for folder, beat in wanted.items():
            if folder in self._handles or folder not in engine.config.folders or folder in engine.released or self._ending:
                continue
            asked = boot_time()
            taken = ledger.take_over(folder, beat, *self._read_back_in(folder))
            if taken is None:
                continue
            fence, unknown = taken
            self._handles = self._handles | {folder: self.heartbeat.took(folder, fence, asked)}
            log.info("folder_taken", folder=folder, fence=fence, unknown=unknown)
        self._arrange(engine)

    def _read_back_in(self, folder: str) -> tuple[float, float]:
        """After so many seconds what another host was sending is over unless that host, or the way, hangs; and after so many then
        too."""
        project = self._config.projects.get(self._config.folders[folder].project) if folder in self._config.folders else None
        return (0.0, 0.0) if project is None else (project.timeout, project.deadline + project.timeout)

    def _tell_lacking(self, engine: HostEngine, reach: WithinReach) -> None:
        here = {name: one for name, one in engine.channels.items() if name not in engine.released}  # else it is away for all
        away = {name for name, one in here.items() if one.intake.away is not None and one.lease_handle.holds()}
        others = engine.config.folders.keys() - self._handles.keys() - engine.released
        elsewhere = [engine.config.folders[name] for name in others]
        unseen = reach.lacking(elsewhere)
        now = time.monotonic()
        self.heartbeat.away(self._lacking.look(self._handles.keys(), away, self._leaving.keys(), unseen, reach.gone(), now))

    def _tell_configuration(self) -> None:
        """By which configuration this host works since a reload."""
        digest = self._config.digest
        if digest != self._told:
            with self._wire.asking() as connection:
                leases.works_by(connection, self._place.me.id, digest)
            self._told = digest

    def _agree(self, engine: HostEngine, ledger: Ledger) -> None:
        """Go by what was entered on other hosts, and by people."""
        if time.monotonic() - self._agreed < _AGREE:
            return
        self._agreed = time.monotonic()
        asked = ledger.query.meta(ASKED)
        put_aside = [folder for folder in ledger.query.put_aside() if self.lease_handle(folder) is not None]
        looked_back = sum(ledger.look_back(folder) for folder in put_aside)
        engine.agree(asked != self._asked or looked_back > 0)
        self._asked = asked
        if engine.released != self._released:
            self._released = frozenset(engine.released)
            self.heartbeat.configured(engine.config.folders.keys() - self._released)


def _words(job: Job) -> str:
    return " ".join(part for part in (job.project, job.record, job.event or "", job.field) if part)


class HostLeases(Protocol):
    """What the engine asks of it. Every method may be called from any thread, and waits for nothing but `before_send`."""

    @property
    def window(self) -> MakeWindow:
        """Makes the request limit of a project's server."""

    @property
    def host(self) -> str | None:
        """The id of this host among those that share the ledger, None if it has it for itself."""

    def lease_handle(self, folder: str) -> LeaseHandle | None:
        """This host's lease of a folder that it is to work in; None if another host is to."""

    def at_work_elsewhere(self) -> Collection[str]:
        """In which folders other hosts work now, be they in this host's configuration or not."""

    def before_send(self, jobs: Sequence[Job]) -> None:
        """These jobs are about to be sent. Raises OSError: then none may be sent."""

    def configured(self, config: Config) -> None:
        """Another configuration is in force."""

    def kept_by(self, folder: str, within: float) -> str | None:
        """Which other host still works in a folder that was let go of. Waits so many seconds at most until none does."""

    def alive(self) -> bool:
        """Whether the threads that keep the leases still run."""


class UnsharedLeases:
    """One host, one ledger."""

    def __init__(self) -> None:
        self._handles: dict[str, LeaseHandle] = {}

    @property
    def window(self) -> MakeWindow:
        """A file in `state_dir` counts, for all processes of this host."""
        return window_of

    @property
    def host(self) -> None:
        """None: the ledger is not shared."""
        return

    def lease_handle(self, folder: str) -> LeaseHandle:
        """It is always held."""
        return self._handles.setdefault(folder, LeaseHandle.alone(folder))

    def at_work_elsewhere(self) -> Collection[str]:
        """There is no other host."""
        return ()

    def before_send(self, jobs: Sequence[Job]) -> None:
        """The ledger knows, and lies on the same disk."""

    def configured(self, config: Config) -> None:
        """Whatever it names is this host's."""

    def kept_by(self, folder: str, within: float) -> str | None:
        """There is no other."""
        return None

    def alive(self) -> bool:
        """There is nothing to keep."""
        return True
