"""dropcap as `pip install dropcap-redcap` brings it: without the libraries of any extra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from dropcap.cli import commands
from tests.heavy import heavy
from tests.site import Site

#: Python imports it before anything else.
HIDDEN = """
import sys

for name in {libraries}:
    sys.modules[name] = None
"""

#: What the extras bring, and the stand-in itself.
EXTRAS = ["cheroot", "defusedxml", "redcap_sandbox", "psycopg", "apprise", "prometheus_client", "starlette", "uvicorn", "jinja2"]

#: Commands one after the other in one interpreter: the words of each, its exit code and what it complains of.
ONE_BY_ONE = """
import json, sys
from click.testing import CliRunner
from dropcap.cli import commands

for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(commands, words, catch_exceptions=False)
    print(json.dumps([words, result.exit_code, result.stderr]))
"""


def one_by_one(place: Site, bare: dict[str, str], asked: list[list[str]]) -> list[list[object]]:
    command = [sys.executable, "-c", ONE_BY_ONE, json.dumps(asked)]
    result = subprocess.run(command, env=place.env(**bare), capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(params=[["cheroot"], ["defusedxml"], ["cheroot", "defusedxml", "redcap_sandbox"]], ids="+".join)
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a dropcap that lacks them."""
    return _without(tmp_path, request.param)


def _without(root: Path, libraries: list[str]) -> dict[str, str]:
    place = root / "hidden"
    place.mkdir()
    (place / "sitecustomize.py").write_text(HIDDEN.replace("{libraries}", repr(libraries)))
    return {"PYTHONPATH": str(place)}


@pytest.mark.parametrize(
    "words",
    [("demo", "--keep"), ("sandbox", "--classic"), *(pytest.param((one,), marks=heavy) for one in ("demo", "sandbox"))],
    ids=" ".join,
)
def test_its_two_commands_say_how_to_install_it(
    place: Site, bare: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "tmp").mkdir()
    result = place.dropcap(*words, **bare, TMPDIR=str(tmp_path / "tmp"))
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("dropcap: the sandbox needs ")
    assert line.endswith("-m pip install 'dropcap-redcap[sandbox]'")
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("library", ["cheroot", "defusedxml"])
def test_the_stand_in_by_itself_says_what_it_lacks(place: Site, tmp_path: Path, library: str) -> None:
    command = [sys.executable, "-m", "redcap_sandbox"]
    result = subprocess.run(command, env=place.env(**_without(tmp_path, [library])), capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1].endswith(
        f"the REDCap stand-in needs {library}; install it: pip install 'dropcap-redcap[sandbox]'"
    )


def test_every_command_tells_its_help(place: Site, tmp_path: Path) -> None:
    bare = _without(tmp_path, EXTRAS)
    assert "sandbox" in place.dropcap("--help", **bare).stdout
    asked = [[command, "--help"] for command in commands.list_commands(click.Context(commands))]
    assert one_by_one(place, bare, asked) == [[words, 0, ""] for words in asked]


def test_completion_goes_on(place: Site, tmp_path: Path) -> None:
    bare = _without(tmp_path, EXTRAS)
    asked = {"_DROPCAP_COMPLETE": "bash_complete", "COMP_WORDS": "dropcap ", "COMP_CWORD": "1"}
    result = place.dropcap(**bare, **asked)
    assert "plain,demo" in result.stdout.splitlines()
    assert result.stderr == ""


def test_the_daemon_delivers(place: Site, tmp_path: Path) -> None:
    bare = _without(tmp_path, EXTRAS)
    daemon = place.start(**bare)
    place.put("101_V1_consent.pdf", b"without")
    daemon.wait_for("done", file="101_V1_consent.pdf")
    asked = [["status"], ["history"], ["check"], ["dry-run"], ["explain", "101_V1_consent.pdf"], ["verify"]]
    answers = one_by_one(place, bare, asked)
    assert [words for words, code, _ in answers if code == 0] == asked, answers
    assert place.box.content("101", "consent_pdf") == b"without"
    assert daemon.stop() == 0
