"""The state directory: one at a time, and root leaves nothing behind that the daemon's user cannot use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropcap.daemon.state import AlreadyRunning, StateError, only_one, open_ledger, prepare, running
from tests import needs


def test_one_at_a_time(tmp_path: Path) -> None:
    with only_one(tmp_path):
        assert running(tmp_path)
        with pytest.raises(AlreadyRunning), only_one(tmp_path):
            pass
    assert not running(tmp_path)


def test_what_root_makes_belongs_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    needs.root("to give files away")
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 12345, 23456)
    prepare(state)
    with only_one(state):
        open_ledger(state).close()
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in state.rglob("*")}
    assert {"windows", "lock", "ledger.db", "installation"} <= set(owners)
    assert set(owners.values()) == {(12345, 23456)}


def test_a_lock_that_cannot_be_opened_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StateError, match="cannot be written"), only_one(tmp_path):
        pass
    assert not running(tmp_path)


@pytest.mark.parametrize(("mode", "wanted"), [(0o750, 0o640), (0o700, 0o600)])
def test_who_may_look_into_the_directory_may_read_the_ledger(tmp_path: Path, mode: int, wanted: int) -> None:
    state = tmp_path / "state"
    before = os.umask(0o077)
    try:
        state.mkdir(mode)
        state.chmod(mode)
        ledger = open_ledger(state)
        assert {path.stat().st_mode & 0o777 for path in state.glob("ledger.db*")} == {wanted}
        ledger.close()
    finally:
        os.umask(before)
