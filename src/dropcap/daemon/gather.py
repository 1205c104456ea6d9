"""A picture of the running dropcap, gathered from its parts and from the ledger. Waits for no share and no server."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime

from dropcap import __version__
from dropcap.config.model import Problem
from dropcap.daemon.engine import Engine
from dropcap.ledger.errors import TOLD
from dropcap.ledger.figures import Figures
from dropcap.ledger.hosts_query import HostsNow
from dropcap.ledger.job import Pause, State
from dropcap.picture.facts import FailureGroup, FolderNow, HostNow, Picture, ProjectNow, ServerNow, UploadFacts
from dropcap.reasons import Scope


@dataclass(frozen=True, slots=True)
class _Read:
    counts: dict[str, dict[str, int]]
    oldest: dict[str, float]
    done: dict[str, int]
    groups: tuple[FailureGroup, ...]


class Gatherer:
    """For one thread at a time. Raises DatabaseError where the ledger cannot be read."""

    def __init__(self, engine: Engine, figures: Figures) -> None:
        self._engine = engine
        self._figures = figures
        self._last_drops: dict[str, float] = {}
        self._counted = 0  # jobs up to this number are in `_last_drops`
        self._read: tuple[object, _Read] | None = None  # and what it was true of
        self._told: Picture | None = None

    def picture(self, problems: tuple[Problem, ...]) -> Picture:
        """What is so now; `problems` are those of the configuration. While the ledger does not answer: what was so, and that."""
        engine = self._engine
        try:
            self._told = self._seen(problems)
        except TOLD:
            if self._told is None or not engine.ledger.trouble.unwritable:
                raise
            now, unwritable = time.time(), engine.ledger.trouble.unwritable
            self._told = replace(self._told, at=now, alive=engine.alive(), uploads=(), unwritable=unwritable)
        return self._told

    def _seen(self, problems: tuple[Problem, ...]) -> Picture:
        engine, now = self._engine, time.time()
        read = self._of_the_ledger(now)
        hosts = self._figures.hosts()
        pauses = {(pause.scope, str(pause.name)): pause for pause in engine.pauses()}
        ahead = now - time.monotonic()
        tries = {what: at + ahead for what, at in engine.delivery.health.next_tries().items()}
        return Picture(
            at=now,
            version=__version__,
            started=engine.started,
            alive=engine.alive(),
            folders=self._folders(now, read) + self._elsewhere(read, hosts),
            projects=tuple(
                ProjectNow(p.name, p.host, p.server, pauses.get((Scope.PROJECT, p.name)), tries.get((Scope.PROJECT, p.name)))
                for p in engine.config.projects.values()
            ),
            servers=self._servers(pauses, tries),
            pauses=tuple(pauses.values()),
            uploads=tuple(
                UploadFacts(one.job, one.folder, one.file, one.size, one.sent, one.seconds_left(now))
                for one in engine.delivery.progress.uploads()
            ),
            groups=read.groups,
            problems=tuple(str(problem) for problem in problems if not problem.echo),
            unwritable=engine.ledger.trouble.unwritable,
            mend=engine.ledger.trouble.remedy,
            damaged=engine.ledger.trouble.damaged,
            hosts=() if hosts is None else self._hosts(hosts),
        )

    def _of_the_ledger(self, now: float) -> _Read:
        """What the ledger tells; read anew only if it was written to."""
        today = datetime.fromtimestamp(now).astimezone().date()
        names = tuple({*self._engine.channels, *self._engine.config.folders})
        key = (threading.get_ident(), self._figures.version(), today, names)
        if self._read is not None and self._read[0] == key:
            return self._read[1]
        fresh, self._counted = self._figures.claimed(self._counted)
        for folder, last in fresh.items():
            self._last_drops[folder] = max(last, self._last_drops.get(folder, 0.0))
        midnight = datetime.combine(today, datetime.min.time()).timestamp()
        done = {name: self._figures.ended_since(name, midnight, State.DONE) for name in names}
        read = _Read(self._figures.counts(), self._figures.oldest_waiting(), done, self._groups())
        self._read = (key, read)
        return read

    def _folders(self, now: float, read: _Read) -> tuple[FolderNow, ...]:
        found = []
        for name, one in self._engine.channels.items():
            intake = one.intake
            arriving = len(intake.unsettled) + intake.behind
            known = self._figures.known_folder(name)
            last = self._last_drops.get(name)
            overdue = None
            if one.folder.expect is not None and known is not None and not arriving and not intake.away:
                overdue = one.folder.expect.overdue(last, known.first_seen, now)
            mistake = self._engine.mistakes.get(name)
            found.append(
                FolderNow(
                    name=name,
                    project=one.folder.project,
                    path=str(one.folder.path),
                    counts=read.counts.get(name, {}),
                    arriving=arriving,
                    done_today=read.done.get(name, 0),
                    away=str(intake.away) if intake.away else None,
                    full=bool(intake.full),
                    cannot_file=str(one.queue.filer.waiting_for_room() or ""),
                    mistake=mistake.message if mistake is not None else None,
                    strays=intake.strays.count,
                    left=intake.left.count,
                    not_taken=len(intake.not_taken),
                    oldest=read.oldest.get(name),
                    last_drop=last,
                    overdue=overdue,
                )
            )
        return tuple(found)

    def _elsewhere(self, read: _Read, hosts: HostsNow | None) -> tuple[FolderNow, ...]:
        """The folders in which other hosts work: what the ledger tells of them."""
        if hosts is None:
            return ()
        found = []
        stranded = hosts.stranded(self._engine.config.folders.keys() - self._engine.released)
        for name in sorted(self._engine.config.folders.keys() - self._engine.channels.keys()):
            folder, holder = self._engine.config.folders[name], hosts.holder(name)
            found.append(
                FolderNow(
                    name=name,
                    project=folder.project,
                    path=str(folder.path),
                    counts=read.counts.get(name, {}),
                    done_today=read.done.get(name, 0),
                    away="it is away for every host" if name in stranded else None,
                    oldest=read.oldest.get(name),
                    last_drop=self._last_drops.get(name),
                    elsewhere=f"on {hosts.called(holder)}" if holder is not None else "no host works in it just now",
                )
            )
        return tuple(found)

    def _hosts(self, hosts: HostsNow) -> tuple[HostNow, ...]:
        folders, here = self._engine.config.folders, self._engine.allotment.host
        return tuple(
            HostNow(
                hosts.called(host),
                host.id == here,
                host.started,
                tuple(hosts.of(host, folders)),
                tuple(sorted(folders.keys() & set(host.lacks))),
            )
            for host in hosts.alive
        )

    def _servers(self, pauses: dict[tuple[Scope, str], Pause], tries: dict[tuple[Scope, str], float]) -> tuple[ServerNow, ...]:
        found: dict[str, ServerNow] = {}
        for line in self._engine.lines.values():
            server, host = line.project.server, line.project.host
            before = found.get(server)
            heard = max(filter(None, (line.client.heard, before.heard if before is not None else None)), default=None)
            used, limit = line.client.used()
            pause = pauses.get((Scope.SERVER, server)) or pauses.get((Scope.SERVER, host))
            found[server] = ServerNow(server, pause, tries.get((Scope.SERVER, server)), heard, used, limit)
        return tuple(found.values())

    def _groups(self) -> tuple[FailureGroup, ...]:
        groups = []
        for one in self._figures.wait_for_somebody():
            job = self._figures.job(one.newest)
            message, remedy = (job.message or "", job.remedy or "") if job is not None else ("", "")
            groups.append(FailureGroup(one.folder, one.state, one.reason, one.number, one.since, one.newest, message, remedy))
        return tuple(groups)
