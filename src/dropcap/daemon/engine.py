"""All parts of a running dropcap, put together from a configuration."""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from dropcap.config.model import Config, Folder, Project
from dropcap.config.token_source import TokenError
from dropcap.daemon.claims import Claims
from dropcap.daemon.command import CLEAN
from dropcap.daemon.inspector import InspectedLine, Inspector
from dropcap.daemon.keeping import Keeping
from dropcap.daemon.page import Page
from dropcap.delivery.dispatch import Delivery
from dropcap.delivery.folder import DropFolder
from dropcap.delivery.order import Order
from dropcap.delivery.project import ProjectLine
from dropcap.delivery.vacancy import FOR_GOOD
from dropcap.intake.folder import FolderIntake
from dropcap.ledger.model import Job, Pause, State
from dropcap.ledger.store import Ledger
from dropcap.ledger.transition import Change
from dropcap.redcap.client import Redcap, RedcapError
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.window import RequestWindow
from dropcap.secret import Token

log = structlog.get_logger()

#: As many as the unit grants.
DESCRIPTORS = 65536


def token_of(project: Project) -> Callable[[], Token]:
    """Reads the project's token whenever it is needed; one that cannot be had pauses the project, not the daemon."""

    def read() -> Token:
        try:
            return project.token_source.read()
        except TokenError as error:
            raise RedcapError(Meaning(Verdict.PROJECT, "token", error.message, error.remedy)) from None

    return read


def window_of(config: Config, project: Project) -> RequestWindow:
    """The request window of the project's host, shared with every other dropcap process."""
    place = config.state_dir / "windows" / project.host.replace(":", "_").replace("/", "_")
    return RequestWindow(place, config.limit_of(project.host))


def client_to(config: Config, project: Project) -> Redcap:
    """A client of a project, with the limits that the configuration sets."""
    return Redcap(
        project.url,
        token_of(project),
        window_of(config, project),
        connect_timeout=project.connect_timeout,
        timeout=project.timeout,
        deadline=project.deadline,
        ca_file=project.ca_file,
        pool=config.uploads_at_once + 4,
    )


def line_to(config: Config, project: Project) -> ProjectLine:
    """A line to a project, with the limits that the configuration sets."""
    return ProjectLine(project, client_to(config, project))


@dataclass(slots=True)
class Watched:
    """One folder's parts."""

    folder: Folder
    intake: FolderIntake
    drop: DropFolder
    page: Page


class Engine:
    """Intake, ledger and delivery at work."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        _allow_descriptors()
        self.config = config
        self.ledger = ledger
        self.started = time.time()
        self.folders: dict[str, Watched] = {}
        self.inspector = Inspector(self)
        self.order = self._order_of(config)
        self._keeping = Keeping(lambda: self.config)
        self.lines = self._lines(config)
        for folder in config.folders.values():
            self.folders[folder.name] = self._watched(folder)
        self.delivery = Delivery(
            ledger,
            {name: one.drop for name, one in self.folders.items()},
            self.lines,
            self.order,
            uploads_at_once=config.uploads_at_once,
            small_file=config.small_file,
        )
        for name, one in self.folders.items():
            self._joined(name, one)
        self.delivery.changed = self._changed

    def _lines(self, config: Config) -> dict[str, InspectedLine]:
        return {
            project.name: InspectedLine(
                project, client_to(config, project), self.inspector.doubt, partial(self._identified, project.name)
            )
            for project in config.projects.values()
        }

    def _order_of(self, config: Config) -> Order:
        return Order(config.projects.values(), config.folders.values(), self.ledger.query.told_projects())

    def _identified(self, entry: str, project_id: int | None) -> None:
        """REDCap has told which project an entry leads to, or (None) does not tell its token."""
        if project_id is None:
            self.order.hides(entry)
        elif self.order.told(entry, project_id):
            self.ledger.learn(entry, "project_id", str(project_id), FOR_GOOD)

    def _joined(self, name: str, one: Watched) -> None:
        filer = self.delivery.filers[name]
        filer.page = one.page.refresh

        def filed(names: list[str]) -> None:
            one.page.changed()
            one.intake.wake(names)  # a second file of such a name waits for this

        filer.filed = filed
        filer.missing = one.intake.wake

    def _watched(self, folder: Folder) -> Watched:
        claims = Claims(self.ledger, folder.project, lambda file: self.order.address(self._present(folder), file))
        keep = self._keeping.of(folder)
        intake = FolderIntake(folder, claims, self._claimed, unsafe=lambda: self._keeping.unsafe(folder, keep))
        drop = DropFolder(folder, lambda: intake.lent, self.config.contact, self.order, keep)
        page = Page(self.ledger.query, intake, drop, self.config.contact, lambda: self.delivery.health.pauses())
        return Watched(folder, intake, drop, page)

    def _present(self, folder: Folder) -> Folder:
        """The folder by the rules of now."""
        return self.folders[folder.name].folder if folder.name in self.folders else folder

    def start(self) -> None:
        """Begin to take and deliver."""
        for one in self.folders.values():
            self._rerouted(one.folder)
        self.delivery.start()
        for one in self.folders.values():
            one.intake.start()

    def stop(self, within: float) -> None:
        """Take nothing more; let uploads end for so many seconds."""
        self.inspector.stop()
        self.ledger.give_up()
        for one in self.folders.values():
            one.intake.stop(0.0)
        self.delivery.stop(within)
        for one in self.folders.values():
            one.intake.stop(2.0)

    def _changed(self, folder: str) -> None:
        if folder in self.folders:
            self.folders[folder].page.changed()

    def _claimed(self, folder: str, jobs: list[int]) -> None:
        self._changed(folder)
        self.delivery.wake(folder, jobs)

    def _rerouted(self, folder: Folder) -> None:
        """Jobs of an earlier run go where the present rules send them, if the rules have changed since."""
        key, digest = f"rules {folder.name}", _rules_digest(self.config, folder)
        if self.ledger.query.meta(key) != digest:
            self.ledger.reroute(folder.name, lambda name: self.order.address(folder, name))
            self.ledger.set_meta(key, digest)

    def pauses(self) -> list[Pause]:
        """What is paused."""
        return self.delivery.health.pauses()

    def alive(self) -> bool:
        """Whether every loop turns (a thread that waits for a dead share or a full state disk does not count against it)."""
        if self.ledger.alive() and self.ledger.trouble.unwritable:
            return True
        return self.ledger.alive() and self.delivery.alive() and all(one.intake.alive(120.0) for one in self.folders.values())

    def idle(self) -> bool:
        """Whether there is nothing that could be done now."""
        return all(one.intake.idle.is_set() or one.intake.away for one in self.folders.values()) and self.delivery.idle()

    def release_held(self, folder: str | None = None, of: Callable[[Job], bool] = lambda job: True) -> int:
        """Held jobs, or those of them that `of` chooses, are tried again with a clean slate."""
        held = [job for job in self.ledger.query.in_state((State.HELD,), folder, limit=1_000_000) if of(job)]
        done = self.ledger.change([Change(job.id, job.tried_again_as, "tried again", CLEAN) for job in held])
        self.delivery.wake()
        return len(done)

    def reload(self, config: Config) -> None:
        """Take up a changed configuration; what is under way ends as it began."""
        kept: dict[str, Watched] = {}
        for folder in config.folders.values():
            old = self.folders.get(folder.name)
            if old is not None and old.folder == folder and self.config.contact == config.contact:
                kept[folder.name] = old
        gone = [one for name, one in self.folders.items() if name not in kept]
        for one in gone:
            one.intake.stop(5.0)
        self.config = config
        self.order = self._order_of(config)
        self.lines = self._lines(config)
        self.folders = kept
        for one in kept.values():
            one.drop.order = self.order
        fresh = {}
        for folder in config.folders.values():
            if folder.name not in kept:
                fresh[folder.name] = self.folders[folder.name] = self._watched(folder)
        for one in self.folders.values():
            self._rerouted(one.folder)  # before delivery takes up jobs anew, which then go by the new rules
        self.delivery.replace(
            {name: one.drop for name, one in self.folders.items()},
            self.lines,
            self.order,
            uploads_at_once=config.uploads_at_once,
            small_file=config.small_file,
        )
        for name, one in self.folders.items():
            self._joined(name, one)
        self.release_held()
        for one in fresh.values():
            one.intake.start()
        self.inspector.again()


def _allow_descriptors() -> None:
    """Take as many descriptors as we may have: each folder needs about ten, and a shell or cron gives 1024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _rules_digest(config: Config, folder: Folder) -> str:
    """Changes when the rules of a folder do, or a table that they may use."""
    rules = [
        [
            rule.name,
            rule.pattern.text,
            rule.pattern.case_sensitive,
            [template.text if template else None for template in (rule.field, rule.record, rule.event, rule.instance)],
            [sorted((name, template.text) for name, template in of.items()) for of in (rule.record_where, rule.must_match)],
        ]
        for rule in folder.rules
    ]
    tables = {name: dict(table) for name, table in config.tables.items()}
    return hashlib.sha256(json.dumps([folder.project, rules, tables], sort_keys=True).encode()).hexdigest()
