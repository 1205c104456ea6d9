"""The filing of what is over, at its edges."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from dropcap.filing.ending import Ending
from dropcap.filing.loop import HANGS, Filer, FilingHooks
from dropcap.ledger.job import Address, Job, NewFile, Refused, State
from dropcap.ledger.store import Ledger
from tests.site import eventually

REFUSED = Refused("no_rule", "no rule matches", "rename it")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger.db")
    yield made
    made.close()


def away() -> None:
    """The folder is not there."""


def filer(
    ledger: Ledger,
    ended: Callable[[Sequence[Job], bool], None] = lambda jobs, stored: None,
    after: Filer | None = None,
    place: Callable[[], None] = away,
) -> Filer:
    hooks = FilingHooks(ended, lambda names: None, lambda: None, lambda: 60.0)
    return Filer("consents", ledger, place, lambda name: Address(), hooks, after)


def claimed(ledger: Ledger) -> Job:
    (number,) = ledger.claim("consents", [NewFile("a.pdf", 1, 2, 3)], lambda _: Address())
    job = ledger.query.job(number)
    assert job is not None
    return job


def test_a_job_that_a_person_has_ended_is_not_waited_for(ledger: Ledger) -> None:
    job = claimed(ledger)
    over: list[int] = []
    told = threading.Event()

    def ended(jobs: Sequence[Job], stored: bool) -> None:
        over.extend(one.id for one in jobs)
        told.set()

    filing = filer(ledger, ended)
    filing.start()
    assert ledger.withdraw(job.id)
    filing.put(Ending(job, REFUSED))
    assert told.wait(10)
    assert over == [job.id]
    filing.stop()
    filing.join(10)
    found = ledger.query.job(job.id)
    assert found is not None
    assert found.state is State.WITHDRAWN


def test_what_ends_while_its_folder_is_changed_is_filed_by_the_new_one(ledger: Ledger) -> None:
    """The old one hangs in its share: whatever comes to it then, and later, goes to its successor."""
    job = claimed(ledger)
    hangs, answers = threading.Event(), threading.Event()

    def dead() -> None:
        if threading.current_thread().name.startswith("filing"):
            hangs.set()
            answers.wait(10)

    old = filer(ledger, place=dead)
    old.start()
    assert hangs.wait(10)
    new = filer(ledger, after=old)
    old.retire(new)
    new.start()
    old.put(Ending(job, REFUSED))
    assert not new.idle(), "it begins when the old one has ended"
    answers.set()
    eventually(lambda: ledger.query.unfiled("consents"))
    new.stop()
    new.join(10)


def test_what_comes_to_an_old_one_that_has_ended_is_not_lost(ledger: Ledger) -> None:
    job = claimed(ledger)
    old = filer(ledger)
    new = filer(ledger, after=old)
    old.start()
    old.retire(new)
    old.join(10)
    new.start()
    old.put(Ending(job, REFUSED))
    eventually(lambda: ledger.query.unfiled("consents"))
    new.stop()
    new.join(10)


def test_what_comes_to_one_that_has_ended_for_good_is_under_way_no_more(ledger: Ledger) -> None:
    """Another host has the folder: should it come back to this one, the job is looked at anew."""
    job = claimed(ledger)
    over: list[tuple[int, bool]] = []
    gone = filer(ledger, lambda jobs, stored: over.extend((one.id, stored) for one in jobs))
    gone.start()
    gone.stop()
    gone.join(10)
    gone.put(Ending(job, REFUSED))
    assert over == [(job.id, False)]
    assert gone.idle()


def test_what_waits_for_a_share_that_hangs_is_entered_all_the_same(ledger: Ledger) -> None:
    """Files of other folders to its place go on then."""
    first = claimed(ledger)
    (number,) = ledger.claim("consents", [NewFile("b.pdf", 1, 2, 3)], lambda _: Address())
    second = ledger.query.job(number)
    assert second is not None
    hangs, answers = threading.Event(), threading.Event()
    over: list[int] = []

    def dead() -> None:
        hangs.set()
        answers.wait(10)

    filing = filer(ledger, lambda jobs, _: over.extend(job.id for job in jobs), place=dead)
    filing.put(Ending(first, REFUSED))
    filing.start()
    assert hangs.wait(10)
    filing.put(Ending(second, REFUSED))
    filing.enter_late(time.monotonic())
    assert state(ledger, second) is State.WAITING, "it may just be slow"
    filing.enter_late(time.monotonic() + HANGS + 1.0)
    assert state(ledger, second) is State.REFUSED
    assert over == [first.id, second.id]
    answers.set()
    filing.stop()
    filing.join(10)


def state(ledger: Ledger, job: Job) -> State:
    found = ledger.query.job(job.id)
    assert found is not None
    return found.state
