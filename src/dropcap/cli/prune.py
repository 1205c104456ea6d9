"""`dropcap prune`: remove what `keep` says is over, and tell of it first."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from dropcap.cli import screen
from dropcap.cli.configured import alone, asked, config_option, folder_option, known, project_clients, stop, usable
from dropcap.config.model import Config, Folder, PostgresLedger
from dropcap.config.secrets import SecretError
from dropcap.daemon import log
from dropcap.daemon.control import released_of
from dropcap.daemon.engine import Keeping
from dropcap.daemon.log import mask_of
from dropcap.daemon.prune import Pruning, What, of_all, of_folder
from dropcap.display import many, shown
from dropcap.files.regular import ignore_lease_breaks
from dropcap.intake import owner
from dropcap.intake.mounts import Mounts, open_tree
from dropcap.intake.owner import Run
from dropcap.ledger.chain import AuditActor
from dropcap.ledger.store import Ledger
from dropcap.preflight.drop_folder import mount_of
from dropcap.redcap.request import RedcapError

#: Seconds by which our clock may differ from a REDCap's.
_AGREES = 86400.0
#: Things of a kind that are named one by one.
_NAMED = 20
_WORDS = {
    What.DONE: ("file in done/", "files in done/"),
    What.SUBFOLDER: ("empty subfolder", "empty subfolders"),
    What.PRESERVED: ("copy of what REDCap held", "copies of what REDCap held"),
    What.HISTORY: ("file's history", "files' histories"),
}

#: Asks dropcap for a step.
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(slots=True)
class _Seen:
    """What is over, in the steps in which it was found, and what is not known."""

    steps: list[tuple[str, What, list[dict[str, Any]]]] = field(default_factory=list)
    cannot: dict[str, str] = field(default_factory=dict)  # folders in which nothing was done, and why
    elsewhere: dict[str, str] = field(default_factory=dict)  # those that are another host's, and whose
    doubtful: int = 0

    def add(self, folder: str, answer: dict[str, Any]) -> bool:
        """Whether a step could be done there."""
        for where, why in (("cannot", self.cannot), ("elsewhere", self.elsewhere)):
            if where in answer:
                why[folder] = answer[where]
                return False
        return True


@click.command("prune")
@config_option
@folder_option
@click.option("--dry-run", is_flag=True, help="Tell what would go, and remove nothing.")
@click.option("--force", is_flag=True, help="Trust this machine's clock, and the times in the ledger.")
@click.option("--json", "as_data", is_flag=True, help="One JSON object, for programs.")
def prune_command(config_path: Path, folder_name: str | None, dry_run: bool, force: bool, as_data: bool) -> None:
    """Remove what `keep` in the configuration says is over: from done/ the files that REDCap gave out byte by byte and nobody has
    changed, copies of what REDCap held that no open job relies on, empty subfolders, history. It is told first.

    Nothing is removed while this machine's clock and a REDCap's are more than a day apart, or none can be asked for the time.
    Where dropcap runs, it does all of it; of several hosts, each in the folders in which it works.

    Exit code: 0; 1 if the clock is wrong, or something could not be looked at or removed; 3 if no REDCap could be asked for the
    time; 4 if the dropcap that runs does not answer.
    """
    config = usable(config_path.absolute())
    if folder_name is not None:
        known("folder", folder_name, config.folders)
    keep = config.keep
    kept_for = {
        What.DONE: keep.done,
        What.SUBFOLDER: keep.empty_subfolders,
        What.PRESERVED: keep.preserved,
        What.HISTORY: keep.history,
    }
    asked_for = {what.value: seconds for what, seconds in kept_for.items() if seconds is not None}
    if not asked_for:
        stop("`keep` is not set in the configuration, so that all is kept for ever: there is nothing to remove", 0)
    now = time.time() if force else _time(config, folder_name)
    gone: list[dict[str, Any]] = []
    with _dropcap(config) as ask:
        begun = ask({"step": "begin", "keep": asked_for, "now": now, "forced": force})
        ages: dict[str, Any] = begun["ages"]
        folders = [folder_name] if folder_name is not None else sorted({*config.folders, *begun["folders"]})
        seen = _looked(ask, config, folders, ages, put_back=not dry_run)
        if not as_data:
            _show(seen)
        if not dry_run:
            if seen.steps:
                ask({"step": "act", "told": {"keep": asked_for, "folders": folder_name or "all", "forced": force}})
            gone = _removed(ask, seen, ages)
            well = [name for name in folders if name in config.folders and name not in {*seen.cannot, *seen.elsewhere}]
            ask({"step": "end", "folders": well, "now": now})
    if keep.history is not None and folder_name is None:
        _old_ledgers(config.state_dir, now - keep.history, dry_run)
    over = [one for _, _, found in seen.steps for one in found]
    if as_data:
        click.echo(json.dumps(_as_json(seen, over, gone, dry_run=dry_run), indent=1))
    else:
        _tell(seen, over, gone, dry_run=dry_run)
    sys.exit(1 if seen.cannot or seen.doubtful or (len(gone) < len(over) and not dry_run) else 0)


def _old_ledgers(state_dir: Path, before: float, dry_run: bool) -> None:
    """Remove the copies that upgrades have left, which hold names as the history does, or tell of them."""
    for copy in state_dir.glob("ledger.before-*.db"):
        with contextlib.suppress(OSError):
            if copy.stat().st_mtime < before:
                if not dry_run:
                    copy.unlink()
                said = "would be" if dry_run else "is"
                screen.line(f"{copy.name}, the ledger before an upgrade, {said} removed: keep.history is over", err=True)


# The time -------------------------------------------------------------------------------------------------------------------


def _time(config: Config, folder_name: str | None) -> float:
    """This machine's time, which a REDCap has confirmed; or the end."""
    first = [config.projects[config.folders[folder_name].project]] if folder_name is not None else []
    projects = dict.fromkeys([*first, *config.projects.values()])
    said: dict[str, str] = {}  # by the way there
    with project_clients(config) as to:
        for project in projects:
            if project.server in said:
                continue
            client = to[project.name].redcap
            why = "it does not tell the time"
            try:
                client.version()
            except RedcapError as error:  # whatever it answers, the reply may tell the time
                why = str(error)
            except SecretError as error:
                why = error.message
            if client.heard is not None and client.ahead is not None:
                _must_agree(project.host, client.ahead)
                return client.heard
            said[project.server] = f"{project.host}: {why}"
    why = "; ".join(shown(one) for one in said.values()) or "no project is configured"
    return stop(
        f"no REDCap could be asked for the time ({why}): nothing was removed, since a wrong clock would remove too much."
        " Try again once one answers, or, if this machine's clock is right, use --force",
        3,
    )


def _must_agree(host: str, ahead: float) -> None:
    if abs(ahead) > _AGREES:
        days, how = f"{abs(ahead) / 86400:,.0f} days", "ahead of" if ahead > 0 else "behind"
        stop(
            f"this machine's clock is {days} {how} that of {shown(host)}: nothing was removed. Set the clock"
            " (timedatectl), then try again; if it is REDCap's that is wrong, use --force",
            1,
        )


# Whom to ask ----------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _dropcap(config: Config) -> Iterator[Ask]:
    """The dropcap that runs; else this process, while none does."""

    def running(step: dict[str, Any]) -> dict[str, Any]:
        told = asked(config, {"do": "prune"} | step)
        if told is None:
            stop(
                "the running dropcap has ended, or takes too long: what it was told to remove may still go;"
                " run this again for the rest",
                1,
            )
        return told

    if asked(config, {"do": "status"}) is not None:
        yield running
        return
    if isinstance(config.ledger, PostgresLedger):
        stop(
            "no dropcap runs on this host, or none that answers: with a ledger on PostgreSQL only the host that works in a folder"
            " may remove anything there. Run this where dropcap runs",
            1,
        )
    ignore_lease_breaks()
    log.set_up(config.log.format, "error" if sys.stderr.isatty() else config.log.level, mask=mask_of(config))
    with alone(config) as ledger:
        yield _Alone(config, ledger).step


class _Alone:
    """What a running dropcap would do, done here while none runs."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        self.config = config
        self._ledger = ledger
        self._keeping = Keeping(self)
        self._run = Run.of(config.state_dir)
        self._opened: dict[str, Pruning | str] = {}

    def step(self, asked_for: dict[str, Any]) -> dict[str, Any]:
        name = asked_for.get("folder")
        if name is None:
            return of_all(self._ledger, asked_for, AuditActor.me())
        if name not in self._opened:
            self._opened[name] = self._open(name, self.config.folders.get(name))
        there = self._opened[name]
        return {"cannot": there} if isinstance(there, str) else of_folder(there, asked_for, AuditActor.me())

    def _open(self, name: str, folder: Folder | None) -> Pruning | str:
        """The folder if it is ours; else why nothing may be done there."""
        if folder is None:
            return Pruning(self._ledger, name, None, None, None)
        if name in released_of(self._ledger.query):
            return f"it was let go of; go on with: dropcap resume --folder {screen.typed(name)}"
        try:
            tree = open_tree(folder.path)
            mount = mount_of(tree, folder, Mounts.now())
            marker = owner.examine(tree, name, str(folder.path), mount, owner.KnownFolders(self._ledger.query))
        except owner.Away as away:
            return str(away)
        except OSError as error:
            return f"{folder.path} cannot be opened ({error.strerror}); mount it, or let dropcap's user read and write there"
        if marker is None:
            return "dropcap has not worked there yet"
        if not self._run.knows(marker.beat):
            return "it was kept last before this machine was started, or by a copy of it: start dropcap, which finds out"
        keep = self._keeping.of(folder)
        if why := self._keeping.unsafe(folder, keep):
            return why
        return Pruning(self._ledger, name, folder, tree, keep)


# Looking and removing -------------------------------------------------------------------------------------------------------


def _looked(ask: Ask, config: Config, folders: Sequence[str], ages: dict[str, Any], *, put_back: bool) -> _Seen:
    seen = _Seen()
    for name in folders:
        kinds = [what for what in What if what in ages and (name in config.folders or what is What.HISTORY)]
        if put_back and name in config.folders and not seen.add(name, ask({"step": "put_back", "folder": name})):
            continue
        for what in kinds:
            after: str | int | None = None
            while True:
                step = {"step": "look", "folder": name, "what": what, "age": ages[what], "after": after}
                if not seen.add(name, answer := ask(step)):
                    break
                if answer["over"]:
                    seen.steps.append((name, what, answer["over"]))
                seen.doubtful += answer["doubtful"]
                after = answer["after"]
                if after is None:
                    break
    return seen


def _removed(ask: Ask, seen: _Seen, ages: dict[str, Any]) -> list[dict[str, Any]]:
    gone = []
    for name, what, over in seen.steps:
        step = {"step": "remove", "folder": name, "what": what, "age": ages[what], "keys": [one["key"] for one in over]}
        if name not in seen.cannot and seen.add(name, answer := ask(step | {"days": What.SUBFOLDER in ages})):
            gone += [one for one in over if one["key"] in answer["gone"]]
    return gone


# Telling --------------------------------------------------------------------------------------------------------------------


def _show(seen: _Seen) -> None:
    kinds: dict[tuple[str, What], list[dict[str, Any]]] = defaultdict(list)
    for name, what, over in seen.steps:
        kinds[name, what] += over
    for (name, what), over in kinds.items():
        screen.line(f"{shown(name)}: {_many(what, over)}", bold=True)
        if what is not What.HISTORY:
            screen.names([one["name"] for one in over[:_NAMED]], len(over) - _NAMED, 4)


def _many(what: What, over: Sequence[dict[str, Any]]) -> str:
    size = sum(one["size"] for one in over)
    told = f", {size / 1024**2:,.1f} MiB" if size else ""
    return f"{len(over):,} {_WORDS[what][len(over) != 1]}{told}"


def _tell(seen: _Seen, over: Sequence[dict[str, Any]], gone: Sequence[dict[str, Any]], *, dry_run: bool) -> None:
    for name, host in seen.elsewhere.items():
        where = f"on {shown(host)}" if host else "no host works in it now"
        screen.line(f"{shown(name)}: not looked at: it is another host's ({where}); run this there", hang=4, err=True)
    for name, why in seen.cannot.items():
        screen.line(f"{shown(name)}: {shown(why)}", hang=4, err=True)
    if seen.doubtful:
        text = (
            f"{many(seen.doubtful, 'thing')} kept, since the times in the ledger contradict each other: a clock was wrong. They"
            " go once what came before them is old as well, or with --force"
        )
        screen.line(text, hang=4, err=True)
    if not over:
        screen.line("there is nothing to remove")
    elif dry_run:
        screen.line("nothing was removed: run this without --dry-run for that")
    else:
        parts = [_many(what, its) for what in What if (its := [one for one in gone if one["what"] == what])]
        screen.line(f"removed: {', '.join(parts) or 'nothing'}")
    if len(gone) < len(over) and not dry_run:
        number = f"{len(over) - len(gone):,}"
        text = f"{number} stayed: somebody needs, has changed or took them, or they cannot be removed (see dropcap history)"
        screen.line(text, hang=4, err=True)


def _as_json(seen: _Seen, over: Sequence[dict[str, Any]], gone: Sequence[dict[str, Any]], *, dry_run: bool) -> dict[str, Any]:
    went = {(one["what"], one["folder"], one["key"]) for one in gone}
    return {
        "dry_run": dry_run,
        "over": [
            {
                "what": one["what"],
                "folder": one["folder"],
                "job": one["key"] if isinstance(one["key"], int) else None,
                "name": shown(one["name"]) or None,
                "size": one["size"],
                "removed": (one["what"], one["folder"], one["key"]) in went,
            }
            for one in over
        ],
        "not_done": [{"folder": name, "why": shown(why)} for name, why in seen.cannot.items()],
        "elsewhere": [{"folder": name, "host": host or None} for name, host in seen.elsewhere.items()],
        "doubtful": seen.doubtful,
    }
