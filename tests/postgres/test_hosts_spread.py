# ruff: noqa: E402 - the library may be missing
"""Who works in which folder: spread over those who are there, handed over at a stop, left to those who can reach it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")

from redcap_sandbox import Fault
from tests.heavy import heavy
from tests.postgres.hosts import TAKEN_OVER, Hosts, hosts
from tests.shares.mounting import errfs

#: Seconds: a folder is handed over within two looks, on a machine that has other things to do as well.
HANDED_OVER = 20.0


def moves(h: Hosts) -> int:
    """How often folders were taken, by their fences: the log is later."""
    with h.query() as query:
        return sum(fence for (fence,) in query._reader.rows("select fence from lease", ()))


def test_folders_spread_and_are_handed_over_at_once(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=7, lease="1m") as h:
        h.config["projects"]["trial"]["timeout"] = "20s"
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        c = h.start("c")
        h.spread(a, b, c)
        assert sorted(len(h.held_by(one)) for one in (a, b, c)) == [2, 2, 3]
        assert moves(h) - 7 <= 3 + 3  # who joins gets its share, and no folder goes round
        settled = moves(h)
        held = h.held_by(c)
        assert c.stop() == 0
        h.spread(a, b, patience=HANDED_OVER)
        assert moves(h) == settled + len(held)  # nobody took what another one had
        files = h.put_all({folder: [f"10{number}_V1_consent.pdf"] for number, folder in enumerate(h.folders, 1)})
        eventually(lambda: len(h.done()) == 7)
        h.all_once(files)

        # One that stops while a file is being uploaded hands over that file's folder after it, and the others before.
        h.box.ill(Fault("delay", match={"record": "111", "action": "import"}, times=1, seconds=8.0))
        (busy, *others) = h.held_by(b)
        h.put(busy, "111_V1_consent.pdf")
        b.wait_for("sending", record="111")
        b.process.send_signal(signal.SIGTERM)
        a.wait_for("folder_taken", 7 + len(others), patience=HANDED_OVER)
        assert busy not in [line["folder"] for line in a.events("folder_taken")[-len(others) :]]
        assert b.events("done", record="111") == []
        b.wait_for("done", record="111")
        h.spread(a, patience=HANDED_OVER)
        assert (b.process.wait(10), len([one for one in h.imports() if one.record == "111"])) == (0, 1)
        for daemon in (a, b):
            assert daemon.events("lease_lost") == daemon.events("internal_error") == []


def test_one_folder_stays_where_it_is(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database) as h:
        a = h.start("a")
        a.wait_for("folder_watched")
        b = h.start("b")
        h.put("d1", "101_V1_consent.pdf")
        a.wait_for("done")
        c = h.start("c")
        eventually(lambda: len(hosts_seen(h)) == 3)
        time.sleep(4.5)  # two looks
        assert moves(h) == 1
        assert a.stop() == 0
        h.spread(b, c, patience=HANDED_OVER)
        assert moves(h) == 2


def hosts_seen(h: Hosts) -> list[str]:
    with h.query() as query:
        return [pid for (pid,) in query._reader.rows("select pid from host where until > clock_timestamp()", ())]


def test_a_folder_is_left_to_who_can_reach_it(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        away = tmp_path / "away"
        folders = {name: dict(folder) for name, folder in h.config["folders"].items()}
        folders["d1"]["path"] = str(away)
        a = h.start("a", folders=folders)  # it is the first, and has no d1
        a.wait_for("folder_watched", folder="d2")
        a.wait_for("folder_away", folder="d1")
        b = h.start("b")
        b.wait_for("folder_watched", folder="d1")
        away.mkdir()  # another directory, without the marker: its share is not mounted
        h.put("d1", "101_V1_consent.pdf")
        b.wait_for("done", record="101")
        eventually(lambda: (h.held_by(a), h.held_by(b)) == (["d2"], ["d1"]), 30)

        away.rmdir()
        h.folders["d1"].rename(away)  # now b lacks it, and a has it
        b.wait_for("folder_away", folder="d1")
        a.wait_for("folder_watched", folder="d1", patience=TAKEN_OVER)
        h.folders["d1"] = away
        h.put("d1", "103_V1_consent.pdf")
        a.wait_for("done", record="103")
        # b has d2 for it; nothing goes round.
        assert [line["folder"] for line in a.events("folder_taken")] == ["d1", "d2", "d1"]
        eventually(lambda: len(h.holders()) == 2)
        assert [line["folder"] for line in b.events("folder_taken")] in (["d1"], ["d1", "d2"])


@heavy
def test_a_folder_that_all_lack_stays_with_one(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        (mine,) = h.held_by(a)
        a.wait_for("folder_watched", folder=mine)
        away = tmp_path / "away"
        h.folders[mine].rename(away)
        a.wait_for("folder_away", folder=mine)
        before = moves(h)
        eventually(lambda: {tuple(lacks) for lacks in lacking(h)} == {(mine,)}, 30)
        status = h.host("a").dropcap("status")
        assert "is away" in status.stdout, status.stdout
        time.sleep(4.5)  # two looks
        assert moves(h) == before
        assert h.held_by(a) == [mine]
        away.rename(h.folders[mine])
        a.wait_for("folder_back", folder=mine)
        assert moves(h) == before


def lacking(h: Hosts) -> list[list[str]]:
    with h.query() as query:
        return [lacks for (lacks,) in query._reader.rows("select lacks from host where until > clock_timestamp()", ())]


@heavy
def test_a_share_that_hangs_for_one_host_is_another_ones(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h, errfs(tmp_path, tmp_path / "seen") as share:
        folders = {name: dict(folder) for name, folder in h.config["folders"].items()}
        folders["d2"]["path"] = str(tmp_path / "seen")
        h.folders["d2"] = tmp_path / "lower"
        h.config["folders"]["d2"]["path"] = str(h.folders["d2"])
        a = h.start("a", folders=folders)
        a.wait_for("folder_watched", 2)
        b = h.start("b")
        h.spread(a, b)
        assert h.held_by(a) == ["d2"]
        h.put("d2", "101_V1_consent.pdf")
        a.wait_for("done", record="101")
        share.set(stat="block", list="block", open="block")
        h.put("d2", "102_V1_consent.pdf")
        b.wait_for("done", record="102", patience=120)
        share.set()
        eventually(lambda: len(h.holders()) == 2)
        h.put("d1", "103_V1_consent.pdf")
        eventually(lambda: len(h.done()) == 3, 30)
        assert len(h.imports()) == 3
        assert a.events("internal_error") == b.events("internal_error") == []
