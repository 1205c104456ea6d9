"""A circuit breaker for each server, project and folder: pauses, probes and back-off."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Protocol

from dropcap.config.model import Project
from dropcap.ledger.job import Job, Later, Pause
from dropcap.reasons import Reason, Scope


def backoff(tries: int, first: float = 2.0, most: float = 900.0) -> float:
    """Seconds before try number `tries` + 1: doubling from `first` to `most`, with jitter in the upper half."""
    full = min(most, first * 2.0 ** min(max(tries - 1, 0), 30))
    return full / 2 + full / 2 * random.random()


#: Seconds between tries of something that is paused: first, doubling, at most.
FIRST, MOST = 1.0, 60.0
#: A project whose token or rights are refused is asked less often, so that nobody's log fills.
PROJECT_FIRST, PROJECT_MOST = 60.0, 900.0
#: Different files in a row that must fail before the server itself is suspected.
SUSPICIOUS = 3
#: A file on trial that has told nothing for so long (seconds) was renamed or taken away, or is very large: another one may try.
TRIAL_LASTS = 600.0
#: For so long (seconds) only files that have not failed yet are let through on trial.
FRESH_FIRST = 1.0
#: For so long (seconds) a probe that found a server well answers for it, should another file fail.
WELL_FOR = 60.0


@dataclass(slots=True)
class Breaker:
    """The circuit breaker of one server, project or folder: closed while there is no `pause`, open while there is one, half-open
    from `next_try` on. Then a server is asked first (`probe`), or one job is let through (`trial`).

    `Breakers` alone has it, under its lock.
    """

    scope: Scope
    name: str
    pause: Pause | None = None
    entered: tuple[Pause, float] | None = None  # the pause that the ledger was seen to have, and since when (monotonic)
    tries: int = 0
    next_try: float = 0.0  # monotonic seconds
    trial: int | None = None
    trial_began: float = 0.0
    probe: bool = False
    probing: bool = False
    asked_at: float = -WELL_FOR  # when the server was asked last, and when that found it well
    well_at: float = -WELL_FOR
    admitted: bool = False  # it failed when it was asked, or asked for a rest: the pause was no file's fault
    denied: bool = False  # files failed, and the first probe afterwards found it well
    doubted: tuple[str, Later] | None = None  # of a project: the server, and the last trouble that may be only this project's
    suspects: dict[int, bool] = field(default_factory=dict)  # jobs that failed in a row, and whether they were blamed for it
    folders: set[str] = field(default_factory=set)  # those of the suspects, where others may have nothing to do with it

    @property
    def until_resume(self) -> bool:
        """Whether it is paused until somebody resumes it."""
        return self.pause is not None and self.pause.until_resume

    @property
    def suspicious(self) -> bool:
        """Whether so many files have failed in a row that it may be the server's or project's own trouble."""
        return len(self.suspects) >= SUSPICIOUS

    def was_entered(self, at: float) -> bool:
        """Whether the ledger had its pause by then."""
        return self.entered is not None and self.entered[0] is self.pause and self.entered[1] <= at

    def lets_through(self, job: int, now: float, folder: str) -> bool:
        """Whether a job of a folder may go there now; while it is paused one job may, as a trial, once its time has come."""
        if self.pause is None:
            return True
        if self.until_resume or self.probe or self.probing or now < self.next_try:
            return False
        # One that has not failed yet tells more, and may have nothing to do with it; above all one of another folder.
        if now < self.next_try + FRESH_FIRST and (job in self.suspects or folder in self.folders):
            return False
        if now < self.next_try + 2 * FRESH_FIRST and job in self.suspects and self.folders:
            return False
        if self.trial is None or now - self.trial_began > TRIAL_LASTS:
            self.trial, self.trial_began = job, now
        return self.trial == job

    def give_back(self, job: int | None) -> None:
        """A job that may be on trial is not any more."""
        if self.trial == job:
            self.trial = None

    def failed(self, job: int | None, trouble: Later, now: float, folder: str) -> list[int]:
        """A job of a folder, or a probe (job None), has met a trouble there. Returns the job if the trouble is its own."""
        tried = self.trial == job or now >= self.next_try
        self.give_back(job)
        certain = trouble.certain or trouble.until_resume or self.scope == Scope.PROJECT or job is None
        if job is not None:
            self.suspects[job] = False
            if not (certain or self.suspicious):
                return self._suspected(job, now)
        self.probe = certain and self.scope == Scope.SERVER and not (self.denied and self.suspicious)
        if not certain or (self.scope == Scope.PROJECT and trouble.reason == Reason.REFUSED):
            self.folders.add(folder)
        asked_for_rest = trouble.reason == Reason.RATE_LIMITED and not trouble.worded
        self.admitted = self.admitted or job is None or asked_for_rest
        self.probing = self.probing and job is not None
        # Of several that were on their way, one tells how long to wait.
        if self.pause is None or tried or trouble.seconds is not None or self.pause.reason != trouble.reason:
            self.tries += 1
            self.next_try = now + self._wait(trouble)
        if self.pause is None or not (self.until_resume or self.pause.reason == trouble.reason):
            self.open(trouble)  # nothing but `resume` ends one that waits for it
        return []

    def _suspected(self, job: int, now: float) -> list[int]:
        """One file alone has met it: its own trouble, if a probe has found the server well a moment ago; else one is made."""
        if self.pause is not None:
            return []
        if now - self.well_at < WELL_FOR:
            self.suspects[job] = True
            return [job]
        self.probe, self.next_try = True, now
        return []

    def open(self, trouble: Later) -> None:
        """A pause begins for this trouble."""
        why = trouble.reason, trouble.message, trouble.remedy
        self.pause = Pause(self.scope, self.name, *why, time.time(), trouble.until_resume)

    def _wait(self, trouble: Later) -> float:
        """Seconds until the next try."""
        if trouble.seconds is not None:
            return trouble.seconds
        first, most = (FIRST, MOST) if self.scope == Scope.SERVER else (PROJECT_FIRST, PROJECT_MOST)
        if trouble.reason == Reason.REFUSED:  # perhaps only some files are: others need not wait for long
            first = FIRST
        return backoff(self.tries, first, most)

    def succeeded(self, job: int | None, excused: Collection[int]) -> list[int]:
        """A job's success, or that of a probe (job None), has shown that all is well.

        Returns the jobs whose trouble turns out to have been their own; those of a server that are `excused` are not.
        """
        was_open = self.pause is not None
        if job is None:
            self.well_at = self.asked_at
        denied = job is None and not self.admitted
        theirs = denied or not was_open or (self.scope == Scope.PROJECT and job is not None)
        blamed = [one for one, done in self.suspects.items() if theirs and not done and one != job]
        if self.scope == Scope.SERVER:
            blamed = [one for one in blamed if one not in excused]
        self.suspects = dict.fromkeys(self.suspects, True) if job is None and theirs else {}
        self.folders = set()
        self.denied = denied and (was_open or self.denied)
        self.pause, self.tries, self.trial = None, 0, None
        self.probe = self.probing = self.admitted = False
        return blamed


class Pausing(Protocol):
    """Is told of each pause that begins or ends, by any thread, outside the lock."""

    def pause_began(self, pause: Pause) -> None:
        """A server, project or folder is paused."""

    def pause_ended(self, scope: Scope, name: str, asked: bool) -> None:
        """It goes on. `asked`: somebody has resumed it."""


class Breakers:
    """The circuit breakers of all servers, projects and folders. Thread-safe; times are monotonic seconds."""

    def __init__(self, told: Pausing) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._breakers: dict[tuple[Scope, str], Breaker] = {}

    def _of(self, scope: Scope, name: str) -> Breaker:
        return self._breakers.setdefault((scope, name), Breaker(scope, name))

    # What is paused -----------------------------------------------------------------------------------------------

    def pauses(self) -> list[Pause]:
        """What is paused now."""
        with self._lock:
            return [one.pause for one in self._breakers.values() if one.pause is not None]

    def why(self, scope: Scope, name: str) -> str | None:
        """The reason for which it is paused, None if it is not."""
        with self._lock:
            breaker = self._breakers.get((scope, name))
            return breaker.pause.reason if breaker is not None and breaker.pause is not None else None

    def stopped(self, scope: Scope, name: str) -> bool:
        """Whether it is paused until somebody resumes."""
        with self._lock:
            breaker = self._breakers.get((scope, name))
            return breaker is not None and breaker.until_resume

    def next_tries(self) -> dict[tuple[Scope, str], float]:
        """When each that is paused, and not until somebody resumes it, is tried again (monotonic)."""
        with self._lock:
            return {
                key: one.next_try for key, one in self._breakers.items() if one.pause is not None and not one.pause.until_resume
            }

    def next_wake(self, now: float) -> float | None:
        """Seconds until something here wants doing, or None."""
        with self._lock:
            waits = [
                max(one.next_try - now, 0.0)
                for one in self._breakers.values()
                if one.scope != Scope.FOLDER and not one.probing and (one.probe or one.pause is not None) and not one.until_resume
            ]
        return min(waits, default=None)

    def by_hand(self, pause: Pause) -> None:
        """Pause until somebody resumes."""
        with self._lock:
            self._of(pause.scope, pause.name).pause = pause
        self._told.pause_began(pause)

    def resume(self, scope: Scope, name: str) -> bool:
        """End a pause, of any origin; False if there was none."""
        with self._lock:
            breaker = self._breakers.get((scope, name))
            if breaker is None or breaker.pause is None:
                return False
            self._breakers[(scope, name)] = Breaker(scope, name)
        self._told.pause_ended(scope, name, asked=True)
        return True

    def try_now(self, scope: Scope, name: str) -> bool:
        """What it was paused for may be mended: let one file through without waiting; False if it is not paused."""
        with self._lock:
            breaker = self._breakers.get((scope, name))
            if breaker is None or breaker.pause is None:
                return False
            breaker.next_try, breaker.tries, breaker.suspects, breaker.folders = 0.0, 0, {}, set()
            return True

    # The ledger's pauses ------------------------------------------------------------------------------------------

    def load(self, pauses: list[Pause], now: float) -> None:
        """Take over the pauses that the ledger kept over a restart; those that end by themselves are tried at once."""
        with self._lock:
            self._load(pauses, now)

    def _load(self, pauses: list[Pause], now: float) -> None:
        for pause in pauses:
            breaker = self._of(pause.scope, pause.name)
            breaker.pause = pause
            breaker.probe = pause.scope == Scope.SERVER
            breaker.next_try = now

    def entered(self, pause: Pause, now: float) -> None:
        """The ledger has this pause, which began here, since `now` at the latest: once it is not there, somebody has ended it."""
        with self._lock:
            breaker = self._of(pause.scope, pause.name)
            if breaker.pause is pause:
                breaker.entered = (pause, now)

    def agree(self, kept: list[Pause], asked: float, now: float) -> bool:
        """These are all pauses that the ledger had when it was `asked`, of other hosts too; whether any was news.

        What has just been paused here may not be among them yet. One that waits for somebody takes the place of one that would
        end by itself.
        """
        with self._lock:
            there = {(pause.scope, pause.name): (pause, self._of(pause.scope, pause.name)) for pause in kept}
            begun = [
                pause for pause, here in there.values() if here.pause is None or (pause.until_resume and not here.until_resume)
            ]
            over = [one for key, one in self._breakers.items() if key not in there and one.pause and one.was_entered(asked)]
            for breaker in over:
                breaker.pause, breaker.probe = None, False
                breaker.suspects.clear()
            self._load(begun, now)
            for _, breaker in there.values():
                breaker.entered = (breaker.pause, asked) if breaker.pause is not None else None
        return bool(begun or over)

    # Whose turn it may be -----------------------------------------------------------------------------------------

    def lets_through(self, scope: Scope, name: str, job: int, now: float, folder: str = "") -> bool:
        """Whether a job of a folder may go to this server or project now; one job may, as a trial, once its time has come."""
        with self._lock:
            breaker = self._breakers.get((scope, name))
            return breaker is None or breaker.lets_through(job, now, folder)

    def may_go(self, project: Project, job: Job, now: float) -> bool:
        """Whether a job may go to its project now. If not, it does not keep others from being tried."""
        may = (
            not self.stopped(Scope.SERVER, project.host)
            and self.lets_through(Scope.SERVER, project.server, job.id, now, job.folder)
            and self.lets_through(Scope.PROJECT, project.name, job.id, now, job.folder)
        )
        if not may:
            self.give_back(job.id)
        return may

    def give_back(self, job: int) -> None:
        """A job that was let through on trial did not get its turn after all."""
        with self._lock:
            for breaker in self._breakers.values():
                breaker.give_back(job)

    def probes_due(self, now: float) -> list[str]:
        """Servers that are to be asked now whether they are well; each is taken to be asked until something is told of it."""
        with self._lock:
            due = [
                one
                for one in self._breakers.values()
                if one.scope == Scope.SERVER and one.probe and not one.probing and now >= one.next_try and not one.until_resume
            ]
            for breaker in due:
                breaker.probing, breaker.asked_at = True, now
            return [breaker.name for breaker in due]

    def probe_at(self, server: str, at: float) -> None:
        """A server that turns files away seemed well when it was asked: it is asked again then, should none arrive before."""
        with self._lock:
            breaker = self._of(Scope.SERVER, server)
            if breaker.pause is None and not breaker.probe:
                breaker.probe, breaker.next_try = True, at

    def not_probed(self, server: str, again: float = 0.0) -> None:
        """A probe that was due could not be made, or was broken off: it is due still, but not before `again`."""
        with self._lock:
            if (breaker := self._breakers.get((Scope.SERVER, server))) is not None:
                breaker.probing = False
                breaker.next_try = max(breaker.next_try, again)

    # What came of it ----------------------------------------------------------------------------------------------

    def failed(self, scope: Scope, name: str, job: int | None, trouble: Later, now: float, folder: str = "") -> list[int]:
        """A job, or a probe (job None), has met a trouble that may be the server's or the project's.

        Returns the job if the server was well when it was asked a moment ago, so that the trouble is the job's own.
        """
        with self._lock:
            breaker = self._of(scope, name)
            before = breaker.pause
            own = breaker.failed(job, trouble, now, folder)
            after = breaker.pause
        if after is not None and after is not before:
            self._told.pause_began(after)
        return own

    def doubt(self, project: str, server: str, job: int, trouble: Later, now: float) -> None:
        """A job has met a trouble that only this project may have on its server."""
        opened = None
        with self._lock:
            breaker = self._of(Scope.PROJECT, project)
            breaker.give_back(job)
            breaker.suspects.setdefault(job, True)  # the server blames it, if anybody does
            breaker.doubted = (server, trouble)
            if breaker.suspicious and self._of(Scope.SERVER, server).pause is None:
                breaker.tries += 1
                breaker.next_try = now + backoff(breaker.tries, FIRST, MOST)
                opened = self._open_doubted(breaker)
        if opened is not None:
            self._told.pause_began(opened)

    @staticmethod
    def _open_doubted(breaker: Breaker) -> Pause | None:
        """The pause of a project in doubt, if it begins now."""
        if breaker.pause is not None or breaker.doubted is None:
            return None
        breaker.open(replace(breaker.doubted[1], until_resume=False))
        return breaker.pause

    def succeeded(self, scope: Scope, name: str, job: int | None) -> list[int]:
        """A job's success, or that of a probe (job None), has shown that the server or project is well.

        Returns the jobs whose trouble turns out to have been their own.
        """
        opened: list[Pause] = []
        with self._lock:
            breaker = self._breakers.get((scope, name))
            if breaker is None or breaker.until_resume:
                return []
            was_open = breaker.pause is not None
            in_doubt = [one for one in self._breakers.values() if one.scope == Scope.PROJECT and one.suspicious]
            blamed = breaker.succeeded(job, {number for one in in_doubt for number in one.suspects})
            if scope == Scope.SERVER and job is not None and was_open:
                # It takes a file: projects that made it fail do not all go on at once.
                doubted = [one for one in in_doubt if one.doubted is not None and one.doubted[0] == name]
                opened = [pause for one in doubted if (pause := self._open_doubted(one)) is not None]
        if was_open:
            self._told.pause_ended(scope, name, asked=False)
        for pause in opened:
            self._told.pause_began(pause)
        return blamed
