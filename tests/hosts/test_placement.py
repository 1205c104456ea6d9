"""How folders are spread over hosts: any hosts that come, go, are killed, lack folders or are stuck, in any order."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropcap.hosts.membership import PATIENT_LOOKS, Member, Moves, Waited, moves, plan


@dataclass
class Site:
    """Rows as the database would hold them; each host looks and acts by what it sees, one after another."""

    folders: list[str]
    holders: dict[str, str] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    waited: dict[str, Waited] = field(default_factory=dict)
    takes: Counter[str] = field(default_factory=Counter)
    begun: int = 0

    def __post_init__(self) -> None:
        self.holders = dict.fromkeys(self.folders, "")

    def join(self, name: str, lacks: Iterable[str] = ()) -> None:
        self.begun += 1
        self.members[name] = Member(name, self.begun, frozenset(lacks))
        self.waited[name] = {}

    def go(self, name: str) -> None:
        """Killed (when its leases have lapsed) or stopped: the same to the others."""
        self.members.pop(name)
        self.stuck.discard(name)
        self.holders = {folder: "" if holder == name else holder for folder, holder in self.holders.items()}

    def lack(self, name: str, lacks: Iterable[str]) -> None:
        self.members[name] = Member(name, self.members[name].started, frozenset(lacks))

    def look(self, name: str) -> Moves:
        free = [folder for folder, holder in self.holders.items() if not holder]
        found = moves(name, [*self.members.values()], self.holders, free, self.waited[name])
        self.waited[name] = found.waited
        if found.missed and name in self.stuck:
            self.lack(name, self.folders)  # as `Membership.lacking`; it holds none
        return found

    def round(self, order: random.Random) -> bool:
        """Everybody looks once; whether anything was moved."""
        names = sorted(self.members)
        order.shuffle(names)
        moved = False
        for name in names:
            found = self.look(name)
            for folder in found.release:
                assert self.holders[folder] == name
                self.holders[folder], moved = "", True
            for folder in found.take:
                if name not in self.stuck and not self.holders[folder]:
                    self.holders[folder], moved = name, True
                    self.takes[folder] += 1
        return moved

    def settle(self, order: random.Random) -> None:
        """Until nothing moves for longer than anybody waits for another."""
        still = 0
        for _ in range(12):
            still = 0 if self.round(order) else still + 1
            if still > PATIENT_LOOKS + 1:
                return
        raise AssertionError(f"goes on for ever: {self}")

    def able(self, folder: str) -> list[str]:
        return [name for name, host in self.members.items() if folder not in host.lacks] or [*self.members]

    def check(self) -> None:
        load = Counter(self.holders.values())
        for folder, holder in self.holders.items():
            assert holder in self.members
            well = [name for name in self.able(folder) if name not in self.stuck]
            if well:
                assert holder in well
                assert load[holder] - min(load[name] for name in well) <= 1, (folder, load)


#: The folders, what is done to which host with which folders, and the order in which hosts look.
Happenings = tuple[list[str], list[tuple[str, str, list[str]]], int]


@st.composite
def happenings(draw: st.DrawFn) -> Happenings:
    folders = [f"f{number:02}" for number in range(draw(st.integers(1, 12)))]
    some = st.lists(st.sampled_from(folders), unique=True, max_size=4)
    what = st.sampled_from(["join", "join", "go", "lack", "look"])
    events = draw(st.lists(st.tuples(what, st.sampled_from("abcde"), some), min_size=1, max_size=14))
    return folders, events, draw(st.integers(0, 99))


@given(happenings())
def test_whatever_happens_every_folder_is_held_evenly_in_the_end(
    given: tuple[list[str], list[tuple[str, str, list[str]]], int],
) -> None:
    folders, events, seed = given
    order = random.Random(seed)
    site = Site(folders)
    for what, name, some in events:
        if what == "join" and name not in site.members:
            site.join(name, some if len(some) < 3 else ())
        elif what == "go" and name in site.members:
            site.go(name)
        elif what == "lack" and name in site.members:
            site.lack(name, some)
        elif what == "look":
            site.round(order)
    if not site.members:
        site.join("z")
    site.settle(order)
    site.check()


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 99))
def test_one_more_host_moves_its_share_and_nothing_else(folders: int, hosts: int, seed: int) -> None:
    order = random.Random(seed)
    site = Site([f"f{number:02}" for number in range(folders)])
    for number in range(hosts):
        site.join(f"h{number}")
    site.settle(order)
    site.check()
    site.takes.clear()
    site.join("new")
    site.settle(order)
    site.check()
    share = sum(holder == "new" for holder in site.holders.values())
    assert site.takes.total() == share == folders // (hosts + 1)
    assert set(site.takes.values()) <= {1}


@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 99))
def test_one_host_less_moves_its_folders_and_nothing_else(folders: int, hosts: int, seed: int) -> None:
    order = random.Random(seed)
    site = Site([f"f{number:02}" for number in range(folders)])
    for number in range(hosts):
        site.join(f"h{number}")
    site.settle(order)
    orphans = {folder for folder, holder in site.holders.items() if holder == "h0"}
    site.takes.clear()
    site.go("h0")
    site.settle(order)
    site.check()
    assert site.takes == Counter(orphans)


@given(st.integers(1, 20), st.integers(1, 4), st.integers(0, 99))
def test_a_host_that_takes_nothing_holds_nothing_up(folders: int, hosts: int, seed: int) -> None:
    order = random.Random(seed)
    site = Site([f"f{number:02}" for number in range(folders)])
    site.join("idle")
    site.stuck.add("idle")
    for number in range(hosts):
        site.join(f"h{number}")
    site.settle(order)
    assert "idle" not in site.holders.values()
    assert "" not in site.holders.values()
    assert max(site.takes.values()) == 1
    site.join("late")  # and nothing of what is moved to this one waits for the idle one again
    site.settle(order)
    site.check()
    assert sum(holder == "late" for holder in site.holders.values()) == folders // (hosts + 1)


@given(st.data())
def test_the_plan_is_the_same_for_all(data: st.DataObject) -> None:
    folders = [f"f{number}" for number in range(data.draw(st.integers(1, 9)))]
    some = st.frozensets(st.sampled_from(folders), max_size=3)
    members = [Member(name, data.draw(st.sampled_from([1.0, 2.0])), data.draw(some)) for name in "abcd"]
    holders = {folder: data.draw(st.sampled_from(["", "a", "b", "gone"])) for folder in folders}
    found = plan(members, holders)
    assert found == plan(members[::-1], dict(reversed(holders.items())))
    assert plan(members, found) == found, "whoever has acted by it has nothing more to do"


A, B, C = Member("a", 1.0), Member("b", 2.0), Member("c", 3.0)


@pytest.mark.parametrize(
    ("members", "holders", "planned"),
    [
        ([], {"x": ""}, {}),
        ([A], {"x": "", "y": "gone"}, {"x": "a", "y": "a"}),
        ([A, B], {"x": "b", "y": "a"}, {"x": "b", "y": "a"}),
        ([B, A], {"x": "", "y": ""}, {"x": "a", "y": "b"}),
        ([A, B], {"x": "a", "y": "a"}, {"x": "b", "y": "a"}),
        ([A, B, C], {"w": "a", "x": "a", "y": "b", "z": "b"}, {"w": "c", "x": "a", "y": "b", "z": "b"}),
        ([A, Member("b", 2.0, frozenset("x"))], {"x": "b"}, {"x": "a"}),
        ([Member("a", 1.0, frozenset("x")), Member("b", 2.0, frozenset("x"))], {"x": "b"}, {"x": "b"}),
        ([Member("a", 1.0, frozenset("xyz")), B], {"x": "", "y": "b", "z": "b"}, {"x": "b", "y": "b", "z": "b"}),
    ],
)
def test_who_gets_what(members: list[Member], holders: dict[str, str], planned: dict[str, str]) -> None:
    assert plan(members, holders) == planned


def test_a_host_that_nobody_sees_does_nothing() -> None:
    assert moves("me", [A, B], {"x": "", "y": "me"}, ["x"], {"x": ("a", 9)}) == Moves()


def test_many_folders_are_planned_quickly() -> None:
    holders = {f"f{number}": "a" for number in range(2000)}
    began = time.process_time()
    found = plan([A, B, C], holders)
    assert Counter(found.values()) == {"a": 667, "b": 667, "c": 666}
    assert time.process_time() - began < 1
