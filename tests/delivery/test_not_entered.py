"""A host whose own disk does not take which instance a file was found in: that is no trouble of the drop folder."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dropcap.config.load import load
from dropcap.delivery.attribution import Attribution, Limits
from dropcap.delivery.order import Order
from dropcap.delivery.plan import Send, unasked
from dropcap.delivery.project_client import EmptyFieldDetection, ProjectClient, redcap_for
from dropcap.delivery.queue import FolderQueue, Known
from dropcap.delivery.upload import Attempt, Batch, Sending, Shared
from dropcap.delivery.workers import Slot
from dropcap.files.tree import Tree
from dropcap.filing.place import Filing
from dropcap.ledger.job import Address, Job, Later, NewFile
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.routing.route import Route, route
from dropcap.routing.rule import NEXT, RuleSettings, Target
from tests.site import QuietFolder, Site, keep_in


class Full:
    """A host whose disk takes nothing."""

    def before_send(self, jobs: Sequence[Job]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def at_work_elsewhere(self) -> Sequence[str]:
        return ()


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
    stop = threading.Event()
    attribution = Attribution(Limits(ledger), stop)
    step = Send("101", holding.event, holding.field, 2, look=False, chosen=True)
    found = route(folder.rules, folder.name, again.name)
    assert isinstance(found, Route)
    target = Target("101", holding.event, holding.field, NEXT, upload_as=again.name)
    sending = Sending(job, replace(found, target=target, settings=RuleSettings()), step, Known(unasked(target), 0.0))
    client = ProjectClient(project, redcap_for(config, project))
    keep = keep_in(tmp_path)
    queue = FolderQueue(QuietFolder(folder, tree), ledger, Order([project], [folder], {}), keep, "")
    batch = Batch(queue, client, tree, Filing(folder, tree, "", keep), [sending])
    try:
        outcome = Attempt(sending, batch, Slot(), stop, Shared(ledger, Full(), attribution, EmptyFieldDetection(ledger))).run()
    finally:
        client.redcap.close()
        tree.close()
        ledger.close()
    assert isinstance(outcome, Later)
    assert (outcome.reason, outcome.scope) == (Reason.NO_SPACE, Scope.FILE)
    assert "state_dir" in outcome.message
    assert "state_dir" in outcome.remedy
