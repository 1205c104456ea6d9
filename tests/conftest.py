from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests import warm
from tests.site import Site, site

# A machine that is busy with other tests is slow now and then; that is no fault of what is tested. Who judges a change tries the
# same examples each time; everybody else tries new ones.
settings.register_profile("dropcap", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("dropcap")


def pytest_unconfigure() -> None:
    warm.end()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    """A drop folder that is delivered to a sandbox REDCap."""
    with site(tmp_path) as made:
        yield made
