"""A host whose own disk does not take which instance a file was found in: that is no trouble of the drop folder."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dropcap.config.load import load
from dropcap.delivery.attribution import Belief, Limits
from dropcap.delivery.circuit import Health
from dropcap.delivery.outcome import Conclusion
from dropcap.delivery.plan import Send, unasked
from dropcap.delivery.project_client import ProjectLine, Vacancies, client_to
from dropcap.delivery.upload import Attempt, Upload
from dropcap.delivery.work import Work
from dropcap.delivery.workers import Progress, Slot
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.ledger.job import Address, Job, Later, NewFile
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.routing.rule import NEXT, RuleSettings, Target
from tests.site import Site, keep_in


def full(jobs: Sequence[Job]) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_of_this_host_is_told_as_that(place: Site, tmp_path: Path) -> None:
    place.put("101_V1_lab1.pdf")
    assert place.once().returncode == 0
    (holding,) = place.box.holdings()
    again = place.drop / "in_progress/101_V1_lab1.pdf"
    again.write_bytes(next(place.drop.glob("done/*/101_V1_lab1.pdf")).read_bytes())
    config = load(place.config_file)
    folder, project = config.folders["consents"], next(iter(config.projects.values()))
    ledger, tree = Ledger(tmp_path / "own.db"), Tree(place.drop)
    status = again.stat()
    (number,) = ledger.claim(
        "consents", [NewFile(again.name, status.st_size, status.st_mtime_ns, status.st_ino)], lambda _: Address()
    )
    job = ledger.query.job(number)
    assert job is not None
    health, stop = Health(time.time, lambda pause: None, lambda *ended: None), threading.Event()
    belief = Belief(Limits(ledger), stop)
    conclusion = Conclusion(ledger, health, lambda name: None)
    work = Work(ledger, health, conclusion, stop, lambda jobs, over: None, belief, Progress(), full)
    step = Send("101", holding.event, holding.field, 2, look=False, chosen=True)
    target = Target("101", holding.event, holding.field, NEXT)
    line = ProjectLine(project, client_to(config, project))
    upload = Upload(
        *(job, target, RuleSettings(), step, line, tree, Filing(folder, tree, "", keep_in(tmp_path))),
        *(again.name, unasked(target), 0.0),
    )
    try:
        outcome = Attempt(upload, partial(work._noted, job), stop, Slot(), Vacancies(ledger), belief).run()
    finally:
        line.client.close()
        tree.close()
        ledger.close()
    assert isinstance(outcome, Later)
    assert (outcome.reason, outcome.scope) == (Reason.NO_SPACE, Scope.FILE)
    assert "state_dir" in outcome.message
    assert "state_dir" in outcome.remedy
