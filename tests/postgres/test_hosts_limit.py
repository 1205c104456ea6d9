# ruff: noqa: E402 - the library may be missing
"""One budget of requests for all hosts; the minute is moved by moving the stamps of the requests, not by waiting."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests import needs
from tests.site import eventually

needs.library("psycopg")
import psycopg
import pytest

from tests.heavy import heavy
from tests.postgres.hosts import Hosts, hosts

LIMIT = 30


def a_minute_later(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("update slot set at = at - interval '62 seconds' where at > 'epoch'")


def asked(h: Hosts) -> int:
    return len(h.box.requests)


def test_two_hosts_have_one_budget(tmp_path: Path, database: str) -> None:
    with hosts(tmp_path, database, folders=2) as h:
        h.config["projects"]["trial"]["requests_per_minute"] = LIMIT
        a, b = h.start("a"), h.start("b")
        h.spread(a, b)
        files = h.put_all({folder: [f"{100 + n}_{visit}_consent.pdf" for n in range(1, 16)] for folder, visit in
                           zip(h.folders, ("V1", "V2"), strict=True)})  # fmt: skip
        for minute in (1, 2):
            eventually(lambda minute=minute: asked(h) == minute * LIMIT)
            time.sleep(1.0)
            assert asked(h) == minute * LIMIT
            assert (a.stop(), b.stop()) == (0, 0)  # who only waits for room is not waited for
            assert asked(h) == minute * LIMIT
            if minute == 1:
                a_minute_later(database)
                a, b = h.start("a"), h.start("b")
        assert 0 < len(h.done()) < len(files)


@heavy
@pytest.mark.timeout(240)
def test_no_minute_has_more_than_the_limit(tmp_path: Path, database: str) -> None:
    """The real minute, while a host joins, is frozen and is killed."""
    with hosts(tmp_path, database, folders=4) as h:
        h.config["projects"]["trial"]["requests_per_minute"] = 60
        a, b = h.start("a"), h.start("b")
        h.put_all({folder: [f"{100 + n}_{visit}_scan{folder}.pdf" for n in range(1, 16)] for folder, visit in
                   zip(h.folders, ("V1", "V2") * 2, strict=True)})  # fmt: skip
        eventually(lambda: asked(h) >= 20)
        b.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        b.process.send_signal(signal.SIGCONT)
        eventually(lambda: asked(h) >= 60, 60)
        a.kill()
        h.start("c")
        eventually(lambda: asked(h) >= 90, 100)
        times = sorted(one.time for one in h.box.requests)
        most = max(sum(began <= at < began + 60.0 for at in times) for began in times)
        assert 50 <= most <= 60, most
