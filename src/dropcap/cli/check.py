"""`dropcap check`: is everything such that dropped files will arrive?

With `--adopt` it takes over folders that are away because of their marker, unless somebody is alive there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from dropcap.cli import configured, screen
from dropcap.cli.configured import asked, chosen, config_option, prepared, project_clients, remembered, stop, unusable
from dropcap.cli.screen import line
from dropcap.config.load import load, same_project
from dropcap.config.model import Config, Folder, PostgresLedger
from dropcap.daemon.control import ASKED, retry
from dropcap.daemon.opening import close_for_people, open_for_people
from dropcap.delivery.attribution import known_limits
from dropcap.delivery.order import Order, takes_next
from dropcap.delivery.project_client import ProjectClient
from dropcap.display import many, shown
from dropcap.files.regular import ignore_lease_breaks
from dropcap.files.tree import Tree
from dropcap.intake import owner
from dropcap.intake.mounts import Mount, Mounts
from dropcap.intake.owner import LEFT_AFTER, KnownFolders, Run, StalenessCheck
from dropcap.ledger.chain import AuditAction, AuditActor
from dropcap.ledger.database import DatabaseError, LedgerError
from dropcap.ledger.job import State
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from dropcap.preflight import drop_folder, machine
from dropcap.preflight import project as redcap_project
from dropcap.preflight.drop_folder import keep_remarks
from dropcap.preflight.machine import (
    NAME,
    ServiceUnit,
    database_remarks,
    host_remarks,
    ledger_remarks,
    machine_remarks,
    sandbox_remarks,
)
from dropcap.preflight.project import cost, limit_remark, look_alikes
from dropcap.preflight.remark import Level, Part, Remark, in_configuration, on_machine, place_of, retention_remarks
from dropcap.reasons import Reason, Scope
from dropcap.routing.pattern import touching

#: Seconds between two looks at a folder that is watched.
_LOOK = 2.0

#: Why a file stays held until somebody says `retry`.
_BY_HAND = frozenset({Reason.NEWER_WENT, Reason.TOO_MANY_MISMATCHES})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A folder that is away, open as `tree`, and why."""

    folder: Folder
    tree: Tree
    mount: Mount
    away: owner.Away
    staleness: StalenessCheck = field(default_factory=StalenessCheck)


def adopted(config: Config, folders: Sequence[Folder], *, force: bool) -> Iterator[Remark]:
    """Take over what is away because of its marker, and nothing else; what may be alive is watched first, if not `force`."""
    prepared(config)
    try:
        ledger = open_for_people(config)
    except (LedgerError, DatabaseError) as error:
        stop(f"the ledger cannot be written: {error}", 2)
    with contextlib.ExitStack() as stack:
        stack.callback(close_for_people, ledger, config)
        run = Run.of_installation(ledger.installation) if ledger.shared else Run.of(config.state_dir)
        wanted = list(_wanted(config, folders, ledger, stack))
        doubtful = [one for one in wanted if not force and _may_be_alive(one, ledger.installation, run)]
        for one in wanted:
            if one not in doubtful:
                yield _adopt(config, one, ledger, run)
        yield from _watched(config, doubtful, ledger, run)


def _wanted(config: Config, folders: Sequence[Folder], ledger: Ledger, stack: contextlib.ExitStack) -> Iterator[_Wanted]:
    mounts = Mounts.now()
    known = owner.KnownFolders(ledger.query, ledger.installation)
    for folder in folders:
        tree = drop_folder.open_folder(folder)
        if isinstance(tree, Remark):
            continue  # told with the rest
        stack.callback(tree.close)
        mount = drop_folder.mount_of(tree, folder, mounts)
        try:
            owner.examine(tree, folder.name, str(folder.path), mount, known)
        except owner.Away as away:
            yield _Wanted(folder, tree, mount, away)
        except OSError:
            pass  # told with the rest


def _may_be_alive(one: _Wanted, installation: str, run: Run) -> bool:
    """Whether somebody may be alive in the folder: whose marker it is, or whose was just removed."""
    try:
        found = owner.read(one.tree)
        if found is None:
            return not owner.left_alone(one.tree)
        if found.installation == installation:
            return not run.knows(found.beat)
        return found.beat is None or not run.knows(found.beat) or owner.written_since(one.tree)
    except (owner.Away, OSError):
        return False  # adopting it tells


def _watched(config: Config, folders: Sequence[_Wanted], ledger: Ledger, run: Run) -> Iterator[Remark]:
    """Watch folders together, each until it is known whether somebody is alive there."""
    for one in folders:
        message = f"the other dropcap has not said that it has ended: its marker is watched for {LEFT_AFTER:g} s"
        yield Remark("ok", place_of(one.folder), message, done=True)
    left = list(folders)
    while left:
        for one in list(left):
            try:
                seconds = one.staleness.look(owner.sign_of_life(one.tree))
            except OSError as error:
                left.remove(one)
                yield Remark("error", place_of(one.folder), f"the folder cannot be adopted: {error}")
                continue
            if one.staleness.moved:
                left.remove(one)
                message = f"the folder is not adopted: another dropcap is alive there (it was away: {one.away})"
                remedy = "end that one, then try again; --force takes the folder at once, and both may send one file"
                yield Remark("error", place_of(one.folder), message, remedy)
            elif not seconds:
                left.remove(one)
                yield _adopt(config, one, ledger, run)
        if left:
            time.sleep(_LOOK)


def _adopt(config: Config, one: _Wanted, ledger: Ledger, run: Run) -> Remark:
    folder, where = one.folder, place_of(one.folder)
    try:
        ledger.act(AuditActor.me(), AuditAction.ADOPT, folder=folder.name, path=shown(str(folder.path)), was_away=str(one.away))
        _renamed(config, folder, one.tree, ledger)
        owner.adopt(one.tree, folder.name, str(folder.path), one.mount, ledger, run)
    except (owner.Away, OSError) as error:
        return Remark("error", where, f"the folder cannot be adopted: {error}")
    # A running dropcap is to notice which files are its now: those that were held are tried again on the way, but for those of
    # which a person alone decides.
    held = [job.id for job in ledger.query.in_state((State.HELD,), folder.name, limit=1_000_000) if job.reason not in _BY_HAND]
    told = asked(config, {"do": "retry", "jobs": held, "failed": False, "held": False, "folder": folder.name})
    if told is None and ledger.shared:  # another host may be the one that works there
        jobs = [job for number in held if (job := ledger.query.job(number)) is not None]
        retry(ledger.for_people(), config, jobs, AuditActor.me())
        ledger.set_meta(ASKED, str(time.time()))
    return Remark("ok", where, f"adopted: this installation works there now (it was away: {one.away})", done=True)


def _renamed(config: Config, folder: Folder, tree: Tree, ledger: Ledger) -> None:
    """The marker names a folder of ours that is no longer in the configuration: it goes by another name now."""
    found = owner.read(tree)
    if found is None or found.installation != ledger.installation or found.folder in config.folders:
        return
    hosts = ledger.query.hosts()
    holder = hosts.holder(found.folder) if hosts is not None else None
    if hosts is not None and holder is not None:
        raise owner.Away(
            f"{hosts.called(holder)} works in it under the name {shown(found.folder)}: give all hosts the new configuration "
            "(dropcap reload) first"
        )
    paused = [pause for pause in ledger.query.pauses() if (pause.scope, pause.name) == (Scope.FOLDER, found.folder)]
    ledger.rename_folder(found.folder, folder.name)
    for pause in paused:  # before the first file can go on its way
        if pause.reason == Reason.BY_HAND:
            asked(config, {"do": "pause", "scope": "folder", "name": folder.name})
        asked(config, {"do": "resume", "scope": "folder", "name": found.folder})


_COLOURS: dict[str, str] = {"ok": screen.GOOD, "warning": screen.WAIT, "error": screen.BAD, "unsure": "cyan"}
_TITLES = {
    Part.CONFIGURATION: "Configuration",
    Part.MACHINE: "This machine",
    Part.FOLDER: "Folders",
    Part.PROJECT: "Projects",
    Part.RULE: "Rules",
}
_WORSE: tuple[Level, ...] = ("unsure", "warning", "error")
#: The columns at which the part and what is said of it begin.
_PART, _TEXT = 9, 24
#: Names of a part that is well, before they are only counted.
_NAMES = 12


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check has found of these folders."""

    config: Config
    folders: Sequence[Folder]
    found: Sequence[Remark]
    offline: bool
    at_once: bool = False  # what was done to adopt folders was told as it was done

    @property
    def code(self) -> int:
        """What the command ends with."""
        errors = [remark for remark in self.found if remark.level == "error"]
        if self.config.fatal:
            return 2
        return 0 if not errors else 3 if all(remark.later for remark in errors) else 1

    def skipped(self) -> list[str]:
        """The rules that were compared with no project: nobody was asked, or nobody answered."""
        told = {(place.name, place.rule) for remark in self.found for place in (remark.where, *remark.also)}
        return [
            f"{folder.name}/{rule.name}"
            for folder in self.folders
            for rule in folder.rules
            if (folder.name, rule.name) not in told
        ]

    def verdict(self) -> tuple[str, str]:
        """Whether files will arrive, and the counts."""
        counts = Counter(remark.level for remark in self.found)
        said = [many(counts[level], level) for level in ("error", "warning") if counts[level]]
        said += [f"{counts['unsure']} unsure"] if counts["unsure"] else []
        said += [f"{number} not compared"] if (number := len(self.skipped())) else []
        return "NOT READY" if counts["error"] else "READY", ", ".join([*said, f"{counts['ok']} ok"])

    def concerned(self) -> list[str]:
        """What does not work as it is, if all else does: `project sleep`, `rule consents/scan`. Empty if that cannot be told."""
        errors = [remark for remark in self.found if remark.level == "error"]
        if any(remark.where.part is Part.MACHINE for remark in errors):
            return []
        mistakes = [problem.scope for problem in self.config.reported]
        others = [remark for remark in errors if remark.where.part is not Part.CONFIGURATION]
        if None in mistakes or len(mistakes) + len(others) != len(errors):
            return []
        places = [place for remark in others for place in (remark.where, *remark.also)]
        named = [f"{scope[0]} {scope[1]}" for scope in mistakes if scope is not None]
        named += [f"{place.part} {place.called}" for place in places]
        rules = {f"rule {folder.name}/{rule.name}" for folder in self.folders for rule in folder.rules}
        whole = ({f"project {name}" for name in self.config.projects}, {f"folder {one.name}" for one in self.folders}, rules)
        return [] if any(kind <= {*named} for kind in whole) else list(dict.fromkeys(named))  # else nothing is left to go on

    def costs(self) -> Iterator[tuple[str, str]]:
        """Each rule, and what a file of it costs."""
        for folder in self.folders:
            project = self.config.projects.get(folder.project)
            for rule in folder.rules:
                yield f"{folder.name}/{rule.name}", cost(rule).text(self.config.limit_of(project.host) if project else 0)

    def as_json(self, costs: bool) -> dict[str, Any]:
        """The keys that docs/checking.md promises."""
        word, counts = self.verdict()
        told: dict[str, Any] = {
            "ok": self.code == 0,
            "exit_code": self.code,
            "verdict": f"{word}: {counts}",
            "findings": [_as_json(remark) for remark in self.found],
            "not_compared": self.skipped(),
        }
        if costs:
            told["costs"] = [{"rule": rule, "message": said} for rule, said in self.costs()]
        return told


def _as_json(remark: Remark) -> dict[str, Any]:
    where = remark.where
    return {
        "level": remark.level,
        "part": where.part,
        "where": shown(str(where)),
        "name": shown(where.name),
        "rule": shown(where.rule) or None,
        "also": [shown(place.called) for place in remark.also],
        "message": shown(remark.message),
        "remedy": shown(remark.remedy) or None,
        "passes": remark.later,
    }


def asking(server: str | None) -> None:
    """Show on a terminal which server is waited for; None: none any more."""
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        click.echo("\r\x1b[K" + (f"asking {shown(server)} …" if server else ""), err=True, nl=False)


def tell(checked: Checked, *, every: bool, costs: bool) -> None:
    """Print it: in blocks on a terminal, a finding a line where a program may read."""
    blocks = screen.width() is not None
    if every:
        for remark in checked.found:
            if remark.level == "ok" and not (checked.at_once and remark.done):
                _one_line(remark)
    else:
        _well(checked)
    if (skipped := checked.skipped()) and not checked.config.fatal:
        why = "--offline: no project was asked" if checked.offline else "their project could not be asked"
        _part("skipped", "Rules", f"{_named(skipped)}: {why}", None)
    for level in _WORSE:
        for remark in checked.found:
            if remark.level == level:
                _block(remark) if blocks else _one_line(remark)
    if costs:
        screen.heading("What a file costs")
        for rule, said in checked.costs():
            screen.line(f"{shown(rule)}: {said}", 2, hang=6)
    word, counts = checked.verdict()
    click.echo()
    counts += "" if every else " (--all lists them)"
    screen.entry(word, counts, len(word) + 2, screen.BAD if checked.code else screen.GOOD)
    if blocks and (concerned := checked.concerned()):
        screen.line(f"dropcap goes on with everything but {_named(concerned)}.", len(word) + 2)


def _well(checked: Checked) -> None:
    """A line each part: what of it is well in every respect."""
    for part, title in _TITLES.items():
        mine = [remark for remark in checked.found if remark.where.part is part]
        troubled = {place.called for remark in mine if remark.level != "ok" for place in (remark.where, *remark.also)}
        well = dict.fromkeys(
            remark.where.called for remark in mine if remark.level == "ok" and remark.where.called not in troubled
        )
        if well and part is Part.CONFIGURATION:
            well = {f"{remark.where.called}: {remark.message}": None for remark in mine if remark.level == "ok"}
        if well:
            _part("ok", title, _named(list(well)), screen.GOOD)


def _named(names: Sequence[str]) -> str:
    said = ", ".join(shown(name) for name in names[:_NAMES])
    return said + (f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else "")


def _part(word: str, title: str, text: str, colour: str | None) -> None:
    if screen.width() is None:
        click.echo(f"{word:<{_PART}}{title:<{_TEXT - _PART}}{text}")
    else:
        screen.entry(word, f"{title:<{_TEXT - _PART}}{text}", _PART, colour, hang=_TEXT)


def _one_line(remark: Remark) -> None:
    screen.entry(remark.level, remark.text, _PART, _COLOURS[remark.level])


def _block(remark: Remark) -> None:
    where = remark.where
    click.echo()
    called = where.called + (f": {where.key}" if where.key else "")
    title = {Part.FOLDER: "Folder", Part.PROJECT: "Project", Part.RULE: "Rule"}.get(where.part, _TITLES[where.part])
    text = ", ".join(filter(None, (shown(called), shown(where.stands))))
    screen.entry(remark.level, f"{title:<{_TEXT - _PART}}{text}", _PART, _COLOURS[remark.level], hang=_TEXT)
    screen.line(remark.message, _PART)
    if remark.remedy:
        screen.line(f"{remark.remedy[0].upper()}{remark.remedy[1:]}", _PART)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options."""

    config_path: Path
    offline: bool
    adopt: bool
    force: bool
    folder_name: str | None
    unit_name: str
    every: bool
    costs: bool
    as_data: bool


@click.command("check")
@config_option
@click.option("--offline", is_flag=True, help="Look at the configuration and the folders only; ask no server.")
@click.option("--adopt", is_flag=True, help="Take over folders whose owner marker names another installation, or is gone.")
@click.option("--force", is_flag=True, help="With --adopt: also those in which another dropcap seems to be alive, and at once.")
@click.option(
    "--folder", "folder_name", metavar="F", shell_complete=configured.folders, help="This drop folder and its project only."
)
@click.option(
    "--unit", "unit_name", metavar="U", default=NAME, show_default=True, help="The systemd unit (or its file) of dropcap."
)
@click.option("-v", "--all", "every", is_flag=True, help="Tell all that was looked at, also what is well, a line each.")
@click.option("--costs", is_flag=True, help="Tell also what a file of each rule costs in requests.")
@click.option("--json", "as_data", is_flag=True, help="One JSON object, for programs.")
def check_command(**options: Any) -> None:
    """Check the configuration, the folders, the servers, tokens and rights, and every rule against its project.

    What is well is a line each part; warnings and errors come last, with where they stand and what to do. Nothing is changed
    or sent (a file of no bytes is written into each folder and removed again), but with --adopt the folders' markers. Where
    another dropcap may be alive, the folder is watched for a minute and a half first, and left to it if it is.

    Exit codes: 0 no error; 1 an error was found; 2 the configuration cannot be used; 3 a server could not be reached.
    """
    asked = _Asked(**options)
    if asked.force and not asked.adopt:
        raise click.UsageError("--force says how to --adopt, and does nothing alone")
    config = load(asked.config_path)
    found = _of_configuration(config)
    nothing = bool(config.fatal) and not (config.folders or config.broken or config.projects)
    folders = sound = [] if nothing else chosen(config, asked.folder_name)
    if not config.problems:
        found.append(Remark("ok", in_configuration(str(asked.config_path)), _contents(config, sound)))
    if not nothing:
        if asked.folder_name is None:
            folders = [*sound, *config.broken]  # what else is wrong with them is told at once
        found += _looked_at(asked, config, folders, sound)
    checked = Checked(config, folders, found, asked.offline, at_once=not asked.as_data)
    if asked.as_data:
        click.echo(json.dumps(checked.as_json(asked.costs), indent=1))
    else:
        tell(checked, every=asked.every, costs=asked.costs)
    if config.fatal:
        stop(unusable(asked.config_path), 2)
    sys.exit(checked.code)


def _of_configuration(config: Config) -> list[Remark]:
    return [Remark(one.level, in_configuration(one.where), one.message, one.remedy) for one in (*config.reported, *config.doubts)]


def _contents(config: Config, folders: Sequence[Folder]) -> str:
    rules = sum(len(folder.rules) for folder in folders)
    return f"{many(len(config.projects), 'project')}, {many(len(folders), 'folder')}, {many(rules, 'rule')}"


def _looked_at(asked: _Asked, config: Config, folders: Sequence[Folder], sound: Sequence[Folder]) -> list[Remark]:
    """All that is found beside the configuration itself."""
    found = list(_unclear(folders))
    ignore_lease_breaks()
    if asked.adopt and not config.fatal:
        for remark in adopted(config, sound, force=asked.force):
            if remark.done and not asked.as_data:
                line(f"ok       {remark.text}", hang=9)  # at once: it may be waited for, or has changed something
            found.append(remark)
    with ExitStack() as stack:
        ledger, reads = _opened(config, folders, asked.offline, stack, found)
        found += _local(config, folders, KnownFolders(ledger) if reads else None)
        found += _as_the_service(config, folders, asked.unit_name)
        if ledger is not None:
            with suppress(DatabaseError):  # told with the rest, if it lasts
                found += _limits(config, folders, ledger)
                names = [folder.name for folder in folders if folder.name in config.folders]
                found += retention_remarks(config, ledger, names, time.time())
        if not asked.offline:
            projects: dict[str, int] = {}
            with suppress(DatabaseError):
                projects = ledger.told_projects() if ledger is not None else {}
            order = Order(config.projects.values(), config.folders.values(), projects)
            clients = stack.enter_context(project_clients(config))
            said = {remark.text for remark in found}
            found += [remark for remark in _remote(config, folders, clients, order) if remark.text not in said]
    return found


def _unclear(folders: Sequence[Folder]) -> Iterator[Remark]:
    for folder in folders:
        for rule in folder.rules:
            for first, second in touching(rule.pattern):
                yield Remark(
                    "warning",
                    place_of(folder, rule),
                    f"pattern: nothing tells where {{{first}}} ends and {{{second}}} begins, so that a name can be misread",
                    f"put a character between them, or say how many one has, such as {{{second}:digits(2)}}",
                )
        for pair in look_alikes(folder):
            one, other = pair.first, pair.second
            yield Remark(
                "warning",
                place_of(folder, other.rule),
                f"a suffix alone decides the event: {pair.longer} goes to {other.target.event}, {pair.name} by the rule "
                f"{one.rule.name} to {one.target.event}",
                "let both names say the event, such as {visit:VISITS} with a table of its words",
            )


def _opened(
    config: Config, folders: Sequence[Folder], offline: bool, stack: ExitStack, found: list[Remark]
) -> tuple[Query | None, bool]:
    """The ledger, None if there is none yet, and whether it can be read; what is to be said of it goes into `found`."""
    shared = isinstance(config.ledger, PostgresLedger)
    if isinstance(config.ledger, PostgresLedger):
        told = list(ledger_remarks(config))
        sound = all(remark.level == "ok" for remark in told)
        if sound and offline:
            told.append(Remark("unsure", on_machine("ledger"), f"{config.ledger} was not asked", "leave out --offline"))
        elif sound:
            told += database_remarks(config.ledger)
        found += told
        if offline or not sound or any(remark.level == "error" for remark in told):
            return None, False
    try:
        ledger = stack.enter_context(remembered(config))
        if shared and ledger is not None:
            found += host_remarks(config, folders, ledger)
    except DatabaseError as error:
        where, said = on_machine(f"state_dir {config.state_dir}"), "the ledger cannot be read"
        remedy = "run this as dropcap's user; if the ledger is damaged, restart dropcap, which sets it aside"
        if shared:
            where, said, remedy = on_machine("ledger"), "it cannot be read", "see whether PostgreSQL is well"
        found.append(Remark("error", where, f"{said} ({error})", remedy))
        return None, False
    return ledger, True


def _local(config: Config, folders: Sequence[Folder], known: KnownFolders | None) -> Iterator[Remark]:
    mounts = Mounts.now()
    yield from machine.state_dir_remarks(config.state_dir, mounts)
    for name in _projects(config, folders):
        yield from machine.project_remarks(config.projects[name])
    directories = 0
    state_dir = Path(os.path.realpath(config.state_dir))
    seen: dict[str, Path] = {}
    for folder in folders:
        tree = drop_folder.open_folder(folder)
        if isinstance(tree, Remark):
            yield tree
            continue
        real = Path(os.path.realpath(folder.path))
        yield from _by_way_of_links(folder, real, config, state_dir, seen)
        seen[folder.name] = real
        try:
            mount = drop_folder.mount_of(tree, folder, mounts)
            yield from drop_folder.folder_remarks(folder, tree, mount, known)
            contents = drop_folder.contents_of(folder, tree, mount, known)
            directories += contents.directories
            yield from drop_folder.left_remarks(folder, contents.left)
        except OSError as error:
            message = f"{folder.path} does not answer ({error.strerror})"
            yield Remark("error", place_of(folder), message, "check its share or disk")
        finally:
            tree.close()
    shares = {folder.path for folder in config.folders.values()} | set(seen.values())
    for folder in folders:
        yield from keep_remarks(config, folder, shares, mounts)
    yield from machine.inotify_remarks(config, directories)
    yield from machine.watcher_remarks(config)


def _as_the_service(config: Config, folders: Sequence[Folder], name: str) -> Iterator[Remark]:
    """What the unit's sandbox keeps from the service, which a person's check sees."""
    sandbox = ServiceUnit.installed(name)
    yield from machine.thread_remarks(config, sandbox)
    if sandbox is None:
        if name != NAME:
            yield Remark("error", on_machine(name), "there is no such unit, or it may not be read", "name another with --unit")
        return
    seen = list(machine_remarks(config, sandbox))
    for folder in folders:
        seen += sandbox_remarks(config, folder, sandbox)
    yield from seen
    if not seen:
        yield Remark("ok", on_machine(str(sandbox.path)), "its sandbox lets the service see and write what it has to")


def _limits(config: Config, folders: Sequence[Folder], ledger: Query) -> Iterator[Remark]:
    """How large files may be, as far as servers have refused some."""
    limits = known_limits(ledger.learned(time.time()))
    for name in dict.fromkeys(folder.project for folder in folders):
        if name in limits:
            remedy = "have the server's limit raised, or set `max_size` to it; `dropcap retry` sends one all the same"
            message = f"{limits[name]}; since then none as large is sent, for a day or until one arrives"
            yield Remark("warning", place_of(config.projects[name]), message, remedy)


def _projects(config: Config, folders: Sequence[Folder]) -> list[str]:
    """The projects of these folders, and those that no folder has: with all folders, all of them."""
    named = dict.fromkeys(folder.project for folder in folders)
    if {*config.folders} <= {folder.name for folder in folders}:
        named |= dict.fromkeys(config.projects)
    return list(named)


def _by_way_of_links(folder: Folder, real: Path, config: Config, state_dir: Path, others: Mapping[str, Path]) -> Iterator[Remark]:
    """What lies in each other only once links are followed, which the configuration cannot tell by itself."""
    paths = {one.name: one.path for one in (*config.folders.values(), *config.broken)}
    others = {name: other for name, other in others.items() if not _in_each_other(folder.path, paths[name])}
    if _in_each_other(real, state_dir) and not _in_each_other(folder.path, config.state_dir):
        message = f"a link makes the folder ({real}) and state_dir ({state_dir}) overlap"
        yield Remark("error", place_of(folder), message, "keep them apart")
    for name, other in others.items():
        if _in_each_other(real, other):
            message = f"a link makes it overlap with the drop folder {name} ({other})"
            yield Remark("error", place_of(folder), message, "keep them apart")


def _in_each_other(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _remote(config: Config, folders: Sequence[Folder], asked: dict[str, ProjectClient], order: Order) -> Iterator[Remark]:
    silent: set[tuple[str, str]] = set()
    for name in _projects(config, folders):
        project, its = config.projects[name], [folder for folder in folders if folder.project == name]
        asking(project.host)
        for remark in redcap_project.project_remarks(project, its, asked[name].redcap, order):
            # A server that does not answer is one trouble, however many projects it has.
            if not remark.later or (project.host, remark.message) not in silent:
                yield remark
            if remark.later:
                silent.add((project.host, remark.message))
        yield from _same_project(config, order, name)
        yield limit_remark(project, config.limit_of(project.host))
    asking(None)
    for folder in folders:
        for rule in folder.rules:
            held = order.unordered(folder.project) if takes_next(rule.instance) else None
            if held is not None:
                yield Remark("error", place_of(folder, rule), held.message, held.remedy)


def _same_project(config: Config, order: Order, name: str) -> Iterator[Remark]:
    """Another entry that leads to the same REDCap project, which only REDCap has told."""
    project = config.projects[name]
    for other in config.projects.values():
        if other.name == name:
            return
        number = order.number(name)
        if number is not None and other.api == project.api and order.number(other.name) == number:
            doubt = same_project(project, other)
            if doubt not in config.doubts:
                yield Remark(doubt.level, in_configuration(doubt.where), doubt.message, doubt.remedy)
            return
