"""A circuit breaker for each server, project and folder: pauses, probes and back-off."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from dropcap.config.model import Project
from dropcap.ledger.job import Job, Later, Pause
from dropcap.reasons import Reason, Scope


def backoff(tries: int, first: float = 2.0, most: float = 900.0) -> float:
    """Seconds before try number `tries` + 1: doubling from `first` to `most`, with jitter in the upper half."""
    full = min(most, first * 2.0 ** min(max(tries - 1, 0), 30))
    return full / 2 + full / 2 * random.random()


#: Seconds between tries of something that is not well: first, doubling, at most.
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
class Patient:
    """One server (by host) or project that can be ill. `Health` alone has it, under its lock."""

    scope: Scope
    name: str
    pause: Pause | None = None
    kept: Pause | None = None  # the one of which the ledger has been seen to have it, and since when (monotonic)
    kept_since: float = 0.0
    tries: int = 0
    next_try: float = 0.0  # monotonic seconds
    on_trial: int | None = None  # the one job that is let through
    trial_began: float = 0.0
    probe: bool = False  # ask the server itself before a file is let through
    probing: bool = False
    asked_at: float = -WELL_FOR  # when it was asked last, and when that found it well
    well_at: float = -WELL_FOR
    owned_up: bool = False  # it was ill when asked, or asked for a rest: the pause was no file's fault
    denied: bool = False  # files failed, and the first probe afterwards found it well
    doubted: tuple[str, Later] | None = None  # of a project: the server, and the last trouble that may be only this project's
    suspects: dict[int, bool] = field(default_factory=dict)  # jobs that failed in a row, and whether they were blamed for it
    folders: set[str] = field(default_factory=set)  # those of the suspects, where others may have nothing to do with it

    @property
    def until_resume(self) -> bool:
        """Whether it is paused until somebody resumes it."""
        return self.pause is not None and self.pause.until_resume

    def was_kept(self, at: float) -> bool:
        """Whether the ledger had its pause by then."""
        return self.pause is not None and self.kept is self.pause and self.kept_since <= at

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
        if self.on_trial is None or now - self.trial_began > TRIAL_LASTS:
            self.on_trial, self.trial_began = job, now
        return self.on_trial == job

    def meets(self, job: int | None, trouble: Later, now: float, folder: str, wall: float) -> tuple[list[int], Pause | None]:
        """A job of a folder, or a probe (job None), has met a trouble there.

        Returns the job if the trouble is its own, and the pause that begins (at `wall`, by the clock).
        """
        tried = self.on_trial == job or now >= self.next_try
        if self.on_trial == job:
            self.on_trial = None
        sure = trouble.certain or trouble.until_resume or self.scope == Scope.PROJECT or job is None
        if job is not None:
            self.suspects[job] = False
            if not sure and len(self.suspects) < SUSPICIOUS:
                return self._suspected(job, now), None
        if sure:
            self.probe = self.scope == Scope.SERVER and not (self.denied and len(self.suspects) >= SUSPICIOUS)
        else:
            self.probe = False
            self.folders.add(folder)
        asked_for_rest = trouble.reason == Reason.RATE_LIMITED and not trouble.worded
        self.owned_up = self.owned_up or job is None or asked_for_rest
        self.probing = self.probing and job is not None
        # Of several that were on their way, one tells how long to wait.
        if self.pause is None or tried or trouble.seconds is not None or self.pause.reason != trouble.reason:
            self.tries += 1
            self.next_try = now + self._wait(trouble)
        if self.scope == Scope.PROJECT and trouble.reason == Reason.REFUSED:
            self.folders.add(folder)
        return [], self._pauses(trouble, wall)

    def _suspected(self, job: int, now: float) -> list[int]:
        """One file alone has met it: its own trouble, if a probe has found the server well a moment ago; else one is made."""
        if self.pause is not None:
            return []
        if now - self.well_at < WELL_FOR:
            self.suspects[job] = True
            return [job]
        self.probe, self.next_try = True, now
        return []

    def _pauses(self, trouble: Later, wall: float) -> Pause | None:
        """The pause that begins for this trouble; none if one goes on. Nothing but `resume` ends one that waits for it."""
        if self.pause is not None and (self.until_resume or self.pause.reason == trouble.reason):
            return None
        why = trouble.reason, trouble.message, trouble.remedy
        self.pause = Pause(self.scope, self.name, *why, wall, trouble.until_resume)
        return self.pause

    def _wait(self, trouble: Later) -> float:
        """Seconds until the next try."""
        if trouble.seconds is not None:
            return trouble.seconds
        first, most = (FIRST, MOST) if self.scope == Scope.SERVER else (PROJECT_FIRST, PROJECT_MOST)
        if trouble.reason == Reason.REFUSED:  # perhaps only some files are: others need not wait for long
            first = FIRST
        return backoff(self.tries, first, most)

    def in_doubt_at(self, host: str) -> bool:
        """Whether so many files of this project have met a trouble on that server that it may be the project's own."""
        return self.doubted is not None and self.doubted[0] == host and len(self.suspects) >= SUSPICIOUS

    def pause_doubted(self, wall: float) -> Pause | None:
        """The pause of a project in doubt, if it begins now."""
        if self.pause is not None or self.doubted is None:
            return None
        _, why = self.doubted
        self.pause = Pause(Scope.PROJECT, self.name, why.reason, why.message, why.remedy, wall, until_resume=False)
        return self.pause

    def recover(self, job: int | None, excused: Collection[int]) -> list[int]:
        """A job's success, or a probe (job None), has shown that it is well.

        Returns the jobs whose trouble turns out to have been their own; those of a server that are `excused` are not.
        """
        was_ill = self.pause is not None
        if job is None:
            self.well_at = self.asked_at
        denied = job is None and not self.owned_up
        other = self.scope == Scope.PROJECT and job is not None
        theirs = denied or other or not was_ill
        blamed = [one for one, done in self.suspects.items() if not done and one != job] if theirs else []
        if self.scope == Scope.SERVER:
            blamed = [one for one in blamed if one not in excused]
        self.suspects = dict.fromkeys(self.suspects, True) if job is None and theirs else {}
        self.folders = set()
        self.denied = denied and (was_ill or self.denied)
        self.pause, self.tries, self.on_trial = None, 0, None
        self.probe = self.probing = self.owned_up = False
        return blamed


class Pausing(Protocol):
    """Is told of each pause that begins or ends, by any thread."""

    def pause_began(self, pause: Pause) -> None:
        """Outside the lock."""

    def pause_ended(self, scope: Scope, name: str, asked: bool) -> None:
        """Outside the lock. `asked`: somebody ends it."""


class Health:
    """The state of every server and project. Thread-safe; times are monotonic seconds."""

    def __init__(self, told: Pausing) -> None:
        self._told = told
        self._lock = threading.RLock()
        self._patients: dict[tuple[Scope, str], Patient] = {}

    def _patient(self, scope: Scope, name: str) -> Patient:
        """The record of one server or project."""
        with self._lock:
            return self._patients.setdefault((scope, name), Patient(scope, name))

    def pauses(self) -> list[Pause]:
        """What is paused now."""
        with self._lock:
            return [p.pause for p in self._patients.values() if p.pause is not None]

    def next_tries(self) -> dict[tuple[Scope, str], float]:
        """When each that is paused, and not until somebody resumes it, is tried again (monotonic)."""
        with self._lock:
            paused = [p for p in self._patients.values() if p.pause is not None and not p.pause.until_resume]
            return {(patient.scope, patient.name): patient.next_try for patient in paused}

    def load(self, pauses: list[Pause], now: float) -> None:
        """Take over the pauses that the ledger kept over a restart; those that end by themselves are tried at once."""
        with self._lock:
            for pause in pauses:
                patient = self._patient(pause.scope, pause.name)
                patient.pause = pause
                patient.probe = pause.scope == Scope.SERVER
                patient.next_try = now

    def entered(self, pause: Pause, now: float) -> None:
        """The ledger has this pause, which began here, since `now` at the latest: once it is not there, somebody has ended it."""
        with self._lock:
            patient = self._patient(pause.scope, pause.name)
            if patient.pause is pause:
                patient.kept, patient.kept_since = pause, now

    def agree(self, kept: list[Pause], asked: float, now: float) -> bool:
        """These are all pauses that the ledger had when it was `asked`, of other hosts too; whether any was news.

        What has just been paused here may not be among them yet. One that waits for somebody takes the place of one that would
        end by itself.
        """
        with self._lock:
            there = {(pause.scope, pause.name): pause for pause in kept}
            patients = {key: self._patient(*key) for key in there}
            begun = [
                pause
                for key, pause in there.items()
                if patients[key].pause is None or (pause.until_resume and not patients[key].until_resume)
            ]
            over = [patient for key, patient in self._patients.items() if key not in there and patient.was_kept(asked)]
            for patient in over:
                patient.pause, patient.probe = None, False
                patient.suspects.clear()
            self.load(begun, now)
            for patient in patients.values():
                patient.kept, patient.kept_since = patient.pause, asked
        return bool(begun or over)

    def may_send(self, scope: Scope, name: str, job: int, now: float, folder: str = "") -> bool:
        """Whether a job of a folder may go to this server or project now; one job may, as a trial, once its time has come."""
        with self._lock:
            patient = self._patients.get((scope, name))
            return patient is None or patient.lets_through(job, now, folder)

    def may_go(self, project: Project, job: Job, now: float) -> bool:
        """Whether a job may go to its project now. If not, it does not keep others from being tried."""
        may = (
            not self.stopped(Scope.SERVER, project.host)
            and self.may_send(Scope.SERVER, project.server, job.id, now, job.folder)
            and self.may_send(Scope.PROJECT, project.name, job.id, now, job.folder)
        )
        if not may:
            self.give_back(job.id)
        return may

    def stopped(self, scope: Scope, name: str) -> bool:
        """Whether it is paused until somebody resumes."""
        with self._lock:
            patient = self._patients.get((scope, name))
            return patient is not None and patient.until_resume

    def why(self, scope: Scope, name: str) -> str | None:
        """The reason for which it is paused, None if it is not."""
        with self._lock:
            patient = self._patients.get((scope, name))
            return patient.pause.reason if patient is not None and patient.pause is not None else None

    def give_back(self, job: int) -> None:
        """A job that was let through on trial did not get its turn after all."""
        with self._lock:
            for patient in self._patients.values():
                if patient.on_trial == job:
                    patient.on_trial = None

    def probes_due(self, now: float) -> list[str]:
        """Servers that are to be asked now whether they are well; each is taken to be asked until something is told of it."""
        with self._lock:
            due = [
                p
                for p in self._patients.values()
                if p.scope == Scope.SERVER and p.probe and not p.probing and now >= p.next_try and not p.until_resume
            ]
            for patient in due:
                patient.probing, patient.asked_at = True, now
            return [patient.name for patient in due]

    def ask(self, server: str, at: float) -> None:
        """A server that turns files away seemed well when it was asked: it is asked again at `at`, should none arrive before."""
        with self._lock:
            patient = self._patient(Scope.SERVER, server)
            if patient.pause is None and not patient.probe:
                patient.probe, patient.next_try = True, at

    def not_probed(self, server: str, again: float = 0.0) -> None:
        """A probe that was due could not be made, or was broken off: it is due still, but not before `again`."""
        with self._lock:
            if (patient := self._patients.get((Scope.SERVER, server))) is not None:
                patient.probing = False
                patient.next_try = max(patient.next_try, again)

    def next_wake(self, now: float) -> float | None:
        """Seconds until something here wants doing, or None."""
        with self._lock:
            waits = [
                max(p.next_try - now, 0.0)
                for p in self._patients.values()
                if p.scope != Scope.FOLDER and not p.probing and (p.probe or p.pause is not None) and not p.until_resume
            ]
        return min(waits, default=None)

    def ill(self, scope: Scope, name: str, job: int | None, trouble: Later, now: float, folder: str = "") -> list[int]:
        """A job, or a probe (job None), has met a trouble that may be the server's or the project's.

        Returns the job if the server was well when it was asked a moment ago, so that the trouble is the job's own.
        """
        with self._lock:
            own, opened = self._patient(scope, name).meets(job, trouble, now, folder, time.time())
        if opened is not None:
            self._told.pause_began(opened)
        return own

    def doubt(self, project: str, host: str, job: int, trouble: Later, now: float) -> None:
        """A job has met a trouble that only this project may have on its server."""
        opened = None
        with self._lock:
            patient, server = self._patient(Scope.PROJECT, project), self._patient(Scope.SERVER, host)
            if patient.on_trial == job:
                patient.on_trial = None
            patient.suspects.setdefault(job, True)  # the server blames it, if anybody does
            patient.doubted = (host, trouble)
            if len(patient.suspects) >= SUSPICIOUS and server.pause is None:
                patient.tries += 1
                patient.next_try = now + backoff(patient.tries, FIRST, MOST)
                opened = patient.pause_doubted(time.time())
        if opened is not None:
            self._told.pause_began(opened)

    def _others_in_doubt(self, host: str) -> list[Pause]:
        """A server that was paused takes a file: projects that made it look ill do not all go on at once."""
        doubted = [patient for patient in self._patients.values() if patient.in_doubt_at(host)]
        return [pause for patient in doubted if (pause := patient.pause_doubted(time.time())) is not None]

    def _excused(self) -> set[int]:
        """Jobs whose trouble is that of their project."""
        ill = [one for one in self._patients.values() if one.scope == Scope.PROJECT and len(one.suspects) >= SUSPICIOUS]
        return {job for one in ill for job in one.suspects}

    def well(self, scope: Scope, name: str, job: int | None) -> list[int]:
        """A job's success, or a probe (job None), showed that the server or project is well.

        Returns the jobs whose trouble turns out to have been their own.
        """
        with self._lock:
            patient = self._patients.get((scope, name))
            if patient is None or patient.until_resume:
                return []
            was_ill = patient.pause is not None
            blamed = patient.recover(job, self._excused())
            opened = self._others_in_doubt(name) if scope == Scope.SERVER and job is not None and was_ill else []
        if was_ill:
            self._told.pause_ended(scope, name, False)
        for pause in opened:
            self._told.pause_began(pause)
        return blamed

    def try_now(self, scope: Scope, name: str) -> bool:
        """What made it ill may be mended: let one file through without waiting; False if it is not paused."""
        with self._lock:
            patient = self._patients.get((scope, name))
            if patient is None or patient.pause is None:
                return False
            patient.next_try, patient.tries, patient.suspects, patient.folders = 0.0, 0, {}, set()
            return True

    def by_hand(self, pause: Pause) -> None:
        """Pause until somebody resumes."""
        with self._lock:
            self._patient(pause.scope, pause.name).pause = pause
        self._told.pause_began(pause)

    def resume(self, scope: Scope, name: str) -> bool:
        """End a pause, whoever made it; False if there was none."""
        with self._lock:
            patient = self._patients.get((scope, name))
            if patient is None or patient.pause is None:
                return False
            self._patients[(scope, name)] = Patient(scope, name)
        self._told.pause_ended(scope, name, True)
        return True


def of_several_folders(jobs: Iterable[Job]) -> bool:
    """Whether one question about all these files may be answered in words about another folder's."""
    return len({job.folder for job in jobs}) > 1
