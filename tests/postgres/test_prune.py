# ruff: noqa: E402 - the library may be missing
"""`dropcap prune` where several hosts share the ledger: each removes in the folders in which it works, and in no others."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")

import psycopg

from tests.postgres.hosts import hosts


def test_each_host_removes_in_its_own_folders(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        h.config["keep"] = {"done": "30d", "history": "30d"}
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        for number, folder in enumerate(h.folders, 101):
            h.put(folder, f"{number}_V1_consent.pdf")
        (mine,), (theirs,) = h.held_by(a), h.held_by(b)
        eventually(lambda: len(h.done()) == 2 and all(job.ended_at for job in h.jobs()))
        with psycopg.connect(database) as connection:
            connection.execute("update job set ended_at = ended_at - 3456000, claimed_at = claimed_at - 3456000")
        refused = h.host("none").dropcap("prune")
        assert refused.returncode == 1
        assert "no dropcap runs on this host" in refused.stderr
        went = json.loads(h.sites["a"].dropcap("prune", "--json").stdout)
        assert [(one["folder"], one["removed"]) for one in went["over"]] == [(mine, True)]
        assert [one["folder"] for one in went["elsewhere"]] == [theirs]
        assert [name.partition("/")[0] for name in h.done()] == [theirs]
        a.wait_for("removed", what="done", folder=mine)

        # Whose lease another host has by now removes nothing more.
        assert h.sites["b"].dropcap("pause", "--folder", theirs, "--release").returncode == 0
        eventually(lambda: theirs not in h.held_by(b))
        left = h.sites["b"].dropcap("prune", "--folder", theirs)
        assert f"{theirs}: not looked at" in left.stderr
        assert len(h.done()) == 1
        assert h.sites["b"].dropcap("resume", "--folder", theirs).returncode == 0
        eventually(lambda: len(h.held_by(a)) + len(h.held_by(b)) == 2)
        began = time.monotonic()
        eventually(lambda: not [s.dropcap("prune") for s in (h.sites["a"], h.sites["b"])] or not h.done(), 40)
        assert time.monotonic() - began < 40
        with h.query() as query:
            assert query.metas("pruned ").keys() == {mine, theirs}
