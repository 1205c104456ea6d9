"""What becomes of a job whose file is to be moved."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from dropcap.config.model import Folder
from dropcap.delivery.filer import Ending, Filer
from dropcap.delivery.folder import DropFolder
from dropcap.delivery.order import Order
from dropcap.delivery.outcome import Refused
from dropcap.ledger.model import Address, Job, NewFile, State
from dropcap.ledger.store import Ledger
from tests.site import keep_in


def test_a_job_that_a_person_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    folder = Folder(name="consents", path=tmp_path, project="trial", rules=())
    ledger = Ledger(tmp_path / "ledger.db")
    (number,) = ledger.claim(folder.name, [NewFile("a.pdf", 1, 2, 3)], lambda _: Address())
    job = ledger.query.job(number)
    assert job is not None
    over: list[int] = []
    told = threading.Event()

    def ended(jobs: Sequence[Job]) -> None:
        over.extend(one.id for one in jobs)
        told.set()

    filer = Filer(DropFolder(folder, lambda: None, "", Order((), (), {}), keep_in(tmp_path)), ledger, ended)
    filer.start()
    assert ledger.withdraw(number)
    filer.put(Ending(job, Refused("no_rule", "no rule matches", "rename it")))
    assert told.wait(10)
    assert over == [number]
    filer.stop(10)
    found = ledger.query.job(number)
    assert found is not None
    assert found.state is State.WITHDRAWN
    ledger.close()
