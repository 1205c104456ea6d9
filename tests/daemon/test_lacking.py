"""Which folders a host tells the others that it lacks, by a clock of the test's own."""

from __future__ import annotations

from dropcap.daemon.host_leases import AWAY, HANDED_OVER, Lacking
from dropcap.hosts.membership import Member, plan

NOT_GONE: frozenset[str] = frozenset()
SOON, LONG = 1.0, AWAY + 1.0


def test_a_folder_that_is_away_is_told_of_after_a_while_only() -> None:
    lacking = Lacking()
    assert lacking.look({"f"}, {"f"}, (), (), NOT_GONE, 0.0) == frozenset()
    assert lacking.look({"f"}, {"f"}, (), (), NOT_GONE, LONG) == {"f"}
    assert lacking.look({"f"}, (), (), (), NOT_GONE, LONG + SOON) == frozenset()


def test_what_was_not_looked_for_yet_is_not_known_to_be_missing() -> None:
    lacking = Lacking()
    assert (lacking.look((), (), (), {"f", "g"}, NOT_GONE, 0.0), lacking.surely) == ({"f", "g"}, set())
    assert (lacking.look((), (), (), {"f"}, frozenset("f"), SOON), lacking.surely) == ({"f"}, {"f"})


def handed_over() -> Lacking:
    """`f` was away at 0, and was handed over at LONG + 1 s."""
    lacking = Lacking()
    lacking.look({"f"}, {"f"}, (), (), NOT_GONE, 0.0)
    lacking.look({"f"}, {"f"}, (), (), NOT_GONE, LONG)
    assert lacking.look({"f"}, (), {"f"}, (), NOT_GONE, LONG + 1.0) == {"f"}
    return lacking


def test_what_was_handed_over_as_away_does_not_come_back_at_once() -> None:
    lacking = handed_over()
    assert lacking.look((), (), (), {"f"}, NOT_GONE, LONG + 1.5) == {"f"}  # nobody has looked for its marker yet
    assert lacking.look((), (), (), (), NOT_GONE, LONG + 2.0) == {"f"}
    assert lacking.look((), (), (), (), NOT_GONE, HANDED_OVER) == {"f"}
    assert lacking.look((), (), (), (), NOT_GONE, LONG + HANDED_OVER + 2.0) == frozenset()


def test_it_is_lacking_no_more_once_it_was_seen_to_be_away_and_back() -> None:
    lacking = handed_over()
    assert lacking.look((), (), (), {"f"}, frozenset({"f"}), LONG + 2.0) == {"f"}
    assert lacking.look((), (), (), {"f"}, frozenset({"f"}), LONG + 20.0) == {"f"}
    assert lacking.look((), (), (), (), NOT_GONE, LONG + 21.0) == frozenset()


def test_nor_once_this_host_works_there_again() -> None:
    lacking = handed_over()
    assert lacking.look({"f"}, (), (), (), NOT_GONE, LONG + 2.0) == frozenset()
    assert lacking.look((), (), (), (), NOT_GONE, LONG + 3.0) == frozenset(), "it was not handed over as away this time"


def test_a_folder_that_nobody_can_work_in_does_not_go_round() -> None:
    """Each host finds it away, and sees its marker while another one has it."""
    hosts = {"a": Lacking(), "b": Lacking()}
    holder, leaving, moves = "a", "", []
    for now in range(int(2 * HANDED_OVER)):
        members = []
        for name, lacking in hosts.items():
            mine = {"f"} if name in (holder, leaving) else set()
            lacks = lacking.look(mine, mine if name == holder else (), {"f"} if name == leaving else (), (), NOT_GONE, float(now))
            members.append(Member(name, 0.0, lacks))
        if leaving:
            holder, leaving = "", ""
        wanted = plan(members, {"f": holder})["f"]
        if not holder:
            holder = wanted
            moves.append(now)
        elif wanted != holder:
            holder, leaving = "", holder
    assert 1 <= len(moves) <= 4, moves
