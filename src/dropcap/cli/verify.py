"""`dropcap verify`: do REDCap, the ledger's chain, done/ and the kept copies hold what history says? By SHA-256."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dropcap.cli import configured, screen
from dropcap.cli.configured import chosen, config_option, moment, project_clients, query, stop, until_signal, usable
from dropcap.config.model import Config
from dropcap.daemon.log import known
from dropcap.daemon.opening import database_of
from dropcap.delivery.project_client import ProjectClient
from dropcap.display import place, shown
from dropcap.files.tree import Tree
from dropcap.intake.mounts import open_tree
from dropcap.ledger.chain import Head, heads_in
from dropcap.ledger.database import Damaged, DatabaseError
from dropcap.ledger.job import OPEN, Job
from dropcap.ledger.proof import Proof, prove
from dropcap.ledger.query import Query
from dropcap.reasons import Reason
from dropcap.redcap.client import FileTarget, NoFile, RedcapError
from dropcap.redcap.reply import Verdict, remedy_now
from dropcap.redcap.window import Stopped

#: Jobs read from the ledger at a time.
PAGE = 1000
#: Tries for one file, with seconds between them, before the server counts as out of reach.
WAITS = (2.0, 10.0)
#: Files in a row that REDCap does not give out before it is taken to give out none.
IN_A_ROW = 3
#: The longest wait that the server may ask for. Seconds.
LONGEST = 600.0

_Place = tuple[str, str, str, str, int]


class Found(StrEnum):
    """What REDCap has of a file that history says is stored."""

    SAME = "same"
    MISSING = "missing"
    DIFFERS = "differs"
    REPLACED = "replaced"  # by a newer job meanwhile
    NOT_ASKED = "not_asked"  # its project is not in the configuration, or refuses to tell, or its file is not given out


class Lies(StrEnum):
    """What lies where the ledger says that a file lies."""

    SAME = "same"
    CHANGED = "changed"
    GONE = "gone"  # somebody has taken it away, as people may, or `keep` has
    UNREADABLE = "unreadable"
    NOT_LOOKED = "not_looked"  # its folder is not in the configuration, or away


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of one file; `copy` if it is the one that was kept of what REDCap held before, `place` where either lies."""

    job: Job
    outcome: Found | Lies
    message: str = ""
    place: str = ""
    copy: bool = False


class NotReached(Exception):  # noqa: N818 - a state of the server
    """The server cannot be reached; `job` is the first that was not verified."""

    def __init__(self, job: Job, error: RedcapError) -> None:
        super().__init__(error.meaning.message)
        self.job = job
        self.remedy = remedy_now(error.meaning)
        self.banned = error.meaning.verdict is Verdict.BANNED


class _ProjectError(RedcapError):
    """The project refuses to give out a file."""


def latest(query: Query, since: float, folder: str | None) -> list[Job]:
    """The jobs to verify, in the order in which they ended: of several to one place, only the last.

    The last may be another folder's, so all folders are looked through.
    """
    last: dict[_Place, Job] = {}
    for job in _stored(query, since):
        before = last.get(_place(job))
        if before is None or (before.ended_at or 0) <= (job.ended_at or 0):
            last[_place(job)] = job
    wanted = [job for job in last.values() if folder is None or job.folder == folder]
    return sorted(wanted, key=_ended)


def _ended(job: Job) -> tuple[float, int]:
    return job.ended_at or 0, job.id


def verify(
    query: Query,
    clients: Mapping[str, ProjectClient],
    jobs: list[Job],
    began: float,
    stop: threading.Event,
) -> Iterator[Compared]:
    """Compare each job's file with what REDCap holds.

    `began` (seconds since the epoch) is when `jobs` were read: what was stored later explains a difference.

    Raises:
        NotReached: the server cannot be reached.
        Stopped: `stop` was set.
    """
    refusing: dict[str, str] = {}
    in_a_row = 0
    for job in jobs:
        client = clients.get(job.project)
        if client is None:
            yield Compared(job, Found.NOT_ASKED, f"the project `{job.project}` is not in the configuration")
        elif job.project in refusing:
            yield Compared(job, Found.NOT_ASKED, refusing[job.project])
        else:
            try:
                found = _compared(job, client, stop)
            except NotReached as error:
                if error.banned or in_a_row + 1 >= IN_A_ROW or not _answers(client, stop):
                    raise
                found = Compared(job, Found.NOT_ASKED, f"{error}; the server answers other requests; {error.remedy}")
            except _ProjectError as error:
                meaning = error.meaning
                found = Compared(job, Found.NOT_ASKED, f"{meaning.message}; {meaning.remedy}")
                if meaning.reason != Reason.RIGHTS or in_a_row + 1 >= IN_A_ROW:  # which may be rights to one form, or record
                    refusing[job.project] = found.message
            in_a_row = in_a_row + 1 if found.outcome == Found.NOT_ASKED else 0
            if found.outcome in (Found.MISSING, Found.DIFFERS) and _overtaken(query, job, began):
                found = Compared(job, Found.REPLACED, "a newer file went there meanwhile")
            yield found


def _compared(job: Job, client: ProjectClient, stop: threading.Event) -> Compared:
    place = FileTarget(job.record, job.field, job.event, job.instance)
    for wait in (*WAITS, None):
        try:
            there = client.redcap.export_file(place, stop=stop)
        except NoFile:
            return Compared(job, Found.MISSING, "the field holds no file")
        except RedcapError as error:
            if error.meaning.verdict is Verdict.UNCLEAR and error.meaning.said:
                known = error.meaning.reason not in (
                    Reason.REFUSED,
                    Reason.RIGHTS,
                )  # that there is no such record, field or event
                return Compared(job, Found.MISSING if known else Found.NOT_ASKED, error.meaning.message)
            if error.meaning.verdict is Verdict.PROJECT:
                raise _ProjectError(error.meaning) from None
            later = error.meaning.verdict in (Verdict.SERVER, Verdict.RATE_LIMITED, Verdict.UNCLEAR)
            if wait is None or not later or stop.wait(max(wait, min(error.meaning.retry_after or 0.0, LONGEST))):
                raise NotReached(job, error) from None
            continue
        if there.sha256 == job.sha256:
            return Compared(job, Found.SAME)
        # A reply of no known length may have been cut off unnoticed: only a second such answer is believed.
        if there.proven_whole or wait is None:
            return Compared(job, Found.DIFFERS, f"REDCap holds other bytes ({there.size:,}, SHA-256 {there.sha256})")
    raise AssertionError("the last try ends in an answer")


def _answers(client: ProjectClient, stop: threading.Event) -> bool:
    try:
        client.redcap.version(stop)
    except RedcapError:
        return False
    return True


def _overtaken(query: Query, job: Job, began: float) -> bool:
    place = _place(job)
    newer = any(_place(other) == place and other.id != job.id for other in _stored(query, began))
    return newer or any(_place(other) == place for other in query.in_state(OPEN, limit=1_000_000))


def _stored(query: Query, since: float) -> Iterator[Job]:
    after = 0
    while page := query.stored_since(since, None, after, PAGE):
        yield from page
        after = page[-1].id


def _place(job: Job) -> _Place:
    return job.project, job.record, job.event or "", job.field, job.instance or 1


_PIECE = 1024 * 1024


def filed(
    query: Query,
    config: Config,
    since: float,
    folder: str | None,
    after: int,
    stop: threading.Event,
) -> Iterator[Compared]:
    """Look at the files of done jobs that ended since then, in the order of their numbers, from behind job `after`.

    Raises:
        Stopped: `stop` was set.
    """
    trees: dict[str, Tree | None] = {}
    with ExitStack() as stack:
        while page := query.stored_since(since, folder, after, PAGE):
            for job in page:
                if job.folder not in trees:
                    trees[job.folder] = _opened(config, job.folder, stack)
                yield _in_done(job, trees[job.folder], stop)
                if job.preserved_sha256 and (place := config.kept_at(job.folder, job.preserved_as)):
                    yield Compared(job, *_compared_file(None, place, job.preserved_sha256, stop), place, copy=True)
            after = page[-1].id


def _opened(config: Config, name: str, stack: ExitStack) -> Tree | None:
    folder = config.folders.get(name)
    if folder is None:
        return None
    try:
        tree = open_tree(folder.path)
    except OSError:
        return None
    stack.callback(tree.close)
    return tree


def _in_done(job: Job, tree: Tree | None, stop: threading.Event) -> Compared:
    place = job.filed_as or ""
    if not place:
        return Compared(job, Lies.GONE, "it was not filed, or `keep` has removed it")
    if tree is None:
        return Compared(job, Lies.NOT_LOOKED, "its folder is not in the configuration, or cannot be opened", place)
    return Compared(job, *_compared_file(tree, place, job.sha256, stop), place)


def _compared_file(tree: Tree | None, place: str, wanted: str | None, stop: threading.Event) -> tuple[Lies, str]:
    """`place` is a path, or a name in `tree`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = tree.open(place) if tree is not None else os.open(place, flags)
    except (FileNotFoundError, NotADirectoryError):
        return Lies.GONE, "it does not lie there any more"
    except OSError as error:
        return Lies.UNREADABLE, error.strerror or str(error)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Lies.CHANGED, "it is no regular file"
        digest = sha256()
        while piece := os.read(fd, _PIECE):
            if stop.is_set():
                raise Stopped("stopped while a file was read")
            digest.update(piece)
    except OSError as error:
        return Lies.UNREADABLE, error.strerror or str(error)
    finally:
        os.close(fd)
    found = digest.hexdigest()
    return (Lies.SAME, "") if found == wanted else (Lies.CHANGED, f"its SHA-256 is {found}, the ledger says {wanted}")


_TOLD = 200


def verify_chain(config: Config, witnesses: Sequence[Path], as_json: bool) -> NoReturn:
    """Go through the ledger, tell, end: 0 it is whole, 1 it is not."""
    query(config).close()  # tells if there is none
    noted = set(known(config.state_dir))
    for path in witnesses:
        found = list(_heads(path))
        if not found:
            stop(f"{path} has no head of a chain: name a log, a report, or what `dropcap verify --chain` has printed", 2)
        noted.update(found)
    try:
        proof = prove(database_of(config), noted)
    except Damaged as error:
        stop(f"the ledger cannot be read ({error})", 1)
    except DatabaseError as error:
        stop(f"the ledger has no chains yet, or cannot be read ({error}): the first `dropcap run` of this version makes them", 1)
    if as_json:
        click.echo(json.dumps(_proof_as_json(proof), indent=1))
    else:
        _tell_proof(proof)
    sys.exit(1 if proof.broken else 0)


def _heads(path: Path) -> set[Head]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return {head for line in lines for head in heads_in(line)}


def _tell_proof(proof: Proof) -> None:
    for line in proof.told:
        screen.line(line)
    for broken in proof.broken[:_TOLD]:
        screen.entry("broken", str(broken), 8, screen.BAD)
    if len(proof.broken) > _TOLD:
        screen.line(f"and {len(proof.broken) - _TOLD} more; --json tells all")
    for head in proof.heads:
        screen.line(f"head    {head}")
    noted = "1 head" if proof.witnessed == 1 else f"{proof.witnessed} heads"
    seen = f"{proof.entries:,} entries of {proof.jobs:,} jobs and {proof.acts:,} acts, {noted} noted elsewhere"
    if proof.broken:
        screen.line(f"the ledger is NOT as it was sealed: {len(proof.broken)} findings in {seen}")
    else:
        screen.line(f"the ledger is whole: {seen}")


def _proof_as_json(proof: Proof) -> dict[str, object]:
    return {
        "whole": not proof.broken,
        **{key: value for key, value in asdict(proof).items() if key not in ("heads", "broken")},
        "broken": [asdict(broken) for broken in proof.broken],
        "heads": [str(head) for head in proof.heads],
    }


_BAD_FILES = frozenset({Lies.CHANGED, Lies.UNREADABLE, Lies.NOT_LOOKED})


def verify_files(config: Config, since: float, folder: str | None, after: int, every: bool, as_json: bool) -> NoReturn:
    """Look at them, tell, end: 0 all that lie there are as they were, 1 some are not."""
    ledger, stopped = query(config), until_signal()
    counts: Counter[str] = Counter()
    told: list[Compared] = []
    last, code = after, 0
    try:
        for looked in filed(ledger, config, since, folder, after, stopped):
            counts[looked.outcome] += 1
            if every or looked.outcome in _BAD_FILES:
                told.append(looked)
                if not as_json:
                    screen.line(_file_line(looked), hang=4)
            last = looked.job.id
            if stopped.is_set():
                raise Stopped("stopped between two files")
    except Stopped:
        code = 130
    except DatabaseError as error:
        stop(f"the ledger cannot be read ({error})", 1)
    finally:
        ledger.close()
    go_on = f"interrupted; go on with: dropcap verify --files --after {max(last - 1, 0)}" if code else None
    if as_json:
        click.echo(
            json.dumps(
                {"files": counts.total(), "outcomes": dict(counts), "ended": go_on, "told": [_file_as_json(one) for one in told]}
            )
        )
    else:
        said = ", ".join(f"{counts[word]} {word.replace('_', ' ')}" for word in Lies if counts[word] or word is Lies.SAME)
        screen.line(f"{counts.total()} files looked at: {said}")
        if go_on:
            screen.line(go_on, err=True)
    sys.exit(code or int(any(counts[word] for word in _BAD_FILES)))


def _file_line(looked: Compared) -> str:
    job = looked.job
    kind = "copy of what REDCap held" if looked.copy else "done"
    lies = looked.place if looked.copy else f"{job.folder}/{looked.place}"
    return shown(f"{looked.outcome}: {lies} (job {job.id}, {kind})" + (f": {looked.message}" if looked.message else ""))


def _file_as_json(looked: Compared) -> dict[str, object]:
    job = looked.job
    return {
        "outcome": looked.outcome,
        "job": job.id,
        "folder": job.folder,
        "file": shown(job.name),
        "lies_in": shown(looked.place),
        "copy": looked.copy,
        "sha256": job.preserved_sha256 if looked.copy else job.sha256,
        "message": looked.message or None,
    }


_BAD = frozenset({Found.MISSING, Found.DIFFERS, Found.NOT_ASKED})


@click.command("verify")
@config_option
@click.option("--since", metavar="T", help="Only what was stored since: an age (7d) or a day (2026-11-24).")
@click.option("--folder", "folder_name", metavar="F", shell_complete=configured.folders, help="Files of this drop folder only.")
@click.option("--list", "every", is_flag=True, help="Tell of each file, not only of those that are not as they should be.")
@click.option("--chain", is_flag=True, help="See whether the ledger is whole; REDCap is not asked.")
@click.option(
    *("--witness", "witnesses"),
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --chain: a log, report or note that has heads of the chains.",
)
@click.option("--files", "filed", is_flag=True, help="Compare what lies in done/, and copies that were kept, with the ledger.")
@click.option("--after", metavar="JOB", type=click.IntRange(0, 2**63 - 1), help="With --files: go on behind this job.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def verify_command(
    config_path: Path,
    since: str | None,
    folder_name: str | None,
    every: bool,
    chain: bool,
    witnesses: tuple[Path, ...],
    filed: bool,
    after: int | None,
    as_json: bool,
) -> None:
    """Export every file that history says is stored, and compare it by SHA-256. Nothing is kept or changed.

    Where a later file went to the same field, only that is looked for. Each file costs one request, within the limit.
    --chain and --files look at this machine alone.

    Exit codes: 0 REDCap holds them all; 1 some are missing or differ, or could not be asked for; 2 usage or
    configuration; 3 the server cannot be reached.
    """
    if chain and (filed or since or folder_name or every):
        raise click.UsageError("--chain looks at the whole ledger, and at nothing else")
    if (witnesses and not chain) or (after is not None and not filed):
        raise click.UsageError("--witness goes with --chain, --after with --files")
    config = usable(config_path)
    if chain:
        verify_chain(config, witnesses, as_json)
    if folder_name is not None:
        chosen(config, folder_name)
    begin = moment(since)
    if filed:
        verify_files(config, begin, folder_name, after or 0, every, as_json)
    ledger = query(config)
    try:
        began = time.time()
        jobs = latest(ledger, begin, folder_name)
        found, ended, code = _compared_jobs(config, ledger, jobs, began)
    except DatabaseError as error:
        stop(f"the ledger cannot be read ({error})", 1)
    except OSError as error:
        stop(f"the request window cannot be used ({error}): run this as dropcap's user", 1)
    finally:
        ledger.close()
    if as_json:
        click.echo(json.dumps(_as_json(found, len(jobs), ended, every), indent=1))
    else:
        _tell(found, len(jobs), ended, every)
    sys.exit(code or int(any(finding.outcome in _BAD for finding in found)))


def _compared_jobs(config: Config, ledger: Query, jobs: list[Job], began: float) -> tuple[list[Compared], str, int]:
    """What was found of the files, why no more was if it ended early, and the exit code of that.

    Raises DatabaseError and, where the request window cannot be used, OSError.
    """
    stopped = until_signal()
    found: list[Compared] = []
    try:
        with project_clients(config) as asked, _bar(len(jobs)) as progress:
            task = progress.add_task("verifying", total=len(jobs))
            for finding in verify(ledger, asked, jobs, began, stopped):
                found.append(finding)
                progress.advance(task)
    except NotReached as error:
        return found, f"the server cannot be reached: {error}; {error.remedy}{_go_on(error.job)}", 3
    except Stopped:
        return found, "interrupted" + (_go_on(jobs[len(found)]) if len(found) < len(jobs) else ""), 130
    return found, "", 0


def _bar(total: int) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal or not total, transient=True)


def _go_on(job: Job) -> str:
    # `--since` takes whole minutes; that some files are verified twice does no harm.
    when = datetime.fromtimestamp(job.ended_at or 0).astimezone()
    return f"; go on with: dropcap verify --since {when:%Y-%m-%dT%H:%M}"


def _line(finding: Compared) -> str:
    job = finding.job
    when = datetime.fromtimestamp(job.ended_at or 0).astimezone()
    where = place(job.record, job.event, job.field, job.instance)
    return shown(
        f"{finding.outcome}: {job.folder}/{job.name} (job {job.id}, stored {when:%Y-%m-%d %H:%M}): {where}"
        + (f": {finding.message}" if finding.message else "")
    )


def _tell(found: Sequence[Compared], total: int, ended: str, every: bool) -> None:
    for finding in found:
        if every or finding.outcome in _BAD:
            screen.line(_line(finding), hang=4)
    counts = Counter(finding.outcome for finding in found)
    said = ", ".join(f"{counts[word]} {word}" for word in Found if counts[word] or word is Found.SAME)
    screen.line(f"{len(found)} of {total} files verified: {said}")
    if ended:
        screen.line(shown(ended), err=True)


def _as_json(found: Sequence[Compared], total: int, ended: str, every: bool) -> dict[str, Any]:
    return {
        "files": total,
        "verified": len(found),
        "outcomes": dict(Counter(finding.outcome for finding in found)),
        "ended": ended or None,
        **({"each": [_one_as_json(finding) for finding in found]} if every else {}),
        "problems": [_one_as_json(finding) for finding in found if finding.outcome in _BAD],
    }


def _one_as_json(finding: Compared) -> dict[str, Any]:
    return {
        "outcome": finding.outcome,
        "message": shown(finding.message),
        "job": finding.job.id,
        "folder": finding.job.folder,
        "name": shown(finding.job.name),
        "project": finding.job.project,
        "record": shown(finding.job.record),
        "event": finding.job.event,
        "field": finding.job.field,
        "instance": finding.job.instance,
        "stored": datetime.fromtimestamp(finding.job.ended_at or 0).astimezone().isoformat(timespec="seconds"),
        "sha256": finding.job.sha256,
    }
