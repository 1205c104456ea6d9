"""What the rules say of a name is found out once, at the claim, and goes with it; a reload asks anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dropcap.config.load import load
from dropcap.delivery import queue as module
from dropcap.delivery.order import Order
from dropcap.delivery.queue import IN_MEMORY, FolderQueue
from dropcap.filing.loop import FilingHooks
from dropcap.ledger.job import NewFile
from dropcap.ledger.store import Ledger
from dropcap.routing.route import NoRoute, Route, route
from tests.site import Site, keep_in

NAMES = ["101_V1_consent.pdf", "holiday.jpg"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were routed, in order."""
    names: list[str] = []

    def counting(rules: tuple[object, ...], folder: str, name: str) -> Route | NoRoute:
        names.append(name)
        return route(rules, folder, name)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "route", counting)
    return names


@pytest.fixture
def ledger(place: Site) -> Iterator[Ledger]:
    made = Ledger(place.root / "own.db")
    yield made
    made.close()


def queue_of(place: Site, ledger: Ledger) -> FolderQueue:
    config = load(place.config_file)
    folder = config.folders["consents"]
    order = Order(config.projects.values(), [folder], {})
    hooks = FilingHooks(lambda jobs, _: None, lambda names: None, lambda: None, lambda: 60.0)
    return FolderQueue(folder, ledger, lambda: None, lambda: False, "", order, keep_in(place.root), hooks)


def test_once_from_the_claim_to_the_turn(place: Site, ledger: Ledger, asked: list[str]) -> None:
    first = queue_of(place, ledger)
    ledger.claim("consents", [NewFile(name, 1, 0, number) for number, name in enumerate(NAMES)], first.address)
    unfit = first.refill(ledger.query, 1e12, 1 << 20, set())
    assert [one.job.name for lane in first.lanes for one in lane.jobs.values()] == NAMES[:1]
    assert [job.name for job, _ in unfit.lost] == NAMES[1:]
    assert asked == NAMES

    queue_of(place, ledger).refill(ledger.query, 1e12, 1 << 20, set())  # after a reload or a restart
    assert asked == NAMES * 2


def test_names_that_never_come_in_line_fill_no_memory(place: Site, ledger: Ledger) -> None:
    queue = queue_of(place, ledger)
    for number in range(10 * IN_MEMORY):
        queue.address(f"{number}.jpg")
    assert len(queue._routed) <= 4 * IN_MEMORY
