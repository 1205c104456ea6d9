"""`dropcap preserved`: the copies of what REDCap held before it was replaced, and a way to fetch them."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

import click

from dropcap.cli import screen
from dropcap.cli.configured import config_option, folder_option, known, moment, outside_of_all_folders, query, stop, usable
from dropcap.cli.history import named
from dropcap.cli.jobs import clock, stamp
from dropcap.config.model import Config, PostgresLedger
from dropcap.daemon.state import LEDGER
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.filing.preserve import DIRECTORY, Copy, Differs, copies, fetch
from dropcap.threads import SerialExecutor

_ALL = 1_000_000
#: Of times that can be told, in whatever zone.
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
#: Seconds that a share is waited for.
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class _Found:
    """A copy, the folder whose files replaced it, the place in which it lies, and whether it is there."""

    folder: str
    place: Path
    copy: Copy
    there: bool

    @property
    def path(self) -> Path:
        return self.place / self.copy.name

    @property
    def when(self) -> float:
        try:
            found = datetime.fromisoformat(self.copy.preserved_at).timestamp()
        except (ValueError, OverflowError):
            return 0.0
        return found if 0 <= found < _LATEST else 0.0  # who may drop files may have written this on the share


@click.command("preserved")
@click.argument("name", metavar="[NAME]", required=False)
@config_option
@folder_option
@click.option("--record", metavar="R", help="Copies from this record.")
@click.option("--since", metavar="T", help="Kept since then: an age like 2h or 7d, or a day like 2026-11-24.")
@click.option("--to", "to", metavar="DIR", type=click.Path(path_type=Path), help="Fetch them into this directory.")
@click.option("--json", "as_data", is_flag=True, help="One JSON object a line, for programs.")
def preserved_command(
    name: str | None, config_path: Path, folder_name: str | None, record: str | None, since: str | None, to: Path | None,
    as_data: bool,
) -> None:  # fmt: skip
    """List the copies of what REDCap held before dropcap replaced it, oldest first; with --to, fetch them.

    NAME is a dropped file, named as for `dropcap history`: then what it replaced. Or it is a part of the name that the copy
    has, or had in REDCap, or the copy's path. Fetched copies get mode 0600, replace nothing, and are compared by their SHA-256.

    Exit code: 0; 1 if there is no such copy, or one could not be fetched whole.
    """  # fmt: skip
    config = usable(config_path.absolute(), tell=False)
    begin = moment(since)
    replaced: frozenset[str] = frozenset()
    if name is not None:
        replaced = _replaced_by(config, folder_name, name)
    found = [
        one
        for one in _everywhere(config, folder_name)
        if (record is None or one.copy.record == record) and one.when >= begin and _is_meant(one, name, replaced)
    ]
    found.sort(key=attrgetter("when", "path"))
    wrong = 0
    if to is not None:
        wrong = _fetched(config, found, to, as_data)
    elif as_data:
        for one in found:
            click.echo(json.dumps(_as_json(one)))
    else:
        _listed(found)
    if not found:
        screen.line("there is no such copy" if name or record or since or folder_name else "no copies were kept yet", err=True)
    asked_for = name is not None or record is not None or to is not None
    sys.exit(1 if wrong or (asked_for and not found) else 0)


def _everywhere(config: Config, only: str | None) -> list[_Found]:
    """All copies, also those of folders that have left the configuration, and those that an earlier dropcap kept on shares."""
    places = dict.fromkeys(_places(config))
    if only is not None:
        known("folder", only, {*config.folders, *(folder for folder, _, _ in places)})
    found: list[_Found] = []
    for folder, place, within in places:
        if only in (None, folder):
            found += _on_share(folder, place, within) if within else _in_place(folder, place, within)
    return found


def _on_share(folder: str, place: Path, within: str) -> list[_Found]:
    """A share may hang, and may be one of many."""
    try:
        return SerialExecutor(f"copies in {place}").run(_PATIENCE, _in_place, folder, place, within)
    except OSError as error:
        said = "it does not answer" if isinstance(error, TimeoutError) else error.strerror
        screen.line(f"{shown(str(place))} cannot be searched for old copies: {said}", err=True)
        return []


def _places(config: Config) -> Iterator[tuple[str, Path, str]]:
    """Folder, place, and the directory in it where the copies lie."""
    for name, folder in config.folders.items():
        yield name, config.keeps_in(folder), ""
        yield name, folder.path, DIRECTORY
    try:
        others = sorted(entry.name for entry in os.scandir(config.preserved) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return
    except OSError as error:
        _not_ours(config.preserved, error)
    for name in others:
        yield name, config.preserved / name, ""


def _in_place(folder: str, place: Path, within: str) -> list[_Found]:
    try:
        tree = Tree(place)
    except FileNotFoundError:
        return []
    except OSError as error:
        if within:
            raise
        _not_ours(place, error)
    try:
        return [_Found(folder, place, copy, tree.exists(copy.name)) for copy in copies(tree, within)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if within:
            raise
        _not_ours(place, error)
    finally:
        tree.close()


def _not_ours(place: Path, error: OSError) -> NoReturn:
    stop(f"{shown(str(place))} cannot be read ({error.strerror}): run this as dropcap's user, or as root", 2)


def _replaced_by(config: Config, folder: str | None, name: str) -> frozenset[str]:
    """The copies of what the dropped files of that name replaced."""
    if not isinstance(config.ledger, PostgresLedger) and not (config.state_dir / LEDGER).exists():
        return frozenset()
    folder, name = named(config, folder, name)
    with closing(query(config)) as ledger:
        jobs = ledger.recent(_ALL, folder=folder, name=name)
    return frozenset(path for job in jobs if (path := config.kept_at(job.folder, job.preserved_as)) is not None)


def _is_meant(one: _Found, name: str | None, replaced: frozenset[str]) -> bool:
    if name is None or str(one.path) in replaced or os.path.abspath(name) == str(one.path):
        return True
    return any(name.casefold() in text.casefold() for text in (os.path.basename(one.copy.name), one.copy.original_name))


def _listed(found: Sequence[_Found]) -> None:
    for one in found:
        copy = one.copy
        instance = "" if copy.instance is None else f" ({copy.instance})"
        place = " ".join(shown(part) for part in (copy.record, copy.event, copy.field) if part) + instance
        screen.line(f"{clock(one.when)}  {place}: {shown(copy.original_name)}, {copy.size} bytes", hang=4, bold=True)
        screen.line(f"sha256 {shown(copy.sha256)}", 4)
        screen.line(shown(str(one.path)) if one.there else f"not there any more: {shown(str(one.path))}", 4)


def _as_json(one: _Found) -> dict[str, object]:
    copy = one.copy
    return {
        "folder": one.folder,
        "preserved": stamp(one.when),
        "job": copy.job,
        "project": shown(copy.project),
        "record": shown(copy.record),
        "redcap_event": copy.event,
        "field": shown(copy.field),
        "instance": copy.instance,
        "original_name": shown(copy.original_name),
        "size": copy.size,
        "sha256": copy.sha256,
        "path": shown(str(one.path)),
        "there": one.there,
    }


def _fetched(config: Config, found: Sequence[_Found], to: Path, as_data: bool) -> int:
    """How many could not be fetched."""
    destination = outside_of_all_folders(config, to)
    if not found:
        return 0
    try:
        destination.mkdir(mode=0o700, parents=True, exist_ok=True)
        into = Tree(destination)
    except OSError as error:
        stop(f"{shown(str(to))} cannot be used ({error.strerror}): name a directory that you may write in", 2)
    wrong = 0
    try:
        for one in found:
            try:
                fetched = str(destination / fetch(one.place, one.copy, into))
            except (OSError, Differs) as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    stop(
                        f"there is no room in {shown(str(to))} for {shown(str(one.path))}: make some, and fetch the rest again", 1
                    )
                wrong += 1
                said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                screen.line(f"{shown(str(one.path))} was not fetched: {said}", err=True)
                continue
            click.echo(json.dumps({**_as_json(one), "fetched_as": shown(fetched)}) if as_data else shown(fetched))
    finally:
        into.close()
    return wrong
