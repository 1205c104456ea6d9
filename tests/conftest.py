from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests import needs, warm
from tests.site import Site, site

if TYPE_CHECKING:  # the extra [postgres] may not be installed
    from tests.postgres.cluster import Cluster

# A machine that is busy with other tests is slow now and then; that is no fault of what is tested. Who judges a change tries the
# same examples each time; everybody else tries new ones.
settings.register_profile("dropcap", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("dropcap")

# A run that a shell put into the background ignores Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


#: Tests that wait long, for a lease to lapse say. Begun last, they would keep the others' processors idle.
WAIT = ("tests/postgres/", "tests/e2e/test_demo")
#: Of these, the ones that ask much of a pair of hosts, which each process would have to start for itself.
TOGETHER = "tests/postgres/test_commands.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each process of several begins with its share of those that wait: tests go to processes in pieces of equal length."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        waiting = [item for item in items if item.nodeid.startswith(WAIT) and not item.nodeid.startswith(TOGETHER)]
        together = [item for item in items if item.nodeid.startswith(TOGETHER)]
        others = [item for item in items if not item.nodeid.startswith(WAIT)]
        each = len(items) // processes
        ordered: list[pytest.Item] = []
        for number in range(processes):
            ordered += together if number == 0 else []
            ordered += waiting[number::processes]
            room = max(0, each * (number + 1) - len(ordered))
            ordered += others[:room]
            del others[:room]
        items[:] = ordered + others


def pytest_unconfigure() -> None:
    warm.end()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    """A drop folder that is delivered to a sandbox REDCap."""
    with site(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A running PostgreSQL, shared by all tests of a process: who stops, kills or configures one makes another."""
    needs.postgresql()
    from tests.postgres.cluster import cluster

    with cluster() as made:
        yield made


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    """The DSN of a fresh, empty database."""
    dsn = postgres.create_database()
    yield dsn
    postgres.drop_database(dsn)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, without a window; one for all tests of a process, since Playwright does not bear two."""
    needs.library("playwright")
    from playwright.sync_api import sync_playwright

    program = needs.program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield browser
        browser.close()
