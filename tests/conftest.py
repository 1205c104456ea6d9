from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.site import Site, site


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Site]:
    """A drop folder that is delivered to a sandbox REDCap."""
    with site(tmp_path) as made:
        yield made
