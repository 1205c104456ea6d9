"""Receipts: `NAME.receipt.json` beside a file in done/ says what REDCap has, as far as people who drop files may know."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from typing import Any

from dropcap import __version__
from dropcap.config.model import Folder
from dropcap.files import names
from dropcap.files.tree import Tree
from dropcap.filing.diagnosed import told_by_name
from dropcap.filing.ending import Ending
from dropcap.ledger.outcome import Stored
from dropcap.routing.route import Route, route
from dropcap.routing.target import NEXT

#: What makes it a receipt, and the version of its keys.
_VERSION = 1


def receipt(ending: Ending, folder: Folder, filed_as: str, now: datetime) -> bytes:
    """The receipt of a stored file that lies in `filed_as` (relative to the drop folder), sealed.

    Its target is what the file's name tells: neither a record that was found by its values nor an instance that was chosen.
    """
    job, outcome = ending.job, ending.outcome
    assert isinstance(outcome, Stored)
    found = route(folder.rules, folder.name, job.name)
    target: dict[str, Any] = {}
    if told := told_by_name(folder, job.name):
        instance = told.instance if told.instance != NEXT else None
        every = {"record": told.record, "event": told.event, "field": told.field, "instance": instance}
        target = {key: value for key, value in every.items() if value}
    body = {
        "receipt": _VERSION,
        "job": job.id,
        "folder": folder.name,
        "file": _text(job.name),
        "filed_as": _text(filed_as),
        "rule": found.rule.name if isinstance(found, Route) else job.rule,
        "target": target,
        "size": outcome.size,
        "sha256": outcome.sha256,
        "result": outcome.result,
        "confirmed": outcome.confirmed,
        "attempts": job.attempts,
        "dropped": _when(datetime.fromtimestamp(job.claimed_at, now.tzinfo)),
        "stored": _when(now),
        "versions": {"dropcap": __version__},
    }
    return _dumped(body | {"seal": _seal(body)})


def write_receipt(tree: Tree, filed_as: str, content: bytes, job: int, mode: int | None) -> str:
    """Put a receipt beside `filed_as`, durably; its name. One of the same job is replaced. Raises OSError."""
    for name in _receipt_names(filed_as):
        try:
            tree.write_over(name, content, lambda present: job_of(present) == job, mode)
        except FileExistsError:
            continue
        return name
    raise AssertionError("_receipt_names never ends")


def job_of(content: bytes) -> int | None:
    """The job of a receipt; None if dropcap did not write it or a person has changed it since."""
    try:
        read = json.loads(content)
        seal = read.pop("seal")
        return int(read["job"]) if read["receipt"] == _VERSION and seal == _seal(read) else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def is_receipt(content: bytes) -> bool:
    """Whether dropcap wrote it, and nobody has changed it since."""
    return job_of(content) is not None


def _receipt_names(filed_as: str) -> Iterator[str]:
    directory, leaf = names.split(filed_as)
    for number in count(1):
        ending = ".receipt.json" if number == 1 else f".receipt ({number}).json"
        if len(os.fsencode(leaf)) + len(ending) > names.LONGEST:  # no two files share one
            ending = f"~{hashlib.sha256(os.fsencode(leaf)).hexdigest()[:12]}{ending}"
        yield names.join(directory, names.fitted(leaf, ending))


def _dumped(body: dict[str, Any]) -> bytes:
    return (json.dumps(body, indent=2, ensure_ascii=False) + "\n").encode()


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(_dumped(body)).hexdigest()


def _text(name: str) -> str:
    """A name as JSON can have it: bytes that are not UTF-8 as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _when(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
