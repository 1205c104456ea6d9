"""Commands of somebody who may not look into state_dir: a sentence for each, no traceback."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import needs
from tests.site import DROPCAP, Site


def as_anybody(place: Site, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*needs.unprivileged(), *DROPCAP, *words]
    return subprocess.run(command, env=place.env(), cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words", ["check --offline", "dry-run", "status", "verify", "run --once", "history", "retry 1", "pause --folder consents"]
)
def test_a_state_dir_of_somebody_else(place: Site, words: str) -> None:
    assert place.once().returncode == 0
    place.state.chmod(0)
    try:
        result = as_anybody(place, *words.split())
    finally:
        place.state.chmod(0o700)
    assert result.returncode == (1 if words.startswith("check") else 2)
    assert "Permission denied" in result.stdout + result.stderr
    assert "dropcap's user" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_a_place_that_cannot_be_looked_into(place: Site) -> None:
    closed = place.root / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        result = as_anybody(place, "init", "--yes", "--output", str(closed / "there" / "made.yaml"))
    finally:
        closed.chmod(0o700)
    assert result.returncode == 2
    assert result.stderr.startswith("dropcap: ")
    assert "Traceback" not in result.stderr


def test_a_working_directory_that_is_gone(place: Site) -> None:
    gone = place.root / "gone"
    command = ["sh", "-c", 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"', str(gone), *DROPCAP, "run", "--once", "-c", "x"]
    result = subprocess.run(command, env=place.env(), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
