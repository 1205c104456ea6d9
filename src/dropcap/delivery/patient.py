"""One server or project that can be ill: whom it lets through, what a trouble or a success there tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from dropcap.delivery.backoff import backoff
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

    def recover(self, job: int | None, excused: Callable[[int], bool]) -> list[int]:
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
            blamed = [one for one in blamed if not excused(one)]
        self.suspects = dict.fromkeys(self.suspects, True) if job is None and theirs else {}
        self.folders = set()
        self.denied = denied and (was_ill or self.denied)
        self.pause, self.tries, self.on_trial = None, 0, None
        self.probe = self.probing = self.owned_up = False
        return blamed
