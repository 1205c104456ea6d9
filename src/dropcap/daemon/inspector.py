"""The running daemon compares its rules with the projects: after the start, a reload, an update of REDCap, a refusal."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from dropcap.config.model import Config, Folder, Project
from dropcap.delivery.circuit import backoff
from dropcap.delivery.loop import Delivery
from dropcap.delivery.order import Order
from dropcap.delivery.plan import contradiction
from dropcap.delivery.project_client import ProjectClient
from dropcap.ledger.database import TOLD
from dropcap.ledger.job import Job, Later, Pause, Refused
from dropcap.preflight.project import LATER
from dropcap.preflight.remark import Remark
from dropcap.preflight.rules import inspect
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import ProjectInfo, ProjectStructure, Redcap, RedcapError
from dropcap.redcap.reply import Meaning
from dropcap.redcap.window import Stopped
from dropcap.secret import Token
from dropcap.threads import start

log = structlog.get_logger()

#: Seconds between two looks at REDCap's version and whether the project is in production.
HOURLY = 3600.0
#: Seconds between two looks at a project in which a folder's rules cannot store anything.
WHILE_PAUSED = 300.0
#: Seconds after which it is seen whether a server or project that waits for `resume` was resumed.
WHILE_STOPPED = 10.0
#: Refusals within so many seconds of a look are not worth another.
BETWEEN_DOUBTS = 60.0

#: Reasons of the folder pauses that are made here, and end here; and for which delivery holds the files of a rule meanwhile.
_OURS = frozenset(
    {
        Reason.NO_FIELD,
        Reason.NOT_A_FILE_FIELD,
        Reason.SIGNATURE_FIELD,
        Reason.NO_EVENT,
        Reason.NOT_DESIGNATED,
        Reason.NOT_REPEATING,
        Reason.NEEDS_INSTANCE,
    }
)

_Told = tuple[str, str, str, str]


class InspectedClient(ProjectClient):
    """A client that has the project looked at when delivery doubts what is known of it, and notes whose its token is."""

    def __init__(self, project: Project, redcap: Redcap, inspector: Inspector, daemon: Inspected) -> None:
        super().__init__(project, redcap)
        self._inspector = inspector
        self._daemon = daemon

    def forget(self) -> None:
        """A field, event or right was not as expected: it is fetched anew, and the rules are compared again."""
        super().forget()
        self._inspector.doubt(self.project.name)

    def doubt(self) -> None:
        """A rule does not agree with what is known of the project: all of them are compared with it."""
        self._inspector.doubt(self.project.name)

    def identified(self, told: ProjectInfo | None, token: Token) -> None:
        """The ledger keeps whose the token is. Raises RedcapError if it is another project's than before."""
        self._daemon.identified(self.project, told, token)

    def fetch_anew(self) -> None:
        """Fetch the structure when it is next needed, without any doubt about the rules."""
        super().forget()


class Inspected(Protocol):
    """The parts of the daemon that are looked at and paused."""

    config: Config
    delivery: Delivery
    order: Order
    clients: dict[str, InspectedClient]

    def identified(self, project: Project, told: ProjectInfo | None, token: Token) -> None:
        """REDCap has told whose a project's token is, or (None) does not. Raises RedcapError if it is not that project's."""

    def held(self, folder: str | None = None) -> list[Job]:
        """Held jobs that this host may try again."""

    def release_held(self, held: Sequence[Job]) -> None:
        """Held jobs are tried again."""


@dataclass(slots=True)
class _Inspected:
    """What is known of one project's inspections. Times are monotonic seconds."""

    due: float = 0.0
    looked: float = 0.0
    doubt: bool = True
    tries: int = 0
    seen: tuple[str, bool] | None = None  # REDCap's version, and whether the project is in production
    told: set[_Told] = field(default_factory=set)
    no_answer: str = ""  # why the last look told nothing


class Inspector:
    """One thread that looks at every project when there is a reason to. Nothing waits for it."""

    def __init__(self, daemon: Inspected) -> None:
        self._daemon = daemon
        self._known: dict[str, _Inspected] = {}
        self._wake = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inspector", daemon=True)

    def unanswered(self) -> dict[str, str]:
        """The projects of which the last look told nothing (no token, no answer), with the reason."""
        with self._wake:
            return {name: one.no_answer for name, one in self._known.items() if one.no_answer and name in self._daemon.clients}

    def start(self) -> None:
        """Begin with a look at all projects."""
        start(self._thread)

    def stop(self, within: float = 2.0) -> None:
        """Look at nothing more."""
        with self._wake:
            self._stop.set()
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(within)

    def again(self) -> None:
        """The configuration has changed: look at all projects soon."""
        with self._wake:
            for known in self._known.values():
                known.doubt, known.due = True, 0.0
            self._wake.notify()

    def doubt(self, project: str) -> None:
        """Something that REDCap said does not agree with what was known of a project."""
        with self._wake:
            known = self._known.setdefault(project, _Inspected())
            if not known.doubt:
                known.doubt, known.due = True, min(known.due, known.looked + BETWEEN_DOUBTS)
            self._wake.notify()

    # The thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            for name, client in list(self._daemon.clients.items()):
                known = self._known_of(name)
                if self._stop.is_set() or known.due > time.monotonic():
                    continue
                if self._until_resume(client):
                    known.due = time.monotonic() + WHILE_STOPPED
                else:
                    self._look(client, known)
            self._end_pauses_of_no_folder()
            with self._wake:
                dues = [self._known_of(name).due for name in self._daemon.clients]
                wait = min(dues, default=time.monotonic() + HOURLY) - time.monotonic()
                if wait > 0 and not self._stop.is_set():
                    self._wake.wait(wait)

    def _until_resume(self, client: InspectedClient) -> bool:
        """Whether a person or a ban has stopped its server or project: then nothing at all is asked."""
        names = {(Scope.SERVER, client.server), (Scope.SERVER, client.host), (Scope.PROJECT, client.project.name)}
        return any((one.scope, one.name) in names and one.until_resume for one in self._daemon.delivery.breakers.pauses())

    def _known_of(self, name: str) -> _Inspected:
        with self._wake:
            return self._known.setdefault(name, _Inspected())

    def _look(self, client: InspectedClient, known: _Inspected) -> None:
        with self._wake:
            known.looked, doubt, known.doubt = time.monotonic(), known.doubt, False
            known.due = known.looked + HOURLY
        try:
            paused = self._compare(client, known, doubt)
        except RedcapError as error:
            self._no_answer(client, known, error.meaning)
        except Stopped:  # or it has another token now
            with self._wake:
                known.doubt, known.due = True, known.looked + BETWEEN_DOUBTS
        except TOLD:
            with self._wake:
                known.doubt, known.due = True, known.looked + WHILE_PAUSED
        except Exception as error:
            if not self._stop.is_set():
                log.error("internal_error", where="inspector", error=f"{type(error).__name__}: {error}", exc_info=True)
        else:
            known.tries = 0
            if paused:
                with self._wake:
                    known.doubt, known.due = True, min(known.due, known.looked + WHILE_PAUSED)

    def _compare(self, client: InspectedClient, known: _Inspected, doubt: bool) -> bool:
        """Look at one project; whether a folder of it is paused for what was found."""
        project, config, redcap = client.project, self._daemon.config, client.redcap
        version = redcap.version(self._stop)
        if not doubt:
            if known.seen == (version, redcap.project(self._stop).in_production):
                known.no_answer = ""
                return False
            log.info("project_changed", project=project.name, version=version, message="its rules are compared again")
        if known.seen is not None:
            client.fetch_anew()
        structure, rights = client.structure(stop=self._stop), redcap.rights(self._stop)
        client.rights = rights
        if rights is not None:
            self._daemon.order.origins.is_used_by(project.name, rights.username)
        seen = (version, structure.project.in_production)
        if doubt and known.seen not in (None, seen):
            log.info("project_changed", project=project.name, version=version, message="its rules are compared again")
        known.seen, known.no_answer = seen, ""
        folders = [folder for folder in config.folders.values() if folder.project == project.name]
        found = [finding for folder in folders for finding in inspect(folder, structure, rights, project)]
        self._tell(project, known, found)
        self._end_mismatch(project)
        paused = [self._settle(folder, structure) for folder in folders]
        return any(paused)

    def _tell(self, project: Project, known: _Inspected, found: Sequence[Remark]) -> None:
        now: set[_Told] = set()
        for one in found:
            where = one.where
            key = (where.name, where.rule, where.key, one.message)
            now.add(key)
            if key not in known.told:
                write = {"error": log.error, "warning": log.warning}.get(one.level, log.info)
                rule = {"rule": where.rule} if where.rule else {}
                said = {"key": where.key, "message": one.message, "remedy": one.remedy}
                write("check_problem", project=project.name, folder=where.name, **rule, **said)
        known.told = now

    def _no_answer(self, client: InspectedClient, known: _Inspected, meaning: Meaning) -> None:
        """Told once; delivery deals with failing servers, and with tokens, when it has something to send."""
        project, now = client.project, time.monotonic()
        key = ("", "", meaning.reason, meaning.message)
        known.no_answer = f"{meaning.message}; {meaning.remedy}" if meaning.remedy else meaning.message
        if key not in known.told:
            write = log.warning if meaning.reason in LATER else log.error
            write("check_problem", project=project.name, reason=meaning.reason, message=meaning.message, remedy=meaning.remedy)
        known.told.add(key)
        with self._wake:
            known.tries += 1
            known.doubt, known.due = True, now + backoff(known.tries, BETWEEN_DOUBTS, HOURLY)
        if meaning.reason == Reason.PROJECT_MISMATCH and not self._pause_of(Scope.PROJECT, project.name):
            trouble = Later(meaning.reason, meaning.message, meaning.remedy, scope=Scope.PROJECT)
            self._daemon.delivery.breakers.failed(Scope.PROJECT, project.name, None, trouble, now)

    # Pauses -------------------------------------------------------------------------------------------------------

    def _settle(self, folder: Folder, structure: ProjectStructure) -> bool:
        """Pause a folder none of whose rules can store a file, and let it go on once one can; whether a rule cannot.

        With one rule that can, the folder goes on, and the others' files are held; those of rules that can by now are released.
        """
        found = [(rule, contradiction(structure, rule)) for rule in folder.rules]
        pause = self._pause_of(Scope.FOLDER, folder.name)
        wrong = [(rule, refused) for rule, refused in found if refused is not None]
        if len(wrong) == len(found):
            if pause is None:
                self._daemon.delivery.pause(_pause(folder, [(rule.name, refused) for rule, refused in wrong]))
            return pause is None or pause.reason in _OURS
        if pause is not None and pause.reason in _OURS:
            self._daemon.delivery.resume(Scope.FOLDER, folder.name)
        sound = {rule.name for rule, refused in found if refused is None}
        held = self._daemon.held(folder.name)
        self._daemon.release_held([job for job in held if job.reason in _OURS and job.rule in sound])
        return bool(wrong)

    def _end_mismatch(self, project: Project) -> None:
        pause = self._pause_of(Scope.PROJECT, project.name)
        if pause is not None and pause.reason == Reason.PROJECT_MISMATCH:
            self._daemon.delivery.breakers.succeeded(Scope.PROJECT, project.name, None)

    def _end_pauses_of_no_folder(self) -> None:
        for pause in self._daemon.delivery.breakers.pauses():
            if pause.scope == Scope.FOLDER and pause.reason in _OURS and pause.name not in self._daemon.config.folders:
                self._daemon.delivery.resume(Scope.FOLDER, pause.name)

    def _pause_of(self, scope: Scope, name: str) -> Pause | None:
        return next((p for p in self._daemon.delivery.breakers.pauses() if (p.scope, p.name) == (scope, name)), None)


def _pause(folder: Folder, wrong: Sequence[tuple[str, Refused]]) -> Pause:
    said = "; ".join(f"rule `{name}`: {refused.message}" for name, refused in wrong[:3])
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return Pause(
        Scope.FOLDER,
        folder.name,
        wrong[0][1].reason,
        f"none of its rules can store a file: {said}{more}",
        "correct the rules and reload dropcap, or correct the project in REDCap, which is looked at every five minutes; "
        "the files wait",
        time.time(),
        True,
    )
