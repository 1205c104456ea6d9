"""`dropcap dry-run`: what would happen to the files that lie in the folders, before anything does."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from dropcap import __version__
from dropcap.cli import configured, screen
from dropcap.cli.configured import (
    cannot_read,
    chosen,
    config_option,
    outside_of_all_folders,
    project_clients,
    remembered,
    stop,
    usable,
)
from dropcap.cli.history import write
from dropcap.config.model import Config, Folder, PostgresLedger
from dropcap.delivery.project_client import ProjectClient
from dropcap.display import many, place, shown
from dropcap.files.regular import ignore_lease_breaks
from dropcap.intake import owner
from dropcap.intake.mounts import Mounts
from dropcap.intake.strays import Marks
from dropcap.ledger.database import DatabaseError
from dropcap.preflight import drop_folder
from dropcap.preflight.project import trouble
from dropcap.preflight.rehearsal import LANDS, QUIET, FirstWatched, Lying, Prospect, missing_records, rehearse, survey
from dropcap.preflight.remark import Part, Place, Remark
from dropcap.reasons import Reason, explained
from dropcap.redcap.client import RedcapError

_WORDS = {
    "stored": "would be stored",
    "replaces": "would replace a file",
    "creates_record": "would be stored in a new record",
    "ignored": "ignored",
    "unsettled": "not settled yet",
    "incomplete": "not taken until it is whole",
    "waits": "would wait",
    "rights": "would be held (rights)",
    "left": "left alone",
    "not_a_file": "no regular file",
    "not_asked": "REDCap could not be asked",
}


def word(outcome: str) -> str:
    """An outcome, or the reason for which a file would be refused, in words."""
    return _WORDS.get(outcome, f"would fail ({outcome})")


def goal(one: Prospect) -> str:
    """Where a file would land; empty if it would not."""
    return place(one.record, one.event, one.field, one.instance) if one.outcome in LANDS else ""


_STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfa;--ink:#1b2126;--quiet:#58626b;--line:#e0e4e4;
--good:#0d7762;--wait:#936000;--bad:#8f1a10}
@media(prefers-color-scheme:dark){:root{--bg:#13171a;--ink:#e7ebee;--quiet:#a1acb5;--line:#2d353b;
--good:#86dcc0;--wait:#f0b84a;--bad:#ff7d6b}}
@page{size:A4;margin:16mm}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.5rem 1rem 3rem;background:#fff;background:var(--bg);color:#000;color:var(--ink);
font:1rem/1.5 "Segoe UI",system-ui,sans-serif}
h1{font-size:1.75rem;line-height:1.3;font-weight:600;margin:0 0 .5rem}
h2{font-size:1.125rem;font-weight:600;margin:2.5rem 0 .5rem;break-after:avoid}
p{margin:.25rem 0;max-width:40rem}
b{font-weight:600}
.q,th,dt{color:var(--quiet);font-size:.875rem;font-weight:400}
.good{color:var(--good)}.wait{color:var(--wait)}.bad{color:var(--bad)}
dl{display:flex;flex-wrap:wrap;gap:.75rem 2.5rem;border:solid var(--line);border-width:1px 0;padding:.75rem 0;margin:1.5rem 0}
dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;overflow-wrap:anywhere}
caption{text-align:left;color:var(--quiet);font-size:.875rem;padding-bottom:.25rem}
th{text-align:left;vertical-align:bottom;padding:0 .75rem .25rem 0}
td{border-top:1px solid var(--line);padding:.4rem .75rem .4rem 0;vertical-align:top;font-size:.9375rem}
td:first-child{width:38%}
tr{break-inside:avoid}
code{font:.9375em "Cascadia Mono",Consolas,ui-monospace,monospace}
thead{display:table-header-group}
@media print{:root{--bg:#fff;--ink:#000}body{padding:0;max-width:none}}
@media(max-width:44rem){table,tbody,tr,td{display:block;width:auto}thead{display:none}td:first-child{width:auto}
td+td{border:0;padding-top:0}}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def report(prospects: Sequence[Prospect], troubles: Sequence[Remark], folders: Sequence[str], now: datetime) -> str:
    """The whole page. Pure; names are shown with what could mislead a reader escaped."""
    lands = [one for one in prospects if one.outcome in LANDS]
    others = [one for one in prospects if one.outcome not in QUIET]
    verdict, colour, means = _verdict(prospects, troubles)
    where = ", ".join(folders)
    body = [
        f'<h1><span class="{colour}">{"✓" if colour == "good" else "!"}</span> {_escaped(verdict)}</h1>',
        f"<p>{_escaped(means)}</p>",
        f'<p class="q">dropcap {_escaped(__version__)} looked at {_escaped(where)} on {now.day} {now:%B %Y} at {now:%H:%M}.'
        " Nothing was changed or sent. Whether a field already holds the same file was not found out.</p>",
        *_figures(prospects, len(lands), len(others)),
        *_troubles(troubles),
        *_not_landing(others),
        *_counted("By rule", ("Rule", "Files", "Would land"), _rules(prospects)),
        *_missing(prospects),
        *_landing(lands),
    ]
    return "\n".join([_head(f"{verdict} – dropcap dry-run of {where}"), *body, "</main>\n</body>\n</html>\n"])


def _head(title: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{_HASH}'\">\n"
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{_escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    )


def _verdict(prospects: Sequence[Prospect], troubles: Sequence[Remark]) -> tuple[str, str, str]:
    counts = Counter(one.outcome in LANDS for one in prospects if one.outcome != "ignored")
    lands, others = counts[True], counts[False]
    if troubles:
        return "Not everything could be looked at", "bad", "What stands below is what could be found out."
    if others:
        wait = f"{many(others, 'file')} of {lands + others:,} would not land in REDCap"
        return wait, "bad", "Each stands below with the cause and what to do."
    if not lands:
        return "There is nothing to store", "good", "No file lies in these folders that dropcap would take."
    return f"All {many(lands, 'file')} would land in REDCap", "good", "They can be taken as they are."


def _figures(prospects: Sequence[Prospect], lands: int, others: int) -> Iterator[str]:
    figures = {"Files": len(prospects), "Would land": lands, "Would not": others, "Ignored": len(prospects) - lands - others}
    cells = "".join(f"<div><dt>{name}</dt><dd>{number:,}</dd></div>" for name, number in figures.items())
    yield f"<dl>{cells}</dl>"


def _troubles(troubles: Sequence[Remark]) -> Iterator[str]:
    if troubles:
        yield "<h2>Could not be looked at</h2>"
    for one in troubles:
        yield f'<p><b class="bad">{_escaped(str(one.where))}</b>: {_escaped(one.message)}. {_escaped(one.remedy)}</p>'


def _not_landing(others: Sequence[Prospect]) -> Iterator[str]:
    for outcome, count in Counter(one.outcome for one in others).most_common():
        yield f"<h2>{many(count, 'file')}: {_escaped(_kind(outcome))}</h2>"
        rows = ((_file(one), _sentence(one.message) + "<br>" + _sentence(one.remedy)) for one in others if one.outcome == outcome)
        yield _table(("File", "Why, and what to do"), rows)


def _landing(lands: Sequence[Prospect]) -> Iterator[str]:
    if lands:
        yield "<h2>Would land</h2>"
        rows = ((_file(one), _escaped(goal(one)), _escaped(word(one.outcome))) for one in lands)
        yield _table(("File", "Goes to", ""), rows)


def _rules(prospects: Sequence[Prospect]) -> Iterator[tuple[str, str, str]]:
    for (folder, rule), count in Counter((one.folder, one.rule) for one in prospects if one.rule).most_common():
        land = sum(one.outcome in LANDS for one in prospects if (one.folder, one.rule) == (folder, rule))
        yield f"<code>{_escaped(folder)}/{_escaped(rule)}</code>", f"{count:,}", f"{land:,}"


def _missing(prospects: Sequence[Prospect]) -> Iterator[str]:
    rows = [(f"<code>{_escaped(record)}</code>", f"{count:,}") for record, count in missing_records(prospects).items()]
    yield from _counted("Records that REDCap does not have", ("Record", "Files"), rows)


def _counted(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    found = list(rows)
    if found:
        yield f"<h2>{title}</h2>"
        yield _table(heads, found)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _kind(outcome: str) -> str:
    reason = Reason.of(outcome, Reason.NONE)
    return f"would fail: {explained(reason).within}" if reason else word(outcome)


def _sentence(text: str) -> str:
    return _escaped(f"{text[0].upper()}{text[1:]}.") if text else ""


def _file(one: Prospect) -> str:
    return f"<code>{_escaped(one.folder)}/{_escaped(one.name)}</code>"


def _escaped(text: str) -> str:
    return html.escape(shown(text))


@click.command("dry-run")
@config_option
@click.option("--folder", "folder_name", metavar="F", shell_complete=configured.folders, help="This drop folder only.")
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
    with project_clients(config) as asked:
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
            known = owner.KnownFolders(stack.enter_context(remembered(config)))
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
    asked: Mapping[str, ProjectClient],
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
            parts = [f"{shown(one.folder)}/{shown(one.name)}", word(one.outcome), goal(one), f"{shown(one.message)}{remedy}"]
            screen.line(": ".join(part for part in parts if part), hang=4)
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
    """A new file, open to be written: it names records, so that only the user who runs this can read it."""
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
        write(file, names, ([getattr(one, name) for name in names] for one in prospects))
