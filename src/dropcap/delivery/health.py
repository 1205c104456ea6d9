"""Who is well: servers and projects, their pauses, and when to try them again.

A trouble that the server itself owns up to (no connection, a maintenance page, a ban) stops it at once; a probe asks now and then
whether it is well. A trouble that only one file has met blames the file, as long as a probe finds the server well, the first
one after a pause included; the third different file in a row makes it the server's trouble all the same, and then one file at
a time is let through to find out. If the server takes files of other projects meanwhile, it is the trouble of their project.
A project that takes another file blames those that it refused.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from dropcap.ledger.job import Pause
from dropcap.ledger.outcome import Later
from dropcap.reasons import Reason, Scope

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


def backoff(tries: int, first: float = 2.0, most: float = 900.0, jitter: Callable[[], float] = random.random) -> float:
    """Seconds before try number `tries` + 1: doubling from `first` to `most`, with jitter in the upper half."""
    full = min(most, first * 2.0 ** min(max(tries - 1, 0), 30))
    return full / 2 + full / 2 * jitter()


@dataclass(slots=True)
class Patient:
    """One server (by host) or project that can be ill. `Health` alone has it, under its lock."""

    scope: Scope
    name: str
    pause: Pause | None = None
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


class Health:
    """The state of every server and project. Thread-safe; times are monotonic seconds.

    `opened` and `closed` are told of each pause that begins or ends, outside the lock.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        opened: Callable[[Pause], None],
        closed: Callable[[Scope, str], None],
    ) -> None:
        self._wall = wall
        self._opened = opened
        self._closed = closed
        self._lock = threading.RLock()
        self._patients: dict[tuple[Scope, str], Patient] = {}
        self._agreed: set[tuple[Scope, str]] = set()  # the pauses that the ledger had when it was looked at last

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

    def agree(self, kept: list[Pause], now: float) -> bool:
        """These are all pauses that the ledger has, of other hosts too; whether any was news. What has just been paused here may
        not be among them yet."""
        with self._lock:
            there = {(pause.scope, pause.name): pause for pause in kept}
            begun = [pause for key, pause in there.items() if self._patient(*key).pause is None]
            over = [
                patient
                for key, patient in self._patients.items()
                if patient.pause is not None and key in self._agreed and key not in there
            ]
            self._agreed = set(there)
            for patient in over:
                patient.pause, patient.probe = None, False
                patient.suspects.clear()
            self.load(begun, now)
        return bool(begun or over)

    def may_send(self, scope: Scope, name: str, job: int, now: float, folder: str = "") -> bool:
        """Whether a job of a folder may go to this server or project now; one job may, as a trial, once its time has come."""
        with self._lock:
            patient = self._patients.get((scope, name))
            if patient is None or patient.pause is None:
                return True
            if patient.pause.until_resume or patient.probe or patient.probing or now < patient.next_try:
                return False
            # One that has not failed yet tells more, and may have nothing to do with it; above all one of another folder.
            if now < patient.next_try + FRESH_FIRST and (job in patient.suspects or folder in patient.folders):
                return False
            if now < patient.next_try + 2 * FRESH_FIRST and job in patient.suspects and patient.folders:
                return False
            if patient.on_trial is None or now - patient.trial_began > TRIAL_LASTS:
                patient.on_trial, patient.trial_began = job, now
            return patient.on_trial == job

    def stopped(self, scope: Scope, name: str) -> bool:
        """Whether it is paused until somebody resumes."""
        with self._lock:
            patient = self._patients.get((scope, name))
            return patient is not None and patient.pause is not None and patient.pause.until_resume

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
                if p.scope == Scope.SERVER
                and p.probe
                and not p.probing
                and now >= p.next_try
                and not (p.pause is not None and p.pause.until_resume)
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
                if p.scope != Scope.FOLDER
                and not p.probing
                and (p.probe or p.pause is not None)
                and not (p.pause is not None and p.pause.until_resume)
            ]
        return min(waits, default=None)

    def ill(self, scope: Scope, name: str, job: int | None, trouble: Later, now: float, folder: str = "") -> list[int]:
        """A job, or a probe (job None), has met a trouble that may be the server's or the project's.

        Returns the job if the server was well when it was asked a moment ago, so that the trouble is the job's own.
        """
        opened = None
        with self._lock:
            patient = self._patient(scope, name)
            tried = patient.on_trial == job or now >= patient.next_try
            if patient.on_trial == job:
                patient.on_trial = None
            sure = trouble.certain or trouble.until_resume or scope == Scope.PROJECT or job is None
            if job is not None:
                patient.suspects[job] = False
            if not sure and len(patient.suspects) >= SUSPICIOUS:
                sure = True
                patient.probe = False
                patient.folders.add(folder)
            elif not sure:
                if job is not None and patient.pause is None and now - patient.well_at < WELL_FOR:
                    patient.suspects[job] = True
                    return [job]
                if patient.pause is None:
                    patient.probe, patient.next_try = True, now
                return []
            else:
                patient.probe = scope == Scope.SERVER and not (patient.denied and len(patient.suspects) >= SUSPICIOUS)
            asked_for_rest = trouble.reason == Reason.RATE_LIMITED and not trouble.worded
            patient.owned_up = patient.owned_up or job is None or asked_for_rest
            patient.probing = patient.probing and job is not None
            # Of several that were on their way, one tells how long to wait.
            if patient.pause is None or tried or trouble.seconds is not None or patient.pause.reason != trouble.reason:
                patient.tries += 1
                patient.next_try = now + self._wait(patient, trouble)
            if scope == Scope.PROJECT and trouble.reason == Reason.REFUSED:
                patient.folders.add(folder)
            kept = patient.pause is not None and patient.pause.until_resume  # nothing but `resume` ends that one
            if not kept and (patient.pause is None or patient.pause.reason != trouble.reason):
                opened = patient.pause = Pause(
                    scope, name, trouble.reason, trouble.message, trouble.remedy, self._wall(), trouble.until_resume
                )
        if opened is not None:
            self._opened(opened)
        return []

    @staticmethod
    def _wait(patient: Patient, trouble: Later) -> float:
        """Seconds until the next try."""
        if trouble.seconds is not None:
            return trouble.seconds
        first, most = (FIRST, MOST) if patient.scope == Scope.SERVER else (PROJECT_FIRST, PROJECT_MOST)
        if trouble.reason == Reason.REFUSED:  # perhaps only some files are: others need not wait for long
            first = FIRST
        return backoff(patient.tries, first, most)

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
                opened = self._pause_doubted(patient)
        if opened is not None:
            self._opened(opened)

    def _pause_doubted(self, patient: Patient) -> Pause | None:
        if patient.pause is not None or patient.doubted is None:
            return None
        _, why = patient.doubted
        patient.pause = Pause(Scope.PROJECT, patient.name, why.reason, why.message, why.remedy, self._wall(), until_resume=False)
        return patient.pause

    def _others_in_doubt(self, host: str) -> list[Pause]:
        """A server that was paused takes a file: projects that made it look ill do not all go on at once."""
        doubted = (
            patient
            for patient in self._patients.values()
            if patient.doubted is not None and patient.doubted[0] == host and len(patient.suspects) >= SUSPICIOUS
        )
        return [pause for patient in doubted if (pause := self._pause_doubted(patient)) is not None]

    def _excused(self, job: int) -> bool:
        """Whether it is the trouble of its project."""
        return any(
            patient.scope == Scope.PROJECT and len(patient.suspects) >= SUSPICIOUS and job in patient.suspects
            for patient in self._patients.values()
        )

    def well(self, scope: Scope, name: str, job: int | None) -> list[int]:
        """A job's success, or a probe (job None), showed that the server or project is well.

        Returns the jobs whose trouble turns out to have been their own.
        """
        with self._lock:
            patient = self._patients.get((scope, name))
            if patient is None or (patient.pause is not None and patient.pause.until_resume):
                return []
            was_ill = patient.pause is not None
            if job is None:
                patient.well_at = patient.asked_at
            denied = job is None and not patient.owned_up
            other = scope == Scope.PROJECT and job is not None
            theirs = denied or other or not was_ill
            blamed = [one for one, done in patient.suspects.items() if not done and one != job] if theirs else []
            if scope == Scope.SERVER:
                blamed = [one for one in blamed if not self._excused(one)]
            patient.suspects = dict.fromkeys(patient.suspects, True) if job is None and theirs else {}
            patient.folders = set()
            patient.denied = denied and (was_ill or patient.denied)
            patient.pause, patient.tries, patient.on_trial = None, 0, None
            patient.probe = patient.probing = patient.owned_up = False
            opened = self._others_in_doubt(name) if scope == Scope.SERVER and job is not None and was_ill else []
        if was_ill:
            self._closed(scope, name)
        for pause in opened:
            self._opened(pause)
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
        self._opened(pause)

    def resume(self, scope: Scope, name: str) -> bool:
        """End a pause, whoever made it; False if there was none."""
        with self._lock:
            patient = self._patients.get((scope, name))
            if patient is None or patient.pause is None:
                return False
            self._patients[(scope, name)] = Patient(scope, name)
        self._closed(scope, name)
        return True
