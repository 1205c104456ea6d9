from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dropcap.intake.reconcile import compare
from dropcap.intake.settle import Sight
from dropcap.ledger.model import OpenFile, State

NAMES = st.sampled_from("abcdef")
FILES = st.dictionaries(NAMES, st.integers(1, 6))
STATES = st.sampled_from([State.WAITING, State.HELD, State.UNKNOWN, State.SENDING, State.STORED, State.REFUSED])


def present(files: dict[str, int]) -> dict[str, Sight]:
    return {name: Sight(10, 1, 1, inode) for name, inode in files.items()}


def jobs(files: dict[str, tuple[int, State]]) -> dict[str, OpenFile]:
    return {name: OpenFile(ord(name), state, 10, 1, inode) for name, (inode, state) in files.items()}


def test_known_again_by_inode_and_size() -> None:
    found = compare(present({"new": 1, "foreign": 2}), jobs({"a": (1, State.WAITING), "b": (3, State.HELD)}))
    assert found.renamed == {"new": ("a", ord("a"))}
    assert set(found.strangers) == {"foreign"}
    assert found.missing == {"b": ord("b")}


def test_what_delivery_has_in_hand_is_not_missing() -> None:
    for state in (State.SENDING, State.STORED, State.REFUSED):
        found = compare(present({"new": 1}), jobs({"a": (1, state)}))
        assert not found.missing
        assert not found.renamed


@given(files=FILES, known=st.dictionaries(NAMES, st.tuples(st.integers(1, 6), STATES)))
def test_every_file_and_job_is_accounted_for_once(files: dict[str, int], known: dict[str, tuple[int, State]]) -> None:
    found = compare(present(files), jobs(known))
    assert set(found.renamed) | set(found.strangers) == set(files) - set(known)
    assert not set(found.renamed) & set(found.strangers)
    old = [name for name, _ in found.renamed.values()]
    assert len(old) == len(set(old))
    assert not set(old) & set(found.missing)
    still = {name for name, (_, state) in known.items() if state in (State.WAITING, State.HELD, State.UNKNOWN)}
    assert set(old) | set(found.missing) == still - set(files)
    assert all(files[new] == known[name][0] for new, (name, _) in found.renamed.items())
