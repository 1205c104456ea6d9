"""`dropcap dry-run`: what would happen to the files that lie in the folders, before anything does."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from dropcap.cli import completion, screen
from dropcap.cli.asking import chosen, lines, remembered
from dropcap.cli.configured import cannot_read, config_option, stop, usable
from dropcap.cli.dry_run_report import report
from dropcap.cli.dry_run_words import goal, word
from dropcap.cli.outside import outside_of_all_folders
from dropcap.config.ledger_at import PostgresLedger
from dropcap.config.model import Config, Folder
from dropcap.delivery.line import ProjectLine
from dropcap.display import shown
from dropcap.files.lease import ignore_lease_breaks
from dropcap.intake import owner
from dropcap.intake.left import Marks
from dropcap.intake.mounts import Mounts
from dropcap.ledger.errors import DatabaseError
from dropcap.preflight import drop_folder as drop_folder
from dropcap.preflight.project import trouble
from dropcap.preflight.rehearsal import missing_records, rehearse
from dropcap.preflight.remark import Part, Place, Remark
from dropcap.preflight.survey import LANDS, QUIET, FirstWatched, Lying, Prospect, survey
from dropcap.redcap.client import RedcapError

#: The first character of a cell that a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@click.command("dry-run")
@config_option
@click.option("--folder", "folder_name", metavar="F", shell_complete=completion.folders, help="This drop folder only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--csv", "csv_path", metavar="FILE", type=click.Path(path_type=Path), help="Write a table of all files as well.")
@click.option(
    "--report",
    "report_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a page to read, print or pass on as well.",
)
def dry_run_command(
    config_path: Path, folder_name: str | None, as_json: bool, csv_path: Path | None, report_path: Path | None
) -> None:
    """Tell for each file that lies in the folders where it would land, or why it would not. Nothing is changed or sent.

    Records are looked up in REDCap. Whether a field's file is the same as the new one is not found out: that would take
    an export of each.

    Exit codes: 0 all files would land; 1 some would not; 2 usage or configuration; 3 REDCap could not be asked.
    """
    config = usable(config_path)
    folders = chosen(config, folder_name)
    ignore_lease_breaks()
    troubles, found = _surveyed(config, folders)
    with lines(config) as asked:
        prospects = _rehearsed(config, folders, found, asked, troubles)
    if csv_path is not None:
        _write_csv(csv_path, prospects, config)
    if report_path is not None:
        page = report(prospects, troubles, [folder.name for folder in folders], datetime.now().astimezone())
        with open(_new("--report", report_path, config), "w", encoding="utf-8") as file:
            file.write(page)
    if as_json:
        click.echo(json.dumps(_as_json(prospects, troubles), ensure_ascii=True, indent=1))
    else:
        _tell(prospects, troubles)
    sys.exit(_code(prospects, troubles, config))


def _surveyed(config: Config, folders: Sequence[Folder]) -> tuple[list[Remark], list[Prospect | Lying]]:
    """What lies in the folders; why some cannot be looked at."""
    troubles: list[Remark] = []
    found: list[Prospect | Lying] = []
    mounts = Mounts.now()
    with ExitStack() as stack:
        try:
            known = drop_folder.Remembered(stack.enter_context(remembered(config)))
        except DatabaseError as error:
            if isinstance(config.ledger, PostgresLedger):
                stop(cannot_read(config.ledger, error), 2)
            stop(f"the ledger in {config.state_dir} cannot be read ({error}): run this as dropcap's user", 2)
        for folder in folders:
            tree = drop_folder.open_folder(folder)
            if isinstance(tree, Remark):
                troubles.append(tree)
                continue
            stack.callback(tree.close)
            mount = drop_folder.mount_of(tree, folder, mounts)
            try:
                mark = owner.examine(tree, folder.name, str(folder.path), mount, known)
                open_names = frozenset(known.open_files(folder.name))
                first = FirstWatched(mark.since_ns if mark else None, Marks(known.left_marks(folder.name)))
                found += survey(folder, tree, mount.local, first, open_names)
            except (owner.Away, OSError) as error:
                troubles.append(Remark("error", Place(Part.FOLDER, folder.name), f"nothing would be taken: {error}"))
    return troubles, found


def _rehearsed(
    config: Config,
    folders: Sequence[Folder],
    found: Sequence[Prospect | Lying],
    asked: Mapping[str, ProjectLine],
    troubles: list[Remark],
) -> list[Prospect]:
    """What REDCap says to those that would be taken; in the order of `found`."""
    said: dict[tuple[str, str], Prospect] = {}
    groups: dict[str, list[Lying]] = defaultdict(list)
    for one in found:
        if isinstance(one, Lying):
            groups[one.prospect.project].append(one)
    for name, lying in groups.items():
        try:
            for prospect in rehearse(asked[name], asked[name].structure(), lying):
                said[prospect.folder, prospect.name] = prospect
        except RedcapError as error:
            its = [folder for folder in folders if folder.project == name]
            troubles.append(trouble(config.projects[name], its, error.meaning))
        except OSError as error:
            stop(f"the request window cannot be used ({error}): run this as dropcap's user", 1)
    return [one if isinstance(one, Prospect) else said.get(_key(one.prospect)) or _not_asked(one.prospect) for one in found]


def _key(prospect: Prospect) -> tuple[str, str]:
    return prospect.folder, prospect.name


def _not_asked(prospect: Prospect) -> Prospect:
    return dataclasses.replace(prospect, outcome="not_asked", message="REDCap could not be asked about its record")


def _code(prospects: Sequence[Prospect], troubles: Sequence[Remark], config: Config) -> int:
    if troubles and all(trouble.later for trouble in troubles):
        rest = {one.outcome for one in prospects} - QUIET
        return 3 if rest <= {"not_asked"} else 1
    return 0 if not troubles and not config.problems and all(one.outcome in QUIET for one in prospects) else 1


def _tell(prospects: Sequence[Prospect], troubles: Sequence[Remark]) -> None:
    for one in prospects:
        if one.outcome != "ignored":
            remedy = f"; {one.remedy}" if one.remedy else ""
            said = f"{shown(one.folder)}/{shown(one.name)}: {word(one.outcome)}: {_goal(one)}{shown(one.message)}{remedy}"
            screen.line(said, hang=4)
    for trouble_ in troubles:
        screen.line(str(trouble_), hang=9)
    if prospects or troubles:
        click.echo("")
    total = sum(one.outcome in LANDS for one in prospects)
    click.echo(f"{len(prospects)} file{'' if len(prospects) == 1 else 's'}: {total} would land in REDCap")
    for outcome, count in Counter(one.outcome for one in prospects).most_common():
        click.echo(f"  {count:6}  {word(outcome)}")
    rules = Counter((one.folder, one.rule) for one in prospects if one.rule)
    if rules:
        click.echo("by rule:")
    for (folder, rule), count in rules.most_common():
        lands = sum(one.outcome in LANDS for one in prospects if (one.folder, one.rule) == (folder, rule))
        click.echo(f"  {count:6}  {shown(folder)}/{shown(rule)}, {lands} of them would land")
    missing = missing_records(prospects)
    if missing:
        click.echo("records that REDCap does not have:")
    for record, count in missing.items():
        click.echo(f"  {count:6}  {shown(record)}")


def _goal(one: Prospect) -> str:
    return f"{shown(goal(one))}: " if one.outcome in LANDS else ""


def _as_json(prospects: Sequence[Prospect], troubles: Sequence[Remark]) -> dict[str, Any]:
    return {
        "files": [{key: _text(value) for key, value in dataclasses.asdict(one).items()} for one in prospects],
        "summary": {
            "files": len(prospects),
            "would_land": sum(one.outcome in LANDS for one in prospects),
            "outcomes": dict(Counter(one.outcome for one in prospects)),
            "rules": {f"{f}/{r}": n for (f, r), n in Counter((one.folder, one.rule) for one in prospects if one.rule).items()},
            "missing_records": dict(missing_records(prospects)),
        },
        "problems": [
            {"level": one.level, "where": str(one.where), "message": one.message, "remedy": one.remedy} for one in troubles
        ],
    }


def _text(value: Any) -> Any:
    return shown(value) if isinstance(value, str) else value


def _new(option: str, path: Path, config: Config) -> int:
    """A new file, open to be written: it names records, so it is for whoever runs this alone."""
    outside_of_all_folders(config, path)
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        stop(f"{option} {path} exists already: name another file, or remove it", 2)
    except OSError as error:
        stop(f"{option} {path} cannot be written ({error.strerror}): name another file", 2)


def _write_csv(path: Path, prospects: Sequence[Prospect], config: Config) -> None:
    fd = _new("--csv", path, config)
    names = [field.name for field in dataclasses.fields(Prospect)]
    with open(fd, "w", encoding="utf-8-sig", newline="") as file:  # the mark tells spreadsheets that it is UTF-8
        table = csv.writer(file)
        table.writerow(names)
        table.writerows([_cell(getattr(one, name)) for name in names] for one in prospects)


def _cell(value: object) -> str:
    text = shown(str(value))
    return f"'{text}" if text.startswith(_FORMULA) else text
