"""dropcap as `pip install dropcap-redcap` brings it: without the libraries of the sandbox."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from dropcap.cli import commands
from tests.site import Site

#: Python imports it before anything else.
HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {libraries}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(params=[["cheroot"], ["defusedxml"], ["cheroot", "defusedxml", "redcap_sandbox"]], ids="+".join)
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a dropcap that lacks them."""
    return _without(tmp_path, request.param)


def _without(root: Path, libraries: list[str]) -> dict[str, str]:
    place = root / "hidden"
    place.mkdir()
    (place / "sitecustomize.py").write_text(HIDDEN.replace("{libraries}", repr(libraries)))
    return {"PYTHONPATH": str(place)}


@pytest.mark.parametrize("words", [("demo",), ("demo", "--ill", "--keep"), ("sandbox",), ("sandbox", "--classic")], ids=" ".join)
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


def test_every_command_tells_its_help(place: Site, tmp_path: Path) -> None:
    bare = _without(tmp_path, ["cheroot", "defusedxml", "redcap_sandbox"])
    assert "sandbox" in place.dropcap("--help", **bare).stdout
    for command in commands.list_commands(click.Context(commands)):
        result = place.dropcap(command, "--help", **bare)
        assert (result.returncode, result.stderr) == (0, ""), command


def test_completion_goes_on(place: Site, tmp_path: Path) -> None:
    bare = _without(tmp_path, ["cheroot", "defusedxml", "redcap_sandbox"])
    asked = {"_DROPCAP_COMPLETE": "bash_complete", "COMP_WORDS": "dropcap ", "COMP_CWORD": "1"}
    result = place.dropcap(**bare, **asked)
    assert "plain,demo" in result.stdout.splitlines()
    assert result.stderr == ""


def test_the_daemon_delivers(place: Site, tmp_path: Path) -> None:
    bare = _without(tmp_path, ["cheroot", "defusedxml", "redcap_sandbox"])
    daemon = place.start(**bare)
    place.put("101_V1_consent.pdf", b"without")
    daemon.wait_for("done", file="101_V1_consent.pdf")
    for words in (["status"], ["history"], ["check"], ["dry-run"], ["explain", "101_V1_consent.pdf"], ["verify"]):
        result = place.dropcap(*words, **bare)
        assert result.returncode == 0, (words, result.stdout, result.stderr)
    assert place.box.content("101", "consent_pdf") == b"without"
    assert daemon.stop() == 0
