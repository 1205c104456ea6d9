# ruff: noqa: E402 - the library may be missing
"""Who works in which folder: spread over those who are there, handed over at a stop, left to those who can reach it."""

from __future__ import annotations

import time
from pathlib import Path

from tests import needs
from tests.site import Daemon, eventually

needs.library("psycopg")

from tests.postgres.hosts import TAKEN_OVER, Hosts, hosts

#: Seconds: a folder is handed over within two looks, on a machine that has other things to do as well.
HANDED_OVER = 6.0


def moves(*daemons: Daemon) -> int:
    return sum(len(daemon.events("folder_taken")) for daemon in daemons)


def test_folders_spread_and_are_handed_over_at_once(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=7) as h:
        a, b = h.start("a"), h.start("b")
        print("two", h.spread(a, b))
        c = h.start("c")
        print("three", h.spread(a, b, c))
        assert sorted(len(h.held_by(one)) for one in (a, b, c)) == [2, 2, 3]
        assert moves(b, c) <= 3 + 3  # who joins gets its share, and no folder goes round
        settled = moves(a, b, c)
        held = h.held_by(c)
        began = time.monotonic()
        assert c.stop() == 0
        stopped = time.monotonic() - began
        h.spread(a, b, patience=HANDED_OVER)
        print("stopped", stopped, "handed over", time.monotonic() - began)
        assert moves(a, b, c) == settled + len(held)  # nobody took what another one had
        files = h.put_all({folder: [f"10{number}_V1_consent.pdf"] for number, folder in enumerate(h.folders, 1)})
        eventually(lambda: len(h.done()) == 7)
        h.all_once(files)
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
        assert moves(a, b, c) == 1
        assert a.stop() == 0
        h.spread(b, c, patience=HANDED_OVER)
        assert moves(b, c) == 1


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
        assert (h.held_by(a), h.held_by(b)) == (["d2"], ["d1"])

        away.rmdir()
        h.folders["d1"].rename(away)  # now b lacks it, and a has it
        b.wait_for("folder_away", folder="d1")
        a.wait_for("folder_watched", folder="d1", patience=TAKEN_OVER + 10)
        h.folders["d1"] = away
        h.put("d1", "103_V1_consent.pdf")
        a.wait_for("done", record="103")
        # b has d2 for it; nothing goes round.
        assert [line["folder"] for line in a.events("folder_taken")] == ["d1", "d2", "d1"]
        eventually(lambda: len(h.holders()) == 2)
        assert [line["folder"] for line in b.events("folder_taken")] in (["d1"], ["d1", "d2"])


def test_a_folder_that_all_lack_stays_with_one(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        (mine,) = h.held_by(a)
        a.wait_for("folder_watched", folder=mine)
        away = tmp_path / "away"
        h.folders[mine].rename(away)
        a.wait_for("folder_away", folder=mine)
        before = moves(a, b)
        eventually(lambda: {tuple(lacks) for lacks in lacking(h)} == {(mine,)}, 30)
        status = h.host("a").dropcap("status")
        assert "is away" in status.stdout, status.stdout
        time.sleep(4.5)  # two looks
        assert moves(a, b) == before
        assert h.held_by(a) == [mine]
        away.rename(h.folders[mine])
        a.wait_for("folder_back", folder=mine)
        assert moves(a, b) == before


def lacking(h: Hosts) -> list[list[str]]:
    with h.query() as query:
        return [lacks for (lacks,) in query._reader.rows("select lacks from host where until > clock_timestamp()", ())]
