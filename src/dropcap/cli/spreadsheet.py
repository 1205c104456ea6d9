"""Jobs and acts as CSV, such that a spreadsheet takes no name for a formula."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from dropcap.cli.acts import who_of
from dropcap.cli.jobs import stamp
from dropcap.display import shown
from dropcap.ledger.act import Act
from dropcap.ledger.job import Job

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
