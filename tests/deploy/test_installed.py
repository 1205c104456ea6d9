"""However dropcap was installed and started, its own processes find what it has found, and tell why they ended."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dropcap
from tests import needs
from tests.content.make import pdf
from tests.deploy.installed import PYTHON, command, library
from tests.notify.sink import hook
from tests.notify.test_told import configured
from tests.site import Daemon, Site

needs.library("apprise")

TRY = ["notify", "--test"]


def run(
    words: list[str], place: Site, cwd: Path | None = None, bare: bool = True, **env: str
) -> subprocess.CompletedProcess[str]:
    """With nothing of this environment, or with all of it."""
    whole = {"PATH": os.defpath, "DROPCAP_CONFIG": str(place.config_file), **env} if bare else place.env(**env)
    return subprocess.run(words, cwd=cwd, env=whole, capture_output=True, text=True, timeout=60)


def test_from_the_package_people_are_told(place: Site, tmp_path: Path) -> None:
    package = command(library(tmp_path / "lib"))
    with hook() as desk:
        configured(place, desk=desk.url)
        daemon = Daemon([*package, "run"], place.env())
        place._daemons.append(daemon)
        daemon.wait_for("ready", patience=60)
        place.put("101_V9_oops.pdf")
        daemon.wait_for("notified", patience=60)
        desk.wait_for("consents: 1 file waits for somebody.")
        place.put("101_V1_consent.pdf", pdf()[:25_000])  # looked into by a process of its own, too
        daemon.wait_for("looks_cut_off", patience=60, file="101_V1_consent.pdf")
        assert daemon.stop() == 0
        assert daemon.events("check_problem") == daemon.events("notify_failed") == []

        told = run([*package, "notify", "--ended", "dropcap.service"], place)
        assert (told.returncode, told.stdout, told.stderr) == (0, "sent to desk\n", "")
        desk.wait_for("dropcap.service on ")


@pytest.mark.parametrize(
    "way",
    [
        "the package",
        "PYTHONPATH",
        "PYTHONPATH, nothing else",
        "a relative PYTHONPATH",
        "from its folder",
        "a zip",
        "a virtualenv",
    ],
)
def test_however_it_is_started_its_processes_find_it(place: Site, tmp_path: Path, way: str) -> None:
    lib = library(tmp_path / "lib")
    # Somewhere else, where files have names of Python's own modules: they are nobody's business.
    other = tmp_path / "other"
    other.mkdir()
    for name in ("json", "apprise", "logging", "dropcap", "sitecustomize"):
        (other / f"{name}.py").write_text(f"raise SystemExit('{name} of the wrong folder')\n")
    with hook() as desk:
        configured(place, desk=desk.url)
        match way:
            case "the package":
                told = run([*command(lib), *TRY], place, cwd=other, PYTHONPATH=str(other))
            case "PYTHONPATH":
                told = run([PYTHON, "-m", "dropcap", *TRY], place, PYTHONPATH=str(lib))
            case "PYTHONPATH, nothing else":
                told = run([PYTHON, "-m", "dropcap", *TRY], place, cwd=other, PYTHONPATH=str(lib), PYTHONSAFEPATH="1")
            case "a relative PYTHONPATH":
                told = run([PYTHON, "-S", "-P", "-m", "dropcap", *TRY], place, cwd=tmp_path, PYTHONPATH="lib")
            case "from its folder":
                told = run([PYTHON, "-c", "from dropcap.cli import main; main()", *TRY], place, cwd=lib)
            case "a zip":
                (lib / "dropcap").unlink()
                assert dropcap.__file__ is not None
                source = Path(dropcap.__file__).parent
                with zipfile.ZipFile(tmp_path / "dropcap.zip", "w") as packed:
                    packed.writestr("__main__.py", "from dropcap.cli import main; main()")
                    for path in [*source.rglob("*.py"), *source.rglob("*.mo")]:
                        packed.write(path, path.relative_to(source.parent))
                told = run([PYTHON, str(tmp_path / "dropcap.zip"), *TRY], place, cwd=other, PYTHONPATH=str(lib))
            case _:
                told = run([sys.executable, "-P", "-m", "dropcap", *TRY], place, cwd=other)
        assert (told.returncode, told.stdout, told.stderr) == (0, "sent to desk\n", "")
    assert len(desk.got) == 1


TOKEN = "89abcdef" * 4


@pytest.mark.parametrize(
    ("apprise", "said"),
    [
        (f"raise ImportError('no libfoo.so.1, {TOKEN}')", "(exit code 1): ImportError: no libfoo.so.1, [hidden]\n"),
        ("import sys; sys.stderr.write('noise ' * 200_000); raise OSError('x' * 9999)", "(exit code 1): xxx"),
        ("class Apprise:\n def add(self, url): raise ValueError(url)", "(exit code 1): ValueError in "),
        ("import logging\nclass Apprise:\n def add(self, url): logging.error(url); raise SystemExit(7)", "(exit code 7)\n"),
        ("import os, sys; sys.stderr.write('last\\n'); sys.stderr.flush(); os.kill(os.getpid(), 9)", "(Killed): last\n"),
    ],
    ids=["no library", "noise", "an address in an error", "an address in a log", "killed"],
)  # fmt: skip
def test_a_process_that_ends_early_says_why(place: Site, tmp_path: Path, apprise: str, said: str) -> None:
    lib = library(tmp_path / "lib", without={"apprise"})
    (lib / "apprise.py").write_text(apprise + "\n")
    configured(place, desk="json://127.0.0.1:1/hook-secret/")
    told = run([*command(lib), *TRY], place)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("not sent to desk: the process that sends it has ended "), told.stderr
    assert said in told.stderr
    assert "what to do: " in told.stderr
    assert len(told.stderr) < 800
    assert "hook-secret" not in told.stderr
