# ruff: noqa: E402 - the library may be missing
"""What is told once, however many hosts there are: of a folder, by the host that works there."""

from __future__ import annotations

import time
from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")
needs.library("apprise")

from tests.notify.sink import hook
from tests.postgres.hosts import hosts


def test_a_folder_is_told_of_by_the_host_that_works_there(tmp_path: Path, database: str) -> None:
    with hook() as sink, hosts(tmp_path, database, folders=2) as h:
        url = tmp_path / "desk.url"
        url.write_text(sink.url)
        url.chmod(0o600)
        h.config["notify"] = {"after": "300ms", "digest": "300ms", "to": {"desk": {"url_file": str(url)}}}
        h.config["keep"] = {"done": "7d", "history": "7d"}
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        (mine,), (theirs,) = h.held_by(a), h.held_by(b)
        h.put(mine, "101_V1_consent.pdf")
        h.put(theirs, "999_V1_consent.pdf")
        a.wait_for("done", record="101")
        b.wait_for("failed", record="999")
        sink.wait_for(theirs)
        time.sleep(2.0)
        told = [one for one in sink.got if theirs in one["message"]]
        assert len(told) == 1
        for daemon in (a, b):
            assert daemon.events("internal_error") == daemon.events("check_problem") == []
            eventually(lambda daemon=daemon: len(daemon.events("chain_heads")) == 1)
