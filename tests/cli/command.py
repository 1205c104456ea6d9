"""The real command within the test's own process: these tests run it a hundred times, and an interpreter takes time to start."""

from __future__ import annotations

from click.testing import CliRunner, Result

from dropcap.cli import commands
from tests.site import Site


def dropcap(place: Site, *words: str) -> Result:
    """Run a command to its end; an exception that it does not deal with is the test's."""
    return CliRunner().invoke(commands, words, env={"DROPCAP_CONFIG": str(place.config_file)}, catch_exceptions=False)
