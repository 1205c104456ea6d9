"""What a file costs, counted at the sandbox: in requests and in REDCap's log, for every combination of settings."""

from __future__ import annotations

import contextlib
import itertools
import threading
from pathlib import Path
from typing import Any

from dropcap.config.load import load
from dropcap.daemon.control import pause_by_hand
from dropcap.daemon.state import open_ledger, prepare
from dropcap.delivery.order import takes_next
from dropcap.preflight.project import cost
from dropcap.reasons import Scope
from dropcap.routing.rule import Confirm, ExistingFile, Rule
from redcap_sandbox import Sandbox, demo_project
from redcap_sandbox.structure import RowKey
from tests.site import TOKEN, Site, eventually, site

Settings = tuple[str, str, str]
Counted = dict[Settings, tuple[Rule, int, int]]
#: What a project is asked for as a whole, whatever the number of files.
_OF_THE_PROJECT = {"project", "metadata", "event", "formEventMapping", "repeatingFormsEvents", "user", "version"}
_EXISTING = ("preserve", "replace", "refuse")
_CONFIRM = ("readback", "listed", "none")
_KINDS: dict[str, dict[str, Any]] = {
    "plain": {"field": "consent_pdf"},
    "next": {"field": "lab_report", "instance": "next"},
    "record_where": {"field": "consent_pdf", "pattern": "{mrn:digits}_{what}.pdf", "record_where": {"mrn": "{mrn}"}},
    "create": {"field": "consent_pdf", "missing_record": "create"},
}
#: All files of all combinations.
FILES = sum(1 if kind == "create" else 3 for kind in _KINDS) * len(_EXISTING) * len(_CONFIRM)
SETTINGS = list(itertools.product(_KINDS, _EXISTING, _CONFIRM))


def _counted(root: Path) -> Counted:
    """One daemon with a folder and a server of its own for each combination: its rule, requests and entries.

    All files are claimed before the daemon that delivers them starts, so that those of a folder come together.
    """
    boxes = {settings: Sandbox(demo_project(), TOKEN) for settings in SETTINGS}
    for box in boxes.values():
        box.start()
    with site(root) as place:
        _configure(place, boxes)
        for settings, box in boxes.items():
            _fill(root / "-".join(settings), box, settings[0])
        prepare(place.state)
        names = ["-".join(settings) for settings in SETTINGS]
        with contextlib.closing(open_ledger(place.state)) as ledger:
            for name in names:
                ledger.pause(pause_by_hand(Scope.PROJECT, name))
        daemon = place.start(ready=False)
        daemon.wait_for("claimed", FILES, patience=90.0)
        assert daemon.stop() == 0
        with contextlib.closing(open_ledger(place.state)) as ledger:
            for name in names:
                ledger.resume(Scope.PROJECT, name)
        daemon = place.start(ready=False)
        eventually(lambda: len(daemon.events("done")) + len(daemon.events("failed")) == FILES, patience=90.0)
        assert daemon.stop() == 0
        rules = {name: folder.rules[0] for name, folder in load(place.config_file).folders.items()}
    for stopping in [threading.Thread(target=box.stop) for box in boxes.values()]:
        stopping.start()
    told: Counted = {}
    for settings, box in boxes.items():
        requests = [request for request in box.requests if request.content not in _OF_THE_PROJECT]
        told[settings] = (rules["-".join(settings)], len(requests), len(box.project.log))
    return told


def _configure(place: Site, boxes: dict[Settings, Sandbox]) -> None:
    projects: dict[str, Any] = {}
    folders: dict[str, Any] = {}
    for (kind, existing, confirm), box in boxes.items():
        name = f"{kind}-{existing}-{confirm}"
        projects[name] = place.project | {"url": box.url, "project_id": box.project.project_id}
        rule = {"pattern": "{record:digits}_{what}.pdf", "event": "baseline_arm_1", **_KINDS[kind]}
        rule |= {"existing_file": existing, "confirm": confirm}
        (place.root / name).mkdir()
        folders[name] = place.folder | {"path": str(place.root / name), "project": name, "rules": [rule]}
    place.config |= {"projects": projects, "folders": folders, "uploads_at_once": 8}
    place.write_config()


def _fill(drop: Path, box: Sandbox, kind: str) -> None:
    """Three files: into an empty field, into one that holds another file, and into one that holds the same; or one without a
    record."""
    if kind == "create":
        (drop / "901_x.pdf").write_bytes(b"content of 901")
        return
    store, baseline = box.project.store, RowKey("baseline_arm_1")
    for record, held in (("101", None), ("102", b"another"), ("103", b"content of 103")):
        if held is not None:
            store.put_bytes(record, baseline, "consent_pdf", "old.pdf", held)
        row = store.row(record, baseline)
        name = row.values["mrn"] if kind == "record_where" else record
        (drop / f"{name}_x.pdf").write_bytes(b"content of " + record.encode())


def _expected(rule: Rule) -> tuple[int, int]:
    """Requests and entries in the log for those three, by what `check` says."""
    price = cost(rule)
    requests, entries = price.shared + price.each, price.shared + price.logged
    if price.created:
        return requests + price.created, entries + price.created
    if takes_next(rule.instance):
        return requests + 2 * price.each, entries + 2 * price.logged
    if rule.settings.existing_file is ExistingFile.REFUSE:
        requests, entries = requests + 1, entries + 1
    else:
        requests, entries = requests + price.each + price.held, entries + price.logged + price.looks
    return requests + (1 if price.looks else price.each), entries + (1 if price.looks else price.logged)


def test_a_file_costs_what_check_says(tmp_path: Path) -> None:
    counted = _counted(tmp_path)
    wrong = {
        "-".join(settings): ((requests, entries), _expected(rule))
        for settings, (rule, requests, entries) in counted.items()
        # What is sent by several workers at once shares no question about what is listed.
        if not 0 <= requests - _expected(rule)[0] == entries - _expected(rule)[1] <= 2 * (rule.settings.confirm is Confirm.LISTED)
    }
    assert wrong == {}
