"""What commands share: the configuration, the running daemon, and REDCap within the request limit.

And what a shell proposes after `--folder`, `--project`, `--server` and `retry`: read from the configuration and the ledger, never
asked of a daemon, and never waited for.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from dropcap.cli import screen
from dropcap.cli.screen import complain
from dropcap.config.load import load
from dropcap.config.model import Config, Folder, PostgresLedger, Project
from dropcap.config.values import BadValueError, did_you_mean, duration
from dropcap.daemon import control
from dropcap.daemon.control import ASKED, PATIENCE, SOCKET, ask
from dropcap.daemon.opening import database_of, has_psycopg, open_for_people
from dropcap.daemon.state import LEDGER, AlreadyRunning, StateError, close_ledger, only_one, open_ledger, prepare
from dropcap.delivery.project_client import MakeWindow, ProjectClient, client_for, window_of
from dropcap.display import shown
from dropcap.hosts.membership import SharedWindow
from dropcap.ledger.chain import AuditAction, AuditActor
from dropcap.ledger.database import VERSION, Damaged, DatabaseError, LedgerError
from dropcap.ledger.postgres.wire import Wire
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from dropcap.reasons import Scope
from dropcap.threads import SerialExecutor, spare

_DEFAULT = "/etc/dropcap/config.yaml"
#: Seconds after which nothing is proposed: who types waits for no disk.
_SHELL_WAITS = 1.0
_MOST_JOBS = 200

Proposed = list[tuple[str, str]]


def folders(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The drop folders, each with its path."""
    return _items(ctx, incomplete, "folders")


def projects(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The projects, each with its address."""
    return _items(ctx, incomplete, "projects")


def servers(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The servers, each with the projects that are there."""
    return _items(ctx, incomplete, "servers")


def jobs(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The jobs that can be tried again, each with its file."""
    return _items(ctx, incomplete, "jobs")


def _proposed(config: Config, what: str) -> Proposed:
    projects = config.projects.values()
    match what:
        case "folders":
            return [(one.name, str(one.path)) for one in config.folders.values()]
        case "projects":
            return [(one.name, one.url) for one in projects]
        case "servers":
            hosts = dict.fromkeys(project.host for project in projects)
            return [(host, ", ".join(one.name for one in projects if one.host == host)) for host in hosts]
    if not isinstance(config.ledger, PostgresLedger) and not (config.state_dir / LEDGER).exists():
        return []
    with contextlib.closing(Query(database_of(config))) as ledger:
        return [(str(job.id), f"{job.folder}/{job.name}, {job.reason or job.state}") for job in ledger.may_retry(_MOST_JOBS)]


def _items(ctx: click.Context, incomplete: str, what: str) -> list[CompletionItem]:
    given = ctx.params.get("config_path") or os.environ.get("DROPCAP_CONFIG") or _DEFAULT
    found: Proposed = []

    def look() -> None:
        with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):  # nothing is told in the middle of a line
            found.extend(_proposed(load(Path(given).absolute()), what))

    thread = spare(look, "completion")
    if thread is not None:
        thread.join(_SHELL_WAITS)  # it may hang in a dead file system, and the shell goes on
    # Of what `found` holds by now: it may still grow.
    return [CompletionItem(value, help=shown(text)) for value, text in tuple(found) if value.startswith(incomplete)]


DEFAULT = "/etc/dropcap/config.yaml"

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """The `-c FILE` that every such command has."""
    option = click.option(
        "-c",
        "--config",
        "config_path",
        metavar="FILE",
        envvar="DROPCAP_CONFIG",
        default=DEFAULT,
        show_default=True,
        type=click.Path(path_type=Path),
        help="The configuration.",
    )
    return option(command)


def stop(message: str, code: int) -> NoReturn:
    """End with a message for people."""
    complain(message)
    sys.exit(code)


def usable(path: Path, *, tell: bool = True) -> Config:
    """The configuration, or the end with exit code 2 if nothing can start with it. Its problems are told on the way."""
    config = load(path)
    if tell or config.fatal:
        for problem in config.reported:
            screen.line(str(problem), hang=4, err=True)
    if config.fatal:
        stop(unusable(path), 2)
    return config


def until_signal() -> threading.Event:
    """An event that SIGINT and SIGTERM set."""
    stopped = threading.Event()

    def set_it(_number: int, _frame: object) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, set_it)
    return stopped


def unusable(path: Path) -> str:
    """That nothing can start with a configuration whose problems have been told."""
    return f"{shown(str(path))} cannot be used: correct what is said above"


class NoLedger(Exception):  # noqa: N818 - a state
    """There is no ledger to read; the message says what to do. `away`: it is in a database that does not answer."""

    def __init__(self, message: str, code: int, *, away: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.away = away


def query(config: Config) -> Query:
    """The ledger to read, or the end: with exit code 1 if there is none yet, with 2 if it is not ours to read."""
    try:
        return readable(config)
    except NoLedger as error:
        stop(str(error), error.code)


def readable(config: Config, *, older: bool = False) -> Query:
    """The ledger to read, or the end. Raises NoLedger where a database keeps it. `older`: an earlier dropcap's will do."""
    if isinstance(config.ledger, PostgresLedger):
        return _in_database(config, config.ledger)
    path = config.state_dir / LEDGER
    try:
        path.stat()
    except FileNotFoundError:
        stop(f"there is no ledger in {config.state_dir} yet: dropcap has not run with this configuration", 1)
    except OSError as error:
        not_ours(path, error.strerror or str(error))
    found = Query(path)
    try:
        if older and 0 < found.version() < VERSION:
            return found
        found.pauses()
    except Damaged as error:
        stop(f"the ledger {path} is damaged ({error}): restart dropcap, it sets it aside and begins a new one", 1)
    except DatabaseError as error:
        not_ours(path, str(error))
    if (said := of_another_version(found)) is not None:
        stop(f"{path} is {said}", 1)
    return found


def _in_database(config: Config, at: PostgresLedger) -> Query:
    try:
        found = Query(database_of(config))
        if not found.version():
            raise NoLedger(f"there is no ledger in {at} yet: dropcap has not run with this configuration", 1)
        if (said := of_another_version(found)) is not None:
            raise NoLedger(f"{at} is {said}", 1)
    except LedgerError as error:
        raise NoLedger(str(error), 2) from None
    except DatabaseError as error:
        raise NoLedger(cannot_read(at, error), 2, away=True) from None
    return found


def cannot_read(at: PostgresLedger, error: DatabaseError) -> str:
    """That a ledger in a database cannot be read, and what to do."""
    return f"the ledger {at} cannot be read ({error}): see whether PostgreSQL runs and lets you in"


def of_another_version(ledger: Query) -> str | None:
    """What to do where an upgrade or a way back was begun and not ended: the ledger is another dropcap's."""
    version = ledger.version()
    if version < VERSION:
        return "an earlier dropcap's ledger: restart dropcap, which brings it up to this version"
    if version > VERSION:
        return "a newer dropcap's ledger: install the newer dropcap again"
    return None


def not_ours(path: Path, why: str) -> NoReturn:
    """The end with exit code 2: the user who runs the command cannot use something in state_dir."""
    stop(f"{path} cannot be used ({why}): run this as dropcap's user, or as root", 2)


def folder_option(command: F) -> F:
    """The `--folder F` that confines a command to one drop folder."""
    return click.option("--folder", "folder_name", metavar="F", shell_complete=folders, help="This drop folder only.")(command)


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """`name`, or the end with exit code 2 if it is none of `names`."""
    names = sorted(names)
    if name not in names:
        otherwise = "there are: " + ", ".join(shown(one) for one in names) if names else "the configuration has none"
        stop(f"there is no {kind} `{shown(name)}`; {did_you_mean(name, names, otherwise)}", 2)
    return name


def prepared(config: Config) -> None:
    """The state directory is there, or the end with exit code 2."""
    try:
        prepare(config.state_dir)
    except StateError as error:
        stop(str(error), 2)


def moment(text: str | None, *, end: bool = False) -> float:
    """A time in the past, as an age (`2h`, `7d`) or a day (`2026-11-24`), in seconds since the epoch.

    `end`: that of a period. No text is no end then, and a day or a minute is part of it.
    """
    if not text:
        return math.inf if end else 0.0
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"):
        try:
            at = time.strptime(text, form)
        except ValueError:
            continue
        day, minute = (1, 0) if form == "%Y-%m-%d" else (0, 1)
        if not end:
            day = minute = 0
        return time.mktime((at.tm_year, at.tm_mon, at.tm_mday + day, at.tm_hour, at.tm_min + minute, 0, 0, 0, -1))
    try:
        return time.time() - duration(0, 100 * 366 * 86400.0)(text)
    except BadValueError:
        raise click.BadParameter(f"`{text}` is neither an age like 2h or 7d nor a day like 2026-11-24") from None


@contextlib.contextmanager
def project_clients(config: Config) -> Iterator[dict[str, ProjectClient]]:
    """A client for every project, within the limit that all dropcap processes share.

    A state directory that is not there yet is not made: it would belong to the user who checks, perhaps root, and no other
    process can be counting requests in it.
    """
    with contextlib.ExitStack() as stack:
        if not os.path.isdir(config.state_dir):
            config = replace(config, state_dir=Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropcap-"))))
        window = stack.enter_context(windows(config))
        found = {project.name: client_for(config, project, window) for project in config.projects.values()}
        for client in found.values():
            stack.callback(client.redcap.close)
        yield found


@contextlib.contextmanager
def windows(config: Config) -> Iterator[MakeWindow]:
    """The request limit that the hosts of a shared ledger have together. Where nobody can count there (the database does not
    answer, or dropcap never ran), that of this host: a check of the rest goes on."""
    if not isinstance(config.ledger, PostgresLedger) or not has_psycopg():
        yield window_of
        return
    from dropcap.ledger.postgres.connection import LedgerConnector  # it needs psycopg

    wire = Wire(LedgerConnector(config.ledger, "dropcap command"))

    def shared(config: Config, project: Project) -> SharedWindow:
        return SharedWindow(wire, project.host, config.limit_of(project.host))

    try:
        try:
            with wire.asking() as connection:
                connection.execute("select from slot limit 1")
        except DatabaseError:
            yield window_of
        else:
            yield shared
    finally:
        wire.close()


@contextlib.contextmanager
def remembered(config: Config) -> Iterator[Query | None]:
    """The ledger to read; None if there is none yet.

    Raises:
        DatabaseError: it cannot be read.
    """
    path = config.state_dir / LEDGER
    if not isinstance(config.ledger, PostgresLedger):
        try:
            path.stat()
        except PermissionError as error:
            raise DatabaseError(error.strerror) from None
        except OSError:
            yield None
            return
    try:
        query = Query(database_of(config))
    except LedgerError as error:
        raise DatabaseError(str(error)) from None
    try:
        if isinstance(config.ledger, PostgresLedger) and not query.version():
            yield None
            return
        query.pauses()
        if (said := of_another_version(query)) is not None:
            raise DatabaseError(said)
        yield query
    finally:
        query.close()


def chosen(config: Config, name: str | None) -> list[Folder]:
    """All folders, or the one called `name`; the end with exit code 2 if there is none."""
    if name is None:
        return list(config.folders.values())
    if name not in config.folders:
        known = ", ".join(config.folders) or "none"
        stop(f"there is no sound folder `{shown(name)}` in the configuration; there are: {known}", 2)
    return [config.folders[name]]


#: What takes longer, and how long it is waited for (seconds): a retry of thousands moves thousands of files before it answers,
#: and a step of a prune may hash large ones.
_LASTS = {"retry": 600.0, "prune": 600.0, "reload": 30.0, "release": 30.0}


def asked(config: Config, question: dict[str, Any]) -> dict[str, Any] | None:
    """What the running dropcap answers, None if none answers, or the end if it may or will not."""
    try:
        told = ask(config.state_dir, question, _LASTS.get(question["do"], PATIENCE))
    except PermissionError as error:
        not_ours(config.state_dir / SOCKET, error.strerror or str(error))
    if told is not None and "error" in told:
        stop(f"the running dropcap could not do it: {told['error']}", 1)
    return told


def done(config: Config, question: dict[str, Any]) -> dict[str, Any]:
    """What people want done is done by the dropcap that runs, which answers; else here, in the ledger, while none does.

    `hosts`, in the latter case: those that share the ledger; None if it is SQLite's.
    """
    told = asked(config, question)
    if told is not None:
        return told
    with alone(config) as ledger:
        return {"hosts": ledger.query.hosts(), **_done_here(config, ledger, question)}


def _done_here(config: Config, ledger: Ledger, question: dict[str, Any]) -> dict[str, Any]:
    actor, do = AuditActor.me(), question["do"]
    if do == "retry":
        which = {key: question[key] for key in ("failed", "held", "folder")}
        tried, cannot = control.retry(ledger, config, control.select(ledger, question["jobs"], **which), actor)
        return {"tried": tried, "cannot": cannot}
    scope, name = question.get("scope", Scope.FOLDER), question["name"]
    if do == "resume":
        ledger.act(actor, AuditAction.RESUME, scope=scope, name=name)
        if scope is Scope.FOLDER:
            control.release(ledger, name, False)
        return {"done": ledger.resume(scope, name)}
    ledger.act(actor, AuditAction.PAUSE, scope=scope, name=name, **({"release": True} if do == "release" else {}))
    ledger.pause(control.pause_by_hand(scope, name))
    if do == "release":
        control.release(ledger, name, True)
    return {"open": []}


@contextlib.contextmanager
def _beside_hosts(config: Config) -> Iterator[Ledger]:
    """A ledger on PostgreSQL, also while hosts work with it; they see soon that something was asked."""
    try:
        ledger = open_for_people(config)
        try:
            yield ledger
            ledger.set_meta(ASKED, str(time.time()))
        finally:
            ledger.close()
    except LedgerError as error:
        stop(str(error), 2)
    except DatabaseError as error:
        stop(f"the ledger {config.ledger} cannot be written ({error}): see whether PostgreSQL runs", 2)


@contextlib.contextmanager
def alone(config: Config) -> Iterator[Ledger]:
    """The ledger to write, while no dropcap runs; or the end, if one does or there is no ledger yet."""
    query(config).close()
    if isinstance(config.ledger, PostgresLedger):
        with _beside_hosts(config) as ledger:
            yield ledger
        return
    try:
        with only_one(config.state_dir):
            ledger = open_ledger(config.state_dir)
            try:
                yield ledger
            finally:
                close_ledger(ledger, config.state_dir)
    except AlreadyRunning as error:
        stop(
            f"{error} and does not answer: it is starting, stopping, halted or running with --once. "
            "Nothing was done; try again in a moment",
            4,
        )
    except LedgerError as error:
        stop(str(error), 2)
    except PermissionError as error:
        not_ours(config.state_dir, error.strerror or str(error))
    except DatabaseError as error:
        stop(
            f"{config.state_dir / LEDGER} cannot be written ({error}): run this as dropcap's user; see whether its disk is full",
            2,
        )


#: Seconds for which all shares together are asked which directories they are.
_PATIENCE = 5.0


def outside_of_all_folders(config: Config, named: Path) -> Path:
    """Where `named` leads to, links followed; or the end with exit code 2 if that lies in a drop folder, by whatever path."""
    target = Path(os.path.realpath(named))
    above = {known for one in (target, *target.parents) if (known := _identity(one)) is not None}
    folders = (*config.folders.values(), *config.broken)
    asked = [_asked(folder) for folder in folders]
    end = time.monotonic() + _PATIENCE
    for folder, answer in zip(folders, asked, strict=True):
        if target.is_relative_to(folder.path) or _told(answer, end) in above:
            stop(
                f"{shown(str(named))} lies in the drop folder {shown(folder.name)}, where others read and files are taken: "
                "name another place",
                2,
            )
    return target


def _identity(path: Path) -> tuple[int, int] | None:
    """Which directory it is: another path may lead there as well, by a link or a mount."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _asked(folder: Folder) -> Future[tuple[int, int] | None]:
    """A share may hang: it is asked by another thread."""
    return SerialExecutor(f"share {folder.name}").submit(_PATIENCE, _identity, folder.path)


def _told(answer: Future[tuple[int, int] | None], end: float) -> object:
    """What was told until then (monotonic)."""
    try:
        return answer.result(max(0.0, end - time.monotonic()))
    except TimeoutError:
        return None
