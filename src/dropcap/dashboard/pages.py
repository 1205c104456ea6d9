"""What each page shows: plain values, for the templates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from dropcap.dashboard import life, texts
from dropcap.dashboard.now import Plotter, folder_rows, group_rows, server_rows, upload_rows, waiting
from dropcap.dashboard.tester import MOST, tested, wrong_with
from dropcap.dashboard.wires import Wires
from dropcap.display import shown
from dropcap.ledger.job import Job, State
from dropcap.picture.words import title_of
from dropcap.reasons import Reason, Scope

#: Files on one page of the list.
A_PAGE = 50
#: Files that are tried again without a question.
_FEW = 20
#: And at once, in one go.
_MOST = 20_000
#: Seconds that what is shown may be old.
_FRESH = 1.0
_STATES = {
    "on its way": (State.WAITING, State.SENDING, State.UNKNOWN, State.STORED, State.REFUSED),
    "held": (State.HELD,),
    "failed": (State.FAILED,),
    "stored": (State.DONE,),
    "taken away": (State.WITHDRAWN,),
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Files that are to be tried again. `fields` say which, to be asked once more."""

    jobs: list[int]
    title: str
    fields: dict[str, str]
    back: str

    @property
    def ask_first(self) -> bool:
        return len(self.jobs) > _FEW


class Pages:
    """Any thread. All raise DatabaseError."""

    def __init__(self, wires: Wires) -> None:
        self._wires = wires
        self._plotter = Plotter(wires.figures)

    def now(self) -> dict[str, Any]:
        """The first page."""
        picture = self._wires.picture(_FRESH)
        mark, head, text = texts.verdict(picture)
        total = sum(one.waiting for one in picture.folders)
        return {
            "title": f"{head.rstrip('.')}: dropcap",
            "as_of": texts.second(picture.at),
            "mark": mark,
            "head": head,
            "text": text,
            "picture": picture,
            "groups": group_rows(picture),
            "folders": folder_rows(picture),
            "servers": server_rows(picture),
            "uploads": upload_rows(picture),
            "waiting": waiting(self._wires.figures) if total else [],
            "waiting_total": total,
            "plots": self._plotter.plots(),
            "titles": title_of,
        }

    def files(self, asked: dict[str, str]) -> dict[str, Any]:
        """A list of files, newest first, by what was asked for."""
        text, folder, which = asked.get("q", "")[:200].strip(), asked.get("folder", ""), asked.get("state", "")
        reason = asked.get("reason")
        before = int(asked["before"]) if asked.get("before", "").isdecimal() and len(asked["before"]) < 19 else None
        names = sorted(self._wires.config().folders)
        if reason is not None and folder and which in (State.HELD, State.FAILED):
            jobs = self._wires.figures.of_group(folder, State(which), reason, A_PAGE + 1, before)
        else:
            reason = None
            jobs = self._wires.figures.found(text, folder or None, _STATES.get(which, ()), A_PAGE + 1, before)
        more = jobs[A_PAGE - 1].id if len(jobs) > A_PAGE else None
        kept = {"q": text, "folder": folder, "state": which} | ({"reason": reason} if reason is not None else {})
        return {
            "jobs": jobs[:A_PAGE],
            "more": more,
            "asked": kept,
            "names": names,
            "states": list(_STATES),
            "title_of": title_of,
            "reason": reason,
            "first": before is None,
        }

    def file(self, number: int) -> dict[str, Any] | None:
        """One file's life; None if there is no such job."""
        job = self._wires.figures.job(number) if number < 2**63 else None
        if job is None:
            return None
        events = self._wires.figures.history(job.id)
        mark, sentence = life.sentence(job)
        picture = self._wires.picture(_FRESH)
        upload = next((one for one in upload_rows(picture) if one.upload.job == job.id), None)
        return {
            "job": job,
            "name": shown(job.name),
            "mark": mark,
            "sentence": sentence,
            "shares": life.shares(events, job, picture.at),
            "days": [(day, list(steps)) for day, steps in groupby(life.steps(events, job.rule), lambda step: step.day)],
            "facts": life.facts(job, self._wires.config()),
            "retry": life.may_retry(job),
            "wrong": self._wrong_with(job),
            "upload": upload,
            "before": job.again_of or job.back_of,
            "after": job.tried_again if job.tried_again != job.id else None,
        }

    def _wrong_with(self, job: Job) -> list[str]:
        folder = self._wires.config().folders.get(job.folder)
        of_its_name = job.state in (State.HELD, State.FAILED) and job.reason in (Reason.NO_RULE, Reason.BAD_VALUE)
        return wrong_with(folder, job.name) if folder is not None and of_its_name else []

    def rules(self, asked: dict[str, str]) -> dict[str, Any]:
        """The rule tester."""
        folders = self._wires.config().folders
        chosen = asked.get("folder", "")
        names = [name.strip("\r") for name in asked.get("names", "").split("\n") if name.strip()]
        its = [folders[chosen]] if chosen in folders else list(folders.values())
        results = tested(its, names)
        marks = [result.mark for result in results]
        said = {"would go": "good", "would not be looked at": "wait", "would fail": "bad"}
        return {
            "folders": list(folders.values()),
            "chosen": chosen if chosen in folders else "",
            "names": asked.get("names", ""),
            "results": results,
            "summary": ", ".join(f"{marks.count(mark)} {words}" for words, mark in said.items() if mark in marks),
            "most": MOST if len(names) > MOST else 0,
        }

    def chosen(self, form: dict[str, str]) -> Chosen | None:
        """Which files are to be tried again; None if that cannot be told."""
        if form.get("job", "").isdecimal() and len(form["job"]) < 19:
            job = self._wires.figures.job(int(form["job"]))
            return None if job is None else Chosen([job.id], shown(job.name), {"job": form["job"]}, f"/files/{job.id}")
        folder, state, reason = form.get("folder", ""), form.get("state", ""), form.get("reason", "")
        if not folder or state not in (State.HELD, State.FAILED):
            return None
        jobs: list[Job] = self._wires.figures.of_group(folder, State(state), reason, _MOST)
        title = f"{title_of(reason)}, in {shown(folder)}"
        return Chosen([job.id for job in jobs], title, {"folder": folder, "state": state, "reason": reason}, "/")

    def can_be_paused(self, scope: str, name: str) -> bool:
        """Whether there is such a server, project or folder; what is paused can go on though it is no longer there."""
        config = self._wires.config()
        known = {
            Scope.FOLDER: set(config.folders),
            Scope.PROJECT: set(config.projects),
            Scope.SERVER: {one.host for one in config.projects.values()} | {one.server for one in config.projects.values()},
        }
        paused = {(pause.scope, pause.name) for pause in self._wires.picture(_FRESH).pauses}
        return any(scope == of and name in names for of, names in known.items()) or (scope, name) in paused
