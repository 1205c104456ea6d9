"""Who is well: servers and projects, their pauses, and when to try them again.

A trouble that the server itself owns up to (no connection, a maintenance page, a ban) stops it at once; a probe asks now and then
whether it is well. A trouble that only one file has met blames the file, as long as a probe finds the server well, the first
one after a pause included; the third different file in a row makes it the server's trouble all the same, and then one file at
a time is let through to find out. If the server takes files of other projects meanwhile, it is the trouble of their project.
A project that takes another file blames those that it refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from dropcap.delivery.backoff import backoff
from dropcap.delivery.patient import FIRST, MOST, SUSPICIOUS, Patient
from dropcap.ledger.job import Pause
from dropcap.ledger.outcome import Later
from dropcap.reasons import Scope

#: `MOST` stands beside it for those who probe.
__all__ = ["MOST", "Health"]


class Health:
    """The state of every server and project. Thread-safe; times are monotonic seconds.

    `opened` and `closed` are told of each pause that begins or ends, outside the lock; `closed` also whether somebody ends it.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        opened: Callable[[Pause], None],
        closed: Callable[[Scope, str, bool], None],
    ) -> None:
        self._wall = wall
        self._opened = opened
        self._closed = closed
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
            own, opened = self._patient(scope, name).meets(job, trouble, now, folder, self._wall())
        if opened is not None:
            self._opened(opened)
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
                opened = patient.pause_doubted(self._wall())
        if opened is not None:
            self._opened(opened)

    def _others_in_doubt(self, host: str) -> list[Pause]:
        """A server that was paused takes a file: projects that made it look ill do not all go on at once."""
        doubted = [patient for patient in self._patients.values() if patient.in_doubt_at(host)]
        return [pause for patient in doubted if (pause := patient.pause_doubted(self._wall())) is not None]

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
            if patient is None or patient.until_resume:
                return []
            was_ill = patient.pause is not None
            blamed = patient.recover(job, self._excused)
            opened = self._others_in_doubt(name) if scope == Scope.SERVER and job is not None and was_ill else []
        if was_ill:
            self._closed(scope, name, False)
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
        self._closed(scope, name, True)
        return True
