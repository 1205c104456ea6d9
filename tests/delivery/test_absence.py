"""A folder that comes back between a look and a decision sends nothing that others may just pass."""

from __future__ import annotations

from pathlib import Path

from dropcap.config.load import load
from dropcap.delivery import queue as absence
from dropcap.delivery.order import Order
from dropcap.delivery.queue import Absence, FolderQueue
from dropcap.files.tree import Tree
from dropcap.ledger.job import NewFile
from dropcap.ledger.query import Absent
from dropcap.ledger.store import Ledger
from tests.site import QuietFolder, Site, keep_in


def test_what_is_seen_to_be_absent_goes_once_it_is_seen_to_be_back(place: Site, tmp_path: Path) -> None:
    config = load(place.config_file)
    folder = config.folders["consents"]
    ledger = Ledger(tmp_path / "own.db")
    tree = Tree(place.drop)
    order = Order(config.projects.values(), [folder], {})
    site = QuietFolder(folder, tree)
    queue = FolderQueue(site, ledger, order, keep_in(tmp_path), "")
    folders = {"consents": queue}
    look = Absence()
    try:
        ledger.claim("consents", [NewFile("101_V1_consent.pdf", 1, 1, 1)], lambda name: order.address(folder, name))
        queue.refill(ledger.query, 1e12, 1 << 20, set())
        assert not look.look(folders, (), (), 0.0)
        assert queue.open()
        site.is_away = True
        assert look.look(folders, (), (), 1.0)
        site.is_away = False
        assert not queue.open(), "it was back a moment after the look: another one may pass it in this very round"
        look.look(folders, (), (), 2.0)
        assert queue.open()
        assert not any(lane.jobs for lane in queue.lanes), "its files may have been passed: they are read anew"
    finally:
        tree.close()
        ledger.close()


def test_a_folder_that_only_another_host_is_configured_for_is_not_absent() -> None:
    long = absence.WAITED_FOR + 1.0
    at_work = {"theirs"}
    look = Absence()
    look.configured(["here"], ["here", "theirs", "gone"])
    look.look({}, [], at_work, 0.0)
    look.look({}, [], at_work, long)
    assert look.absent == Absent(frozenset({"gone"}), frozenset({"gone"})), "its files come in their turn"
    at_work.clear()  # that host was killed, and no other one has the folder
    look.look({}, [], at_work, 2 * long)
    assert look.absent.long == {"gone"}, "its hour begins as nobody works there"
    look.look({}, [], at_work, 3 * long)
    assert look.absent.long == {"gone", "theirs"}


def test_who_is_absent_and_since_when() -> None:
    look = Absence()
    long = absence.WAITED_FOR + 1.0
    look.configured(["here"], ["here", "gone", "paused"])
    look.look({}, ["paused"], (), 0.0)
    assert look.absent == Absent(frozenset(), frozenset({"gone"})), "a slip gets its hour, and ends no pause"
    look.look({}, ["paused"], (), long)
    assert look.absent == Absent(frozenset({"gone"}), frozenset({"gone"}))
    look.look({}, [], (), long)
    assert look.absent.long == {"gone"}, "its hour begins as it is resumed"
    look.configured(["here", "gone", "paused"], ["here", "gone", "paused"])
    look.look({}, [], (), long)
    assert look.absent == Absent()
