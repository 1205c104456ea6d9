"""`dropcap history` and `dropcap explain`: what happened to a file, what people did, and which rule a name matches."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import click
from rich.cells import cell_len

from dropcap.cli import configured, screen
from dropcap.cli.configured import config_option, folder_option, known, moment, query, stop, usable
from dropcap.cli.jobs import (
    as_json,
    clock,
    file_of,
    minute,
    place_of,
    result_of,
    short_target_of,
    stamp,
    state_of,
)
from dropcap.config.model import Config, Folder
from dropcap.display import place, shown
from dropcap.ledger.chain import Act, AuditAction, AuditChannel
from dropcap.ledger.job import Event, Job
from dropcap.ledger.query import Query
from dropcap.ledger.reports import WantedJobs
from dropcap.naming.doctor import diagnose
from dropcap.reasons import Reason
from dropcap.redcap.request import safe_name
from dropcap.routing.pattern import normal
from dropcap.routing.route import NoRoute, Route, ignored, nearest

_TAKEN = ("in_progress", "failed")  # what lies there was dropped under the same name
_OWN = ("done", "preserved")


@click.command("explain")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--folder",
    "folder_name",
    metavar="F",
    shell_complete=configured.folders,
    help="The drop folder; else the one that NAME lies in, else all.",
)
@config_option
def explain_command(names: tuple[str, ...], folder_name: str | None, config_path: Path) -> None:
    """Tell which rule each NAME matches and where the file would go; else the nearest rule and where it stops.

    NAME is a file's name, with folders before it if it lies in some, or the path of a file in a drop folder.

    Exit code: 0 every name matches, 1 one does not, 2 the configuration cannot be used.
    """
    config = usable(config_path)
    folders = list(config.folders.values())
    if folder_name is not None:
        folders = [config.folders[known("folder", folder_name, config.folders)]]
    if not folders:
        stop("no folder in the configuration can be used; correct the problems above", 2)
    answers = [_explained(config, folders, name) for name in names]
    for number, (_, lines) in enumerate(answers):
        if number:
            click.echo()
        for line in lines:
            line.tell()
    sys.exit(0 if all(matched for matched, _ in answers) else 1)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line, how far it is indented, and how far what does not fit into it."""

    text: str
    indent: int = 2
    hang: int = 2
    mark: int | None = None  # the column beneath which a caret stands

    def tell(self) -> None:
        """Print it."""
        if self.mark is None:
            screen.line(self.text, self.indent, hang=self.hang)
            return
        text, mark = screen.around(self.text, self.mark)
        click.echo(text)
        click.echo(" " * mark + "^")


def _name(text: str) -> _Line:
    return _Line(text, 0, 4)


def _explained(config: Config, folders: Sequence[Folder], given: str) -> tuple[bool, list[_Line]]:
    """Whether `given` matches in one of `folders`, and what there is to say about it."""
    found = inside(folders, given)
    if found is not None:
        folders, name = [found[0]], found[1]
    else:
        name = given.removeprefix("./")
    if os.path.isabs(name):
        return False, [_name(shown(given)), _Line("lies in none of these folders: " + ", ".join(str(f.path) for f in folders))]
    head, _, rest = name.partition("/")
    if rest and head in _TAKEN:
        name = rest
    elif rest and head in _OWN:
        return False, [_name(shown(given)), _Line(f"lies in {head}/, where dropcap puts files: nothing there is taken")]

    if everywhere := ignored(name):
        return False, [_name(shown(name)), _Line(f"ignored: {shown(everywhere)}")]
    matching: list[_Line] = []
    refusing: list[_Line] = []
    others: list[Folder] = []
    for folder in folders:
        heading = _name(f"{shown(name)}  (folder {folder.name})")
        answer = folder.route(name)
        if why := folder.leaves(name):
            refusing += [heading, _Line(f"ignored: {shown(why)}")]
        elif isinstance(answer, Route):
            matching += [heading, *_route_lines(folder, answer)]
        elif answer.reason == Reason.BAD_VALUE:
            refusing += [heading, _Line(shown(answer.message)), _Line(f"what to do: {answer.remedy}")]
        else:
            others.append(folder)
    if matching or not others:
        return bool(matching), matching or refusing
    return False, refusing + _nearest_lines(others, name)


def inside(folders: Sequence[Folder], given: str) -> tuple[Folder, str] | None:
    """The folder in which the path `given` lies, and its relative name there."""
    if "/" not in given and not os.path.lexists(given):
        return None
    path = os.path.abspath(given)
    for folder in folders:
        for root in (str(folder.path), os.path.realpath(folder.path)):
            if path.startswith(root.rstrip("/") + "/"):
                return folder, path[len(root.rstrip("/")) + 1 :]
    return None


def _route_lines(folder: Folder, answer: Route) -> list[_Line]:
    rule, target = answer.rule, answer.target
    goes_to = f"project {folder.project}, "
    if target.record_where:
        goes_to += f"the one record with {_pairs(target.record_where)}, "
    goes_to += place(target.record, target.event, target.field, target.instance)
    settings = [
        f"{field.name} {_value(getattr(answer.settings, field.name))} ({rule.settings_from.get(field.name, 'built in')})"
        for field in dataclasses.fields(answer.settings)
    ]
    lines = [
        f"rule      {rule.name}: {shown(rule.pattern.text)}",
        f"captures  {_pairs(answer.captures) or 'none'}",
        f"goes to   {goes_to}",
        f"named     {shown(safe_name(target.upload_as))}",
    ]
    if target.must_match:
        lines.append(f"only if   the record has {_pairs(target.must_match)}")
    first, *others = [_Line(f"settings  {text}" if number == 0 else text, 2, 12) for number, text in enumerate(settings)]
    return [*(_Line(text, 2, 12) for text in lines), first, *(replace(one, indent=12) for one in others)]


def _nearest_lines(folders: Sequence[Folder], name: str) -> list[_Line]:
    found = [(near, folder) for folder in folders if (near := nearest(folder.rules, name)) is not None]
    if not found:
        answer = folders[0].route(name)
        assert isinstance(answer, NoRoute)
        return [_name(shown(name)), _Line(shown(answer.message)), *_meant(folders, name), _Line(f"what to do: {answer.remedy}")]
    furthest = max(near.rank for near, _ in found)
    near, folder = next(pair for pair in found if pair[0].rank == furthest)
    text = normal(name)
    caret = cell_len(shown(text[: near.position]))
    return [
        _Line(shown(text), 0, 0, caret),
        _Line(f"no rule matches; the nearest is in folder {folder.name}: {near.message}"),
        _Line(f"its pattern: {shown(near.rule.pattern.text)}"),
        *_meant(folders, name),
    ]


def _meant(folders: Sequence[Folder], name: str) -> list[_Line]:
    """The name that those who drop are told to give the file, if it is clear which: it may be another rule's than the nearest."""
    told = [(folder, diagnose(folder.rules, folder.name, name)) for folder in folders]
    return [
        _Line(f"probably meant: {shown(one.suggestion)} (folder {folder.name}, rule {one.rule.name})")
        for folder, one in told
        if one.suggestion is not None and one.rule is not None
    ]


def _pairs(values: dict[str, str]) -> str:
    return ", ".join(f"{shown(key)}={shown(value)}" for key, value in values.items())


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def who_of(act: Act) -> str:
    """Who did it, as far as the system tells."""
    if act.way == AuditChannel.ITSELF:
        return "dropcap"
    if act.uid is None:
        return f"{shown(act.name)} (on the page)" if act.way == AuditChannel.PAGE else "not known (a signal)"
    return _user(act) + (", on the page" if act.way == AuditChannel.PAGE else "")


def _user(act: Act) -> str:
    if act.login is not None and act.login != act.uid:
        return f"{shown(act.name) or act.login}, as uid {act.uid}"
    return f"{shown(act.name)} (uid {act.uid})" if act.name else f"uid {act.uid}"


def what_of(act: Act) -> str:
    """What it is about, in a line; of several hosts, on which it was done."""
    on = f"on {shown(str(act.told['host']))}" if "host" in act.told else ""
    return ", ".join(filter(None, [_what(act), on]))


def _what(act: Act) -> str:
    told = act.told
    match act.what:
        case AuditAction.PAUSE | AuditAction.RESUME:
            return shown(f"{told.get('scope')} {told.get('name')}" + (", let go of" if told.get("release") else ""))
        case AuditAction.RETRY:
            jobs = [str(job) for job in told.get("jobs", [])]
            more = "" if len(jobs) <= 10 else f" and {told.get('number', len(jobs)) - 10:,} more"
            return f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs[:10])}{more}"
        case AuditAction.ADOPT:
            return shown(f"folder {told.get('folder')}, {told.get('path')}")
        case AuditAction.RENAME:
            return shown(f"folder {told.get('from')} is {told.get('to')} now")
        case AuditAction.STARTED | AuditAction.RELOAD:
            return shown(f"dropcap {told.get('dropcap')}, configuration {str(told.get('configuration'))[:16]}…")
        case AuditAction.CREATED | AuditAction.MIGRATED:
            versions = f"version {told.get('from', 0)} to {told.get('to')}"
            return f"{versions}, {told.get('job', 0):,} jobs with {told.get('history', 0):,} entries"
        case AuditAction.EXPORTED | AuditAction.IMPORTED:
            rows = told.get("rows", {})
            return f"{rows.get('job', 0):,} jobs with {rows.get('history', 0):,} entries"
        case AuditAction.PRUNE:
            keeps = [f"{what} older than {seconds / 86400:g}d" for what, seconds in told.get("keep", {}).items()]
            forced = ["the clock was trusted"] if told.get("forced") else []
            return shown(", ".join([f"folders: {told.get('folders')}", *keeps, *forced]))
        case AuditAction.PRUNED:
            return f"{told.get('jobs'):,} jobs with {told.get('entries'):,} entries"
        case AuditAction.RESTORED:
            how = "a copy was put in its place" if told.get("copy") else "entries are missing"
            return shown(": ".join(filter(None, [how, ", ".join(told.get("lost", []))])))
        case _:
            return ""


COLUMNS = (
    *("job", "folder", "file", "size", "sha256", "dropped", "dropped_by_uid", "dropped_by", "state", "result", "confirmed"),
    *("ended", "seconds", "attempts", "reason", "message", "project", "redcap_url", "redcap_project_id", "redcap_project"),
    *("token_user", "record", "event", "field", "instance", "rule", "rule_text", "configuration_sha256", "dropcap"),
    *("filed_as", "preserved_as", "preserved_sha256", "again_of", "back_of"),
)
ACTS = ("act", "at", "uid", "login_uid", "name", "who", "way", "what", "about")

#: What a spreadsheet may take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def cell(value: Any) -> str:
    """A value as it stands in a cell: what could be a formula is text, by an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    text = shown(str(value))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def write(to: TextIO, heading: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows under a heading, if there is one; line ends as RFC 4180 wants them."""
    writer = csv.writer(to)
    if heading:
        writer.writerow(heading)
    for row in rows:
        writer.writerow([cell(value) for value in row])


def of_job(job: Job, origin: Mapping[str, Any]) -> tuple[Any, ...]:
    """The cells of a job, in the order of `COLUMNS`."""
    redcap, rule = origin.get("redcap") or {}, origin.get("rule")
    return (
        *(job.id, job.folder, job.name, job.size, job.sha256, stamp(job.claimed_at), job.dropped_by, job.dropped_by_name),
        *(job.state.value, job.result, job.confirmed, stamp(job.ended_at), job.seconds, job.attempts, job.reason, job.message),
        *(job.project, redcap.get("url"), redcap.get("project_id"), redcap.get("title"), redcap.get("user")),
        *(job.record, job.event, job.field, job.instance, job.rule, json.dumps(rule) if rule else None),
        *(origin.get("configuration"), origin.get("dropcap")),
        *(job.filed_as, job.preserved_as, job.preserved_sha256, job.again_of, job.back_of),
    )


def of_act(act: Act) -> tuple[Any, ...]:
    """The cells of an act, in the order of `ACTS`."""
    return act.n, stamp(act.at), act.uid, act.login, act.name, who_of(act), act.way, act.what, json.dumps(dict(act.told))


_LAST = 50
_NUMBER = re.compile("[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options."""

    name: str | None
    config_path: Path
    folder_name: str | None
    record: str | None
    failed: bool
    since: str | None
    until: str | None
    project_name: str | None
    acts: bool
    limit: int | None
    as_data: bool
    as_csv: bool


@click.command("history")
@click.argument("name", metavar="[NAME]", required=False)
@config_option
@folder_option
@click.option("--record", metavar="R", help="Files for this record.")
@click.option("--failed", is_flag=True, help="Only files that were refused.")
@click.option("--since", metavar="T", help="Dropped since then: an age like 2h or 7d, or a day like 2026-11-24.")
@click.option("--until", metavar="T", help="Dropped until then; a day is part of it.")
@click.option("--project", "project_name", metavar="P", help="Files for this project only.")
@click.option("--acts", is_flag=True, help="What people had dropcap do, and what happened to the ledger, in place of files.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 10**9),
    help=f"So many at most, the newest; else {_LAST}, or all of NAME, R or a time.",
)
@click.option("--json", "as_data", is_flag=True, help="One JSON object a line, for programs.")
@click.option("--csv", "as_csv", is_flag=True, help="A table for spreadsheets.")
def history_command(**options: Any) -> None:
    """Tell what happened to the files called NAME, step by step; without NAME, list the last files.

    NAME is a file's name, in whatever subfolder, or its path in the drop folder, as it was dropped or as it lies there now;
    or the number of a job. Where a name, a record or a time is asked for, all that there are are told.

    Exit code: 0; 1 if no such file is known.
    """
    asked = _Asked(**options)
    if asked.as_data and asked.as_csv:
        raise click.UsageError("--json or --csv, not both")
    config = usable(asked.config_path.absolute(), tell=False)
    period = (moment(asked.since), moment(asked.until, end=True))
    if asked.acts:
        _acts(config, asked, period)
        return
    folder, name = asked.folder_name, asked.name
    if name is not None:
        folder, name = named(config, folder, name)
    every = name is not None or asked.record is not None
    with closing(query(config)) as ledger:
        if folder is not None and ledger.known_folder(folder) is None:
            known("folder", folder, config.folders)
        wanted = _by_number(ledger, WantedJobs(asked.failed, *period, folder, asked.project_name, name, asked.record))
        newest = asked.limit or (None if every or asked.since or asked.until else _LAST)
        told = _told(config, ledger, wanted, newest, asked)
        more = ledger.number(wanted) - told if newest is not None and told == newest else 0
    if more > 0:
        screen.line(f"{more:,} more: --since, --until or --limit tells them", err=True)
    if told:
        sys.exit(0)
    if not (asked.as_data or asked.as_csv) or every:
        screen.line(_nothing(asked, name), err=True)
    sys.exit(1 if every else 0)


def _by_number(ledger: Query, wanted: WantedJobs) -> WantedJobs:
    """The same; where no file is called so, by the number that people read in the text beside a file."""
    name = wanted.name
    if name is None or not _NUMBER.fullmatch(name) or ledger.number(wanted):
        return wanted
    return replace(wanted, name=None, job=int(name))


def _told(config: Config, ledger: Query, wanted: WantedJobs, newest: int | None, asked: _Asked) -> int:
    """Tell of these jobs, the newest last, where the eye is on a terminal; how many there are."""
    origin = lru_cache(64)(ledger.document)
    number = 0
    if asked.as_csv:
        write(sys.stdout, COLUMNS, ())
    listed: list[Job] = []
    for job in ledger.each(wanted, newest):
        number += 1
        if asked.as_data:
            click.echo(json.dumps(as_json(config, job, ledger.history(job.id), origin(job.origin))))
        elif asked.as_csv:
            write(sys.stdout, (), [of_job(job, origin(job.origin))])
        elif asked.name is not None:
            if number > 1:
                click.echo()
            _one(config, job, ledger.history(job.id), origin(job.origin))
        else:
            listed.append(job)
    if listed:
        rows = [(str(job.id), minute(job.claimed_at), file_of(job), short_target_of(job), result_of(job)) for job in listed]
        screen.table(("JOB", "DROPPED", "FILE", "RECORD, EVENT, FIELD", "STATE"), rows, {"JOB"})
    return number


def _acts(config: Config, asked: _Asked, period: tuple[float, float]) -> None:
    if any((asked.name, asked.record, asked.failed, asked.folder_name, asked.project_name)):
        raise click.UsageError("--acts are of the whole dropcap: only --since, --until and --limit confine them")
    with closing(query(config)) as ledger:
        acts = ledger.acts(*period)
    acts = acts[-asked.limit :] if asked.limit else acts
    if asked.as_data:
        for act in acts:
            click.echo(json.dumps({**asdict(act), "at": stamp(act.at), "told": dict(act.told)}))
    elif asked.as_csv:
        write(sys.stdout, ACTS, [of_act(act) for act in acts])
    else:
        rows = [(str(act.n), clock(act.at), who_of(act), act.what.replace("_", " "), what_of(act)) for act in acts]
        screen.table(("ACT", "WHEN", "WHO", "WHAT", "ABOUT"), rows, {"ACT"})


def named(config: Config, folder_name: str | None, name: str) -> tuple[str | None, str]:
    """The folder and the name in it, if `name` is the path of a file in a drop folder; else as they were given."""
    found = inside(list(config.folders.values()), name)
    if found is not None:
        folder_name, name = found[0].name, found[1]
    head, _, rest = name.removeprefix("./").partition("/")
    return folder_name, rest if rest and head == "in_progress" else name.removeprefix("./")


def _nothing(asked: _Asked, name: str | None) -> str:
    what = "no file"
    if name is not None:
        what = f"no file and no job {name}" if _NUMBER.fullmatch(name) else f"no file called {shown(name)}"
    if asked.record is not None:
        what += f" for record {shown(asked.record)}"
    if asked.failed:
        what += " that failed"
    if asked.since is not None:
        what += f" since {asked.since}"
    return f"{what} is known to the ledger"


def _one(config: Config, job: Job, steps: list[Event], origin: Mapping[str, Any]) -> None:
    screen.line(f"{file_of(job)}  job {job.id}: {state_of(job)}", hang=4, bold=True)
    target = place(job.record, job.event, job.field, job.instance)
    copy = shown(config.kept_at(job.folder, job.preserved_as) or "")
    about = {
        "dropped": f"{clock(job.claimed_at)}, {job.size} bytes{_owner(job)}",
        "goes to": f"project {job.project}" + (f", {target}" if target else "") if job.project else "",
        "rule": job.rule,
        "REDCap": _redcap(origin),
        "sha256": job.sha256 or "",
        "result": (job.result or "").replace("_", " "),
        "confirmed": {"readback": "read back, the same bytes", "listed": "listed in the record", "none": "not looked at"}.get(
            job.confirmed or "", ""
        ),
        "why": job.message or job.reason or "",
        "what to do": job.remedy or "",
        "preserved": copy + (f" (sha256 {job.preserved_sha256})" if job.preserved_sha256 else ""),
        "lies in": _place(config, job),
        "before": f"job {job.again_of or job.back_of}" if job.again_of or job.back_of else "",
        "tried again": f"as job {job.tried_again}" if job.tried_again and job.tried_again != job.id else "",
    }
    for word, text in about.items():
        if text:
            screen.line(f"{word + ':':<12} {text}", 2, hang=15)
    screen.line("steps:", 2)
    for step in steps:
        screen.line(f"{clock(step.at)}  {step.state.value}" + (f": {step.note}" if step.note else ""), 4, hang=25)


def _owner(job: Job) -> str:
    if job.dropped_by is None:
        return ""
    return (
        f", a file of {shown(job.dropped_by_name)} (uid {job.dropped_by})"
        if job.dropped_by_name
        else f", a file of uid {job.dropped_by}"
    )


def _redcap(origin: Mapping[str, Any]) -> str:
    told = origin.get("redcap") or {}
    number = f"project {told['project_id']}" if told.get("project_id") is not None else ""
    title, user = (shown(str(told.get(key) or "")) for key in ("title", "user"))
    return ", ".join(part for part in (told.get("url"), number, title, f"token of {user}" if user else "") if part)


def _place(config: Config, job: Job) -> str:
    lies = place_of(job)
    if lies is None:
        return "" if job.tried_again and job.tried_again != job.id else "not with dropcap any more: somebody took it away"
    folder = config.folders.get(job.folder)
    return shown(os.path.join(folder.path, lies) if folder else lies)
