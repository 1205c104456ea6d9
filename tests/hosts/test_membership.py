"""What one host makes of its looks: own clock and the database's, who lives, what may be taken."""

from __future__ import annotations

from dropcap.hosts.membership import MISSED, Membership, Moves
from dropcap.ledger.postgres.leases import ENDED, HostRow, HostsLook, LeaseRow

LEASE = 60.0


def host(name: str, beat: int = 0, alive: bool = True, started: float = 0.0, lacks: tuple[str, ...] = ()) -> HostRow:
    return HostRow(name, name, 1, "1", "", started, alive, beat, 0, lacks)


def held(folder: str, by: str, beat: int = 0, lapsed: bool = False) -> LeaseRow:
    return LeaseRow(folder, 1, by, lapsed, False, beat)


def look(*rows: HostRow | LeaseRow) -> HostsLook:
    return HostsLook(
        tuple(row for row in rows if isinstance(row, HostRow)), tuple(row for row in rows if isinstance(row, LeaseRow))
    )


class One:
    """The host `me`, that looks."""

    def __init__(self, *folders: str) -> None:
        self.membership = Membership("me", LEASE, 2.0)
        self.folders = folders
        self.away: tuple[str, ...] = ()

    def at(self, now: float, *rows: HostRow | LeaseRow) -> Moves:
        seen = look(*rows)
        lacking = self.membership.lacking(seen, self.folders, self.away, now)
        return self.membership.next_moves(seen, self.folders, lacking, now, now + 0.1)


ME = host("me", started=1.0)


def test_what_nobody_has_held_is_taken_at_once() -> None:
    one = One("/x", "/y", "/z")
    assert one.at(0, ME).take == ("/x", "/y", "/z")
    released = LeaseRow("/x", 7, "", True, True, 3)
    assert one.at(2, ME, released, held("/y", "me"), held("/z", "me")).take == ("/x",)


def test_a_lapsed_lease_is_taken_when_its_beat_has_stood_still_for_as_long() -> None:
    one, gone = One("/x"), host("gone", alive=False)
    for now in range(0, 60, 2):
        assert one.at(now, ME, gone, held("/x", "gone", lapsed=True)).take == ()
    assert one.at(60, ME, gone, held("/x", "gone", lapsed=True)).take == (), "seen at 0.1 for the first time"
    assert one.at(62, ME, gone, held("/x", "gone", lapsed=True)).take == ("/x",)
    assert one.membership.beat_of("/x") == 0
    assert one.at(64, ME, gone, held("/x", "gone", beat=1, lapsed=True)).take == (), "it moves"
    assert one.membership.beat_of("/x") == 1


def test_a_lease_that_has_not_lapsed_is_left_alone_however_still_it_stands() -> None:
    one = One("/x")
    for now in range(0, 200, 10):
        assert one.at(now, ME, host("slow", alive=False), held("/x", "slow")).take == ()


def test_time_without_a_look_counts_for_nothing() -> None:
    """As the database was away: the holder could not beat either."""
    one, gone = One("/x"), host("gone", alive=False)
    one.at(0, ME, gone, held("/x", "gone", lapsed=True))
    assert one.at(1000, ME, gone, held("/x", "gone", lapsed=True)).take == ()
    for now in range(1002, 1061, 2):
        assert one.at(now, ME, gone, held("/x", "gone", lapsed=True)).take == ()
    assert one.at(1062, ME, gone, held("/x", "gone", lapsed=True)).take == ("/x",)


def test_a_host_that_is_seen_to_beat_lives_whatever_the_clock_says() -> None:
    one = One("/x", "/y")
    mine = held("/x", "me"), held("/y", "me")
    assert one.at(0, ME, host("other", beat=1, alive=False), *mine).release == ()
    assert one.at(2, ME, host("other", beat=2, alive=False), *mine).release == ("/x",)
    assert one.at(4, ME, host("other", beat=2, alive=False), *mine).release == ("/x",)
    for now in range(6, 62, 4):
        one.at(now, ME, host("other", beat=2, alive=False), *mine)
    assert one.at(63, ME, host("other", beat=2, alive=False), *mine).release == ()


def test_a_host_that_has_ended_is_gone_at_once() -> None:
    one = One("/x", "/y")
    mine = held("/x", "me"), held("/y", "me")
    one.at(0, ME, host("other", beat=1), *mine)
    assert one.at(2, ME, host("other", beat=2), *mine).release == ("/x",)
    assert one.at(4, ME, host("other", beat=ENDED, alive=False), *mine).release == ()


def test_looks_after_own_acts_do_not_hurry_others() -> None:
    """A host that hands over several folders looks after each; the host that is to take them looks each two seconds."""
    one, other = One("/x"), host("other", started=0.5)
    for now in (0, 0.1, 0.2, 0.3, 0.4, 1.9, 2, 2.1, 2.2, 4, 4.1, 5.9):
        assert one.at(now, ME, other).take == (), now
    assert one.at(6, ME, other).take == ("/x",)


def test_who_is_not_seen_itself_does_nothing() -> None:
    one = One("/x", "/y")
    rest = host("other"), held("/x", "me"), held("/y", "me")
    assert one.at(0, *rest) == Moves()
    assert one.at(2, host("me", alive=False), *rest) == Moves()


def test_folders_of_others_that_the_configuration_does_not_name_are_theirs() -> None:
    one = One("/x")
    other = host("other", started=2.0)
    found = one.at(0, ME, other, held("/o", "other"), held("/p", "other"), held("/x", "me"))
    assert found == Moves()
    seen = look(ME, other, held("/o", "other"), LeaseRow("/old", 3, "", True, True, 0))
    assert one.membership.lacking(seen, ("/x",), ("/x",), 0) == {"/o", "/x"}


def test_who_has_not_taken_what_it_should_have_leaves_all_to_others_for_a_time() -> None:
    one = One("/x", "/y")
    other, theirs = host("other", started=2.0), held("/y", "other")
    for now in (0, 2):
        assert one.at(now, ME, other, theirs).take == ("/x",)
        assert one.membership.lacking(look(theirs), one.folders, (), now) == frozenset()
    one.at(4, ME, other, theirs)
    assert one.membership.lacking(look(theirs), one.folders, (), 5) == {"/x", "/y"}
    assert one.at(6, ME, other, theirs).take == ()
    assert one.membership.lacking(look(theirs), one.folders, (), 4 + MISSED) == frozenset()
    again = [4 + MISSED + 2 * number for number in range(3)]
    for now in again:
        one.at(now, ME, other, theirs)
    assert one.membership.lacking(look(theirs), one.folders, (), again[-1] + MISSED) == {"/x", "/y"}, "twice as long"
    assert one.membership.lacking(look(theirs), one.folders, (), again[-1] + 2 * MISSED) == frozenset()


def test_who_takes_it_after_all_lacks_nothing() -> None:
    one = One("/x", "/y")
    other, theirs = host("other", started=2.0), held("/y", "other")
    for now in (0, 2, 4):
        one.at(now, ME, other, theirs)
    assert one.membership.lacking(look(theirs, held("/x", "me")), one.folders, (), 6) == frozenset()


def test_what_another_should_have_taken_is_taken_instead() -> None:
    one, other = One("/x"), host("other", started=0.5)
    taken = [one.at(now, ME, other).take for now in (0, 2, 4, 6)]
    assert taken == [(), (), (), ("/x",)]
    one.away = ("/x",)
    assert one.at(8, ME, other).take == (), "another could"
