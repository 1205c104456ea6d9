"""Figures for Prometheus by their names (docs/monitoring.md), as a text file for node_exporter or as the page /metrics.

No label names a file or a record.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from dropcap.ledger.job import OPEN, Result, State
from dropcap.ledger.reports import BUCKETS, Ended, Figures
from dropcap.reasons import Reason, Scope
from dropcap.snapshot import Snapshot


@dataclass(slots=True)
class Lasted:
    """How long the files of one folder took, from drop to done."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


class Tally:
    """Sums over all jobs that this ledger knows. For one thread at a time."""

    def __init__(self) -> None:
        self._until = 0  # steps up to this number are counted
        self.done: dict[tuple[str, str], int] = {}  # by folder and result
        self.failed: dict[tuple[str, str], int] = {}  # by folder and reason
        self.bytes: dict[str, int] = {}  # by project: what REDCap has taken
        self.lasted: dict[str, Lasted] = {}

    def take_up(self, figures: Figures) -> None:
        """Count what has ended since the last time. Raises DatabaseError."""
        newest = figures.newest_step()
        if newest > self._until:
            self._add(figures.ended(self._until, newest))
        self._until = newest

    def _add(self, ended: Iterable[Ended]) -> None:
        for one in ended:
            if one.state is State.FAILED:
                key = (one.folder, one.reason)
                self.failed[key] = self.failed.get(key, 0) + one.number
                continue
            result = one.result or Result.STORED
            self.done[one.folder, result] = self.done.get((one.folder, result), 0) + one.number
            if result != Result.ALREADY_THERE:
                self.bytes[one.project] = self.bytes.get(one.project, 0) + one.bytes
            lasted = self.lasted.setdefault(one.folder, Lasted())
            lasted.buckets[one.bucket] += one.number
            lasted.seconds += one.seconds


#: Reasons that a file can fail for stand at 0 from the beginning, so that the first one is a rise. Others come as they come.
_AT_ZERO = (Reason.NO_RULE, Reason.NO_RECORD, Reason.MISMATCH, Reason.TOO_LARGE, Reason.INCOMPLETE, Reason.REFUSED)
_STATES = (*sorted(OPEN, key=list(State).index), State.FAILED)
_SCOPES = (Scope.SERVER, Scope.PROJECT, Scope.FOLDER)


def exposition(now: Snapshot, tally: Tally) -> bytes:
    """All figures in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Once(now, tally))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, now: Snapshot, tally: Tally) -> None:
        self._now = now
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        yield from _overall(self._now)
        yield from _folders(self._now)
        yield from _servers(self._now)
        yield from _totals(self._now, self._tally)
        if self._now.hosts is not None:
            yield from _hosts(self._now)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


def _overall(now: Snapshot) -> Iterator[Metric]:
    build = _gauge("dropcap_build_info", "Which dropcap this is.", "version")
    build.add_metric([now.version or ""], 1)
    yield build
    yield GaugeMetricFamily("dropcap_alive", "Whether all parts of dropcap go round.", value=int(bool(now.alive)))
    yield GaugeMetricFamily("dropcap_start_timestamp_seconds", "When it was started.", value=now.started or 0)
    yield GaugeMetricFamily(
        "dropcap_ledger_writable", "Whether the ledger can be written.", value=int(not (now.unwritable or now.damaged))
    )
    yield GaugeMetricFamily("dropcap_config_problems", "Problems of the configuration.", value=len(now.problems))
    paused = _gauge("dropcap_paused", "Things that are paused, by dropcap or by hand.", "scope")
    for scope in _SCOPES:
        paused.add_metric([scope], sum(pause.scope == scope for pause in now.pauses))
    yield paused


def _folders(now: Snapshot) -> Iterator[Metric]:
    jobs = _gauge("dropcap_jobs", "Files by their state; failed ones that nobody has dealt with.", "folder", "state")
    families = {
        "arriving": _gauge("dropcap_arriving", "Files that are seen and not taken yet.", "folder"),
        "strays": _gauge("dropcap_strays", "Files in done/ or failed/ that dropcap did not put there.", "folder"),
        "away": _gauge("dropcap_folder_away", "Whether the folder is away.", "folder"),
        "full": _gauge("dropcap_folder_full", "Whether its disk has less room than min_free.", "folder"),
        "overdue": _gauge("dropcap_expected_overdue", "Whether a file that `expect` names is missing.", "folder"),
    }
    oldest = _gauge("dropcap_oldest_waiting_timestamp_seconds", "When the oldest file that waits was taken; 0: none.", "folder")
    last = _gauge("dropcap_last_drop_timestamp_seconds", "When the last file was taken; 0: none ever.", "folder")
    for one in now.here:
        for state in _STATES:
            jobs.add_metric([one.name, state], one.number(state))
        numbers = (one.arriving or 0, one.stray_count, one.away is not None, bool(one.full), one.overdue is not None)
        for family, number in zip(families.values(), numbers, strict=True):
            family.add_metric([one.name], int(number))
        oldest.add_metric([one.name], one.oldest or 0)
        last.add_metric([one.name], one.last_drop or 0)
    yield from (jobs, *families.values(), oldest, last)


def _hosts(now: Snapshot) -> Iterator[Metric]:
    """Where several share the ledger. Each tells of the folders in which it works, so that sums over all are right."""
    alive = now.hosts.alive if now.hosts is not None else ()
    yield GaugeMetricFamily("dropcap_hosts", "Hosts that are alive, of those that share the ledger.", value=len(alive))
    works = _gauge("dropcap_folder_here", "Whether this host works in the folder; the sum over all hosts is 1.", "folder")
    lacks = _gauge("dropcap_folder_lacking", "Whether the folder is away for this host, or not in its configuration.", "folder")
    mine = next((host for host in alive if host.id == now.this_host), None)
    for one in now.configured:
        works.add_metric([one.name], int(one.here))
        lacks.add_metric([one.name], int(mine is not None and one.name in mine.lacks))
    yield from (works, lacks)


def _servers(now: Snapshot) -> Iterator[Metric]:
    up = _gauge("dropcap_server_up", "Whether the server is not paused.", "server")
    used = _gauge("dropcap_requests_used", "Requests of the last minute.", "server")
    limit = _gauge("dropcap_requests_limit", "Requests that a minute may have; 0: no limit.", "server")
    heard = _gauge("dropcap_server_heard_timestamp_seconds", "When it answered last in this run; 0: not yet.", "server")
    for one in now.servers:
        for family, number in ((up, int(one.pause is None)), (used, one.used), (limit, one.limit), (heard, one.heard or 0)):
            family.add_metric([one.name], number)
    yield from (up, used, limit, heard)


def _totals(now: Snapshot, tally: Tally) -> Iterator[Metric]:
    """Of folders and projects in the configuration: those that left it would be labels for ever."""
    done = CounterMetricFamily("dropcap_jobs_done", "Files that REDCap has.", labels=("folder", "result"))
    failed = CounterMetricFamily("dropcap_jobs_failed", "Files that went to failed/.", labels=("folder", "reason"))
    lasted = HistogramMetricFamily("dropcap_drop_to_done_seconds", "From drop to done.", labels=("folder",))
    for name in (one.name for one in now.here):
        for result in Result:
            done.add_metric([name, result], tally.done.get((name, result), 0))
        reasons = dict.fromkeys((*_AT_ZERO, *(reason for folder, reason in tally.failed if folder == name)))
        for reason in reasons:
            failed.add_metric([name, reason], tally.failed.get((name, reason), 0))
        its = tally.lasted.get(name) or Lasted()
        bounds = [*(f"{bound:g}" for bound in BUCKETS[:-1]), f"{BUCKETS[-1]:.0f}", "+Inf"]
        lasted.add_metric([name], list(zip(bounds, accumulate(its.buckets), strict=True)), its.seconds)
    sent = CounterMetricFamily("dropcap_sent_bytes", "Bytes of files that REDCap has taken.", labels=("project",))
    for project in now.projects:
        sent.add_metric([project.name], tally.bytes.get(project.name, 0))
    yield from (done, failed, lasted, sent)


log = structlog.get_logger()


class Textfile:
    """Keeps one file. What cannot be written is told in the log once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told = False

    def write(self, content: bytes) -> None:
        """Put `content` into the file's place."""
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")  # no *.prom: node_exporter leaves it alone
        try:
            # What others run reads it, and it holds no names of files.
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644), "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(content)
            os.rename(beside, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            if not self._told:
                log.error(
                    "metrics_unwritable",
                    message=f"{self.path} cannot be written ({error.strerror})",
                    remedy="make its directory, and let dropcap's user write there (ReadWritePaths= of the unit too)",
                )
            self._told = True
            return
        self._told = False
