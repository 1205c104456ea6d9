"""The version of what is built, with tags and without, from a clone, an archive and an sdist."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import needs

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "release/version.py"


def git(place: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(place), "-c", "user.name=n", "-c", "user.email=n@example.org", *words], check=True, capture_output=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    needs.git()
    place = tmp_path / "clone"
    (place / "release").mkdir(parents=True)
    shutil.copy(SCRIPT, place / "release")
    shutil.copy(ROOT / ".gitattributes", place)
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-qm", "one")
    return place


def of(place: Path) -> str:
    version: Callable[[], str] = runpy.run_path(str(place / "release/version.py"))["version"]
    return version()


def test_builds_are_told_apart(clone: Path, tmp_path: Path) -> None:
    found: dict[str, Any] = runpy.run_path(str(SCRIPT))
    coming = found["NEXT"]
    assert re.fullmatch(rf"{coming}\.dev1\+g[0-9a-f]{{9}}", of(clone)), "no tag at all"
    git(clone, "tag", "v0.1.0")
    with pytest.raises(ValueError, match=r"release/version\.py says"):
        of(clone)
    git(clone, "commit", "-qm", "two", "--allow-empty")
    git(clone, "commit", "-qm", "three", "--allow-empty")
    assert re.fullmatch(rf"{coming}\.dev2\+g[0-9a-f]{{9}}", of(clone))
    git(clone, "tag", f"v{coming}")
    assert of(clone) == coming
    (clone / ".gitattributes").write_text("release/version.py export-subst\n# changed\n")
    assert of(clone).endswith(".changed")

    git(clone, "checkout", "-q", ".")
    archive = tmp_path / "archive"
    archive.mkdir()
    (tmp_path / "a.tar").write_bytes(
        subprocess.run(["git", "-C", str(clone), "archive", "HEAD"], check=True, capture_output=True).stdout
    )
    shutil.unpack_archive(tmp_path / "a.tar", archive, filter="data")
    assert re.fullmatch(rf"{coming}\.dev0\+g[0-9a-f]+", of(archive)), "git archive writes the commit in"

    sdist = tmp_path / "sdist"
    (sdist / "src/dropcap").mkdir(parents=True)
    (sdist / "release").mkdir()
    shutil.copy(SCRIPT, sdist / "release")
    assert of(sdist) == f"{coming}.dev0+unknown"
    (sdist / "src/dropcap/_build.py").write_text('VERSION = "7.8.9"\n')
    assert of(sdist) == "7.8.9"


def test_every_release_has_its_heading() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(re.match(r"\d+\.\d+\.\d+( |$)", heading) for heading in headings[1:]), headings
    if not (ROOT / ".git").exists():
        return
    needs.git()
    tags = git(ROOT, "tag", "--list", "v[0-9]*").split()
    assert {tag[1:] for tag in tags} <= {heading.split()[0] for heading in headings}
