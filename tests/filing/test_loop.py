"""The filing of what is over, at its edges."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropcap.config.model import Folder
from dropcap.filing.loop import HANGS, Completion, Filer
from dropcap.ledger.job import Address, Job, NewFile, Refused, State
from dropcap.ledger.store import Ledger
from tests.site import QuietFolder, eventually, keep_in

REFUSED = Refused("no_rule", "no rule matches", "rename it")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    yield made
    made.close()


class Site(QuietFolder):
    """A folder that is away, or whose share hangs once it is touched."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(Folder(name="consents", path=tmp_path, project="trial", rules=(), min_free=0))
        self.hangs, self.answers = threading.Event(), threading.Event()
        self.answers.set()

    def tree(self) -> None:
        if threading.current_thread().name.startswith("filing"):
            self.hangs.set()
            self.answers.wait(10)


@pytest.fixture
def folder(tmp_path: Path) -> Site:
    return Site(tmp_path)


def filer(site: Site, ledger: Ledger, after: Filer | None = None) -> Filer:
    return Filer(site, ledger, keep_in(site.folder.path), "", after)


def claimed(ledger: Ledger) -> Job:
    (number,) = ledger.claim("consents", [NewFile("a.pdf", 1, 2, 3)], lambda _: Address())
    job = ledger.query.job(number)
    assert job is not None
    return job


def test_a_job_that_a_person_has_ended_is_not_waited_for(folder: Site, ledger: Ledger) -> None:
    job = claimed(ledger)
    filing = filer(folder, ledger)
    filing.start()
    assert ledger.withdraw(job.id)
    filing.put(Completion(job, REFUSED))
    eventually(lambda: (job.id, False) in folder.over_with)
    filing.stop()
    filing.join(10)
    assert folder.over_with == [(job.id, False)]
    assert state(ledger, job) is State.WITHDRAWN


def test_what_ends_while_its_folder_is_changed_is_filed_by_the_new_one(folder: Site, ledger: Ledger) -> None:
    """The old one hangs in its share: whatever comes to it then, and later, goes to its successor."""
    job = claimed(ledger)
    folder.answers.clear()
    old = filer(folder, ledger)
    old.start()
    assert folder.hangs.wait(10)
    new = filer(folder, ledger, after=old)
    old.retire(new)
    new.start()
    old.put(Completion(job, REFUSED))
    assert not new.idle(), "it begins when the old one has ended"
    folder.answers.set()
    eventually(lambda: ledger.query.unfiled("consents"))
    new.stop()
    new.join(10)


def test_what_comes_to_an_old_one_that_has_ended_is_not_lost(folder: Site, ledger: Ledger) -> None:
    job = claimed(ledger)
    old = filer(folder, ledger)
    new = filer(folder, ledger, after=old)
    old.start()
    old.retire(new)
    old.join(10)
    new.start()
    old.put(Completion(job, REFUSED))
    eventually(lambda: ledger.query.unfiled("consents"))
    new.stop()
    new.join(10)


def test_what_comes_to_one_that_has_ended_for_good_is_under_way_no_more(folder: Site, ledger: Ledger) -> None:
    """Another host has the folder: should it come back to this one, the job is looked at anew."""
    job = claimed(ledger)
    gone = filer(folder, ledger)
    gone.start()
    gone.stop()
    gone.join(10)
    gone.put(Completion(job, REFUSED))
    assert (job.id, False) in folder.over_with
    assert gone.idle()


def test_what_waits_for_a_share_that_hangs_is_entered_all_the_same(folder: Site, ledger: Ledger) -> None:
    """Files of other folders to its place go on then."""
    first = claimed(ledger)
    (number,) = ledger.claim("consents", [NewFile("b.pdf", 1, 2, 3)], lambda _: Address())
    second = ledger.query.job(number)
    assert second is not None
    folder.answers.clear()
    filing = filer(folder, ledger)
    filing.put(Completion(first, REFUSED))
    filing.start()
    assert folder.hangs.wait(10)
    filing.put(Completion(second, REFUSED))
    filing.enter_late(time.monotonic())
    assert state(ledger, second) is State.WAITING, "it may just be slow"
    filing.enter_late(time.monotonic() + HANGS + 1.0)
    assert state(ledger, second) is State.REFUSED
    assert [job for job, _ in folder.over_with] == [first.id, second.id]
    folder.answers.set()
    filing.stop()
    filing.join(10)


def state(ledger: Ledger, job: Job) -> State:
    found = ledger.query.job(job.id)
    return found.state
