"""Delivery at work: one thread decides, others look up, send, create; what becomes of it goes back to the ledger."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Mapping

import structlog

from dropcap.delivery.attribution import Attribution, Limits
from dropcap.delivery.circuit import MOST, Breakers
from dropcap.delivery.lookup import LookUps
from dropcap.delivery.order import Order
from dropcap.delivery.project_client import ProjectClient
from dropcap.delivery.queue import FolderQueue, OutcomeHandler, Queues
from dropcap.delivery.read_back import ReadBack
from dropcap.delivery.scheduler import Scheduler
from dropcap.delivery.work import Work
from dropcap.delivery.workers import Hosts
from dropcap.filing.loop import Completion
from dropcap.ledger.database import TOLD, DatabaseError
from dropcap.ledger.job import Held, Job, Pause, Refused, State, about
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.routing.route import NoRoute
from dropcap.threads import begin, start

log = structlog.get_logger()

#: Places that are asked about in one go.
_KEYS = 500
#: All folders are looked at anew after so many seconds, so that a wake that is ever missed costs a file a minute, and no more.
_LOOK = 60.0
#: The same of those that have something due, where other hosts work: what they have ended may be what a file here waited for.
_LOOK_SHARED = 1.0
#: The clock was set if it goes back by more than so many seconds.
_SET_BACK = 1.0
#: How soon it is seen, at a stop, that all turns under way wait for the request limit (seconds).
_LIMIT_LOOK = 0.2


class Delivery:
    """Takes due jobs from the ledger and sees them through. One thread decides, `uploads_at_once` others work."""

    def __init__(self, ledger: Ledger, order: Order, hosts: Hosts) -> None:
        """It has nothing to do before `take_up`."""
        self._ledger = ledger
        self._hosts = hosts
        self.breakers = Breakers(self)
        self.queues = Queues(ledger, self.breakers)
        self._outcome_handler = OutcomeHandler(ledger, self.queues)
        self._attribution = Attribution(Limits(ledger), self.queues.break_off)
        self._work = Work(ledger, self.queues, self._outcome_handler, self._attribution, hosts)
        self.progress = self._work.progress
        look_ups = LookUps(ledger, self.queues, order, self._outcome_handler, self._attribution)
        self._scheduler = Scheduler(ledger, self.queues, order, self._outcome_handler, self._work, look_ups)
        self._workers = self._scheduler.workers
        self._read_back = ReadBack(ledger, order, self.queues)
        self._elsewhere: frozenset[str] = frozenset()  # folders of the configuration in which other hosts work
        self._deciding = threading.Lock()
        self._refused_tokens: dict[str, int | None] = {}  # of paused projects, by the stamp that they had then
        self._next_due = 0.0
        self._changes = 0  # of the ledger, as they were seen last
        self._looked = self._looked_behind = time.monotonic()  # at all folders; at those with something due
        self._boot = math.inf  # by the clock: not known before the first round
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self.last_round = time.monotonic()

    # Called from other threads ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Recover what an earlier run left, then begin."""
        unknown = 0 if self._ledger.shared else self._ledger.recover()  # else who takes a folder does it there
        if unknown:
            message = "dropcap ended while these were being sent; REDCap is read back before anything is sent again"
            log.info("recovered", jobs=unknown, message=message)
        self.breakers.load(self._ledger.query.pauses(), time.monotonic())
        self._look_for_absent()
        self._ledger.look_for_records(self._folders)
        self._read_back.start()
        start(self._thread)

    def pause(self, pause: Pause) -> None:
        """Stop a server, a project or a folder until somebody resumes it."""
        self.breakers.by_hand(pause)

    def resume(self, scope: Scope, name: str) -> bool:
        """End a pause, whoever made it, a moment ago on another host perhaps; False if there was none."""
        if self._ledger.shared:
            with contextlib.suppress(DatabaseError):  # else by what is known here
                self.agree()
        ended = self.breakers.resume(scope, name)
        self.queues.wake()
        return ended

    def agree(self) -> bool:
        """Other hosts, or people there, may have paused or resumed: go by the ledger's pauses. Whether any was news."""
        asked = time.monotonic()
        if not self.breakers.agree(self._ledger.query.pauses(), asked, time.monotonic()):
            return False
        self._tell_pages()
        return True

    def idle(self) -> bool:
        """Whether nothing can be done now: no turn under way, everything filed, nothing due that may be sent."""
        if not self.queues.quiet() or self._workers.running() or not self._read_back.idle():
            return False
        if not all(one.filer.idle() for one in self.queues.every()):
            return False
        now = time.time()
        due, small_file, absent = self._ledger.query.due, self.queues.small_file, self.queues.absence.absent
        return not any(
            self.queues.open(folder) and due(folder.name, now, 1, small_file, small=small, absent=absent)
            for folder in self._folders.values()
            for small in (True, False)
        )

    def alive(self) -> bool:
        """Whether the deciding thread goes round, and what was sent is read back."""
        decides = self._thread.is_alive() and time.monotonic() - self.last_round < 120.0
        return decides and self._read_back.alive()

    def take_up(
        self,
        folders: Mapping[str, FolderQueue],
        clients: Mapping[str, ProjectClient],
        *,
        uploads_at_once: int,
        small_file: int,
        elsewhere: frozenset[str] = frozenset(),
    ) -> None:
        """Go on with these folders, projects and sizes. Work under way end with the ones that they began with. Waits for no
        folder: one that is not among them any more, or another one of its name, is to be retired by the caller that started it.
        `elsewhere` are folders in which other hosts work, or may."""
        with self._deciding:
            for folder in self._folders.values():
                self._scheduler.give_back(folder)
                folder.forget()
            left = self.queues.left | self._folders
            self.queues.left = {name: one for name, one in left.items() if name not in folders}
            self.queues.folders, self.queues.clients = dict(folders), dict(clients)
            self.queues.small_file = small_file
            self._elsewhere = elsewhere
            self._workers.size = uploads_at_once
            self._look_for_absent()
            self._ledger.look_for_records(folders)
        self.queues.wake()

    def try_paused(self) -> None:
        """The configuration is another one: what it does not name any more is not paused either, and what has paused by itself is
        tried again."""
        clients, folders = self.queues.clients, self._folders
        known = {
            Scope.SERVER: {client.server for client in clients.values()},
            Scope.PROJECT: set(clients),
            Scope.FOLDER: {*folders, *self._elsewhere},
        }
        for pause in self.breakers.pauses():
            if pause.until_resume:  # a slip in the configuration takes a folder or project out of it for a while: not its pause
                continue
            if pause.scope == Scope.PROJECT or pause.name not in known[pause.scope]:
                self.breakers.resume(pause.scope, pause.name)
            elif pause.scope == Scope.SERVER:  # another url may be all that it needed
                self.breakers.try_now(pause.scope, pause.name)
        self.queues.wake()

    def limited(self, project: str | None = None) -> dict[str, float]:
        """When there is room again in the request limit of hosts (of that project's alone, if given) that is waited for now."""
        clients = [client for name, client in self.queues.clients.items() if project in (None, name)]
        return {client.host: room for client in clients if (room := client.redcap.room_at) is not None}

    def under_way(self) -> int:
        """How many turns are under way."""
        return self._workers.running()

    def busy(self, folder: str) -> bool:
        """Whether a turn of a file of that folder is under way, or may begin."""
        return folder in self._folders or self._workers.busy(folder)

    def stop(self, within: float) -> None:
        """Begin nothing new; let what is under way end for so many seconds, then break it off. What only waits for the request
        limit is not waited for."""
        self.queues.stop()
        if self._thread.ident is not None:
            self._thread.join()
        if not self._turns_end(within):
            self._tell_cut_off(within)
        self.queues.break_off.set()
        self._workers.wait_for_none(10.0)
        self._read_back.stop(5.0)
        for one in self.queues.every():
            one.filer.stop()
        end = time.monotonic() + 10.0
        for one in self.queues.every():
            one.filer.join(max(0.0, end - time.monotonic()))
        self._workers.stop()
        for client in self.queues.clients.values():
            client.redcap.close()

    def _turns_end(self, within: float) -> bool:
        """Wait until no request is under way; False if one still was after so many seconds."""
        end = time.monotonic() + within
        while not self._workers.wait_for_none(max(0.0, min(_LIMIT_LOOK, end - time.monotonic()))):
            if self._workers.only_wait(self.queues.at_the_limit()):
                return True
            if time.monotonic() >= end:
                return False
        return True

    def _tell_cut_off(self, within: float) -> None:
        """Name the jobs whose uploads are broken off."""
        with contextlib.suppress(DatabaseError):  # the ledger tells of itself
            for job in self._ledger.query.in_state((State.SENDING,), limit=1000):
                if self.queues.is_elsewhere(job.folder):
                    continue
                log.warning(
                    "cut_off",
                    **about(job),
                    message=f"its upload has not ended within {within:g} s of the stop, and is broken off",
                    remedy="nothing: the next start reads REDCap back before it sends it again; stop_within gives more time",
                )

    # The deciding thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self.queues.stopping:
            self.last_round = time.monotonic()
            try:
                with self._deciding:
                    self._decide()
                seconds = self._seconds_to_next()
            except TOLD:
                seconds = 1.0  # of a lost lease: by then the folder is none of ours any more
            except Exception as error:
                odd = not isinstance(error, DatabaseError)  # of which the ledger itself tells
                log.error("internal_error", where="delivery", error=f"{type(error).__name__}: {error}", exc_info=odd)
                seconds = 1.0
            self.queues.wait(seconds)

    def _seconds_to_next(self) -> float:
        waits = [_LOOK_SHARED if self._ledger.shared else 5.0]
        if self._next_due:
            waits.append(self._next_due - time.time())
        tried = self.breakers.next_wake(time.monotonic())
        if tried is not None:
            waits.append(tried)
        return max(min(waits), 0.01)

    def _decide(self) -> None:
        now, monotonic = time.time(), time.monotonic()
        self._mind_the_clock(now - monotonic)
        self._notice_hung(monotonic)
        paused = {pause.name for pause in self.breakers.pauses() if pause.scope == Scope.FOLDER}
        if self.queues.absence.look(self._folders, paused, self._hosts.at_work_elsewhere(), monotonic):
            for folder in self._folders.values():
                folder.look_again()
        self._probe_servers(monotonic)
        self._try_renewed_tokens()
        self._look_behind_freed()
        self._look_behind_others(now, monotonic)
        if (self._next_due and now >= self._next_due) or monotonic - self._looked >= _LOOK:
            self._looked = monotonic
            for folder in self._folders.values():
                folder.look_again()
        for folder in self._folders.values():
            self._refill(folder, now)
        self._next_due = min((one.next_due for one in self._folders.values() if one.next_due is not None), default=0.0)
        self._scheduler.dispatch(monotonic)

    def _probe_servers(self, now: float) -> None:
        for server in self.breakers.probes_due(now):
            client = next((client for client in self.queues.clients.values() if client.server == server), None)
            if client is None:
                self.breakers.resume(Scope.SERVER, server)
            elif self.breakers.stopped(Scope.SERVER, client.host):  # by hand, whatever the way
                self.breakers.not_probed(server, now + MOST)
            else:
                begin(self._work.probe, "probe", server, client)

    def _refill(self, folder: FolderQueue, now: float) -> None:
        """Take more of its jobs from the ledger, and settle those that cannot be candidates as they are."""
        unfit = folder.refill(self._ledger.query, now, self.queues.small_file, self.queues.in_flight, self.queues.absence.absent)
        for left in unfit.left:  # under its new name it may have to wait: not for others that wait for its trial
            self.breakers.give_back(left)
        if unfit.moved:
            self._ledger.reroute(folder.name, [(job.id, folder.site.address(job.name)) for job in unfit.moved])
            self.queues.wake()  # they may have left places as well
        for job, nowhere in unfit.lost:
            if job.state is State.UNKNOWN:  # REDCap may have it, at a place that the rules do not tell any more
                self._outcome_handler.hold(job, _lost(job, nowhere, folder.folder.project))
                self.queues.ended([job])
            else:
                self.queues.in_flight.add(job.id)
                folder.filer.put(Completion(job, Refused(nowhere.reason, nowhere.message, nowhere.remedy)))

    def _look_behind_freed(self) -> None:
        """Look again in the folders that have files waiting for a place that another one may have left."""
        freed = self.queues.freed()
        for first in range(0, len(freed), _KEYS):
            for name in self._ledger.query.folders_waiting_for(freed[first : first + _KEYS]):
                if name in self._folders:
                    self._folders[name].look_again()

    def _look_behind_others(self, now: float, monotonic: float) -> None:
        """Look again where a file may have waited for one of another host's."""
        if self._ledger.shared and monotonic - self._looked_behind >= _LOOK_SHARED:
            self._looked_behind, before = monotonic, self._changes
            self._changes = self._ledger.query.changes()
            if self._changes != before:
                for name in self._ledger.query.folders_due(now) & self._folders.keys():
                    self._folders[name].look_again()

    # Beneath ------------------------------------------------------------------------------------------------------

    @property
    def _folders(self) -> dict[str, FolderQueue]:
        return self.queues.folders

    def _mind_the_clock(self, boot: float) -> None:
        """What was put off by a clock that was ahead is due once that stands right. `boot` is when the monotonic clock was 0."""
        if boot < self._boot - _SET_BACK and (jobs := self._ledger.clock_was_set()):
            message = "the clock was set back: what it had put off until a time far ahead is due now"
            log.info("clock_set", jobs=jobs, message=message)
            for folder in self._folders.values():
                folder.look_again()
        self._boot = boot

    def _notice_hung(self, now: float) -> None:
        hung = self._workers.hung(now)
        for one in self.queues.every():
            one.filer.enter_late(now)
        for name, folder in self._folders.items():
            if hung.get(name, 0) and not folder.stuck:
                message = "its file system does not answer; other folders go on"
                log.warning("folder_away", folder=name, message=message)
            elif folder.stuck and not hung.get(name, 0):
                log.info("folder_back", folder=name)
            folder.stuck = hung.get(name, 0)

    def _look_for_absent(self) -> None:
        self.queues.absence.configured({*self._folders, *self._elsewhere}, self._ledger.query.counts())

    def _try_renewed_tokens(self) -> None:
        """Let the projects be tried at once that were paused, perhaps for their token, and whose token is another one now."""
        for name, before in list(self._refused_tokens.items()):
            client = self.queues.clients.get(name)
            if client is None or (now := client.token_stamp()) in (None, before):
                continue
            client.forget()
            if self.breakers.try_now(Scope.PROJECT, name):
                self._refused_tokens[name] = now
            else:
                self._refused_tokens.pop(name, None)

    def pause_began(self, pause: Pause) -> None:
        """Breakers tells it, in any thread."""
        if pause.scope == Scope.PROJECT and not pause.until_resume and pause.name in self.queues.clients:
            self._refused_tokens[pause.name] = self.queues.clients[pause.name].token_stamp()
        self._ledger.pause(pause)
        self.breakers.entered(pause, time.monotonic())
        self._tell_pages()
        log.warning("paused", scope=pause.scope, name=pause.name, reason=pause.reason, message=pause.message, remedy=pause.remedy)

    def pause_ended(self, scope: Scope, name: str, asked: bool) -> None:
        """Breakers tells it, in any thread."""
        self._attribution.forget(scope, name)
        if scope == Scope.PROJECT:
            self._refused_tokens.pop(name, None)
        self._ledger.resume(scope, name, of_itself=not asked)
        self._tell_pages()
        log.info("resumed", scope=scope, name=name)
        self.queues.wake()

    def _tell_pages(self) -> None:
        """A pause concerns folders of which no file has met the trouble yet."""
        for folder in list(self._folders.values()):
            folder.site.changed()


def _lost(job: Job, nowhere: NoRoute, project: str) -> Held:
    message = f"{nowhere.message}; it is not known whether it has reached REDCap"
    if nowhere.reason == Reason.PROJECT_MISMATCH:
        remedy = (
            "look for it there: if it is to go to the new project, `dropcap retry JOB` (or --held) sends it there; else take it "
            "out of in_progress/, or put the old project's token and project_id back and reload, by which it is read back there"
        )
        return Held(nowhere.reason, message, remedy)
    moved = job.project and job.project != project
    renamed = "give the file in in_progress/ its old name, or put the rule back and reload"
    put_back = "put the project back and reload" if moved else renamed
    remedy = (
        f"{put_back}: dropcap then reads it back first. "
        "Else look for it in REDCap, take it out of in_progress/, and drop it again if it is not there"
    )
    return Held(nowhere.reason, message, remedy)
