"""A dropcap that was forked is to a test what one with an interpreter of its own is."""

from __future__ import annotations

import re
import subprocess

from tests import warm
from tests.site import DROPCAP, Site

WORDS = (["--help"], ["--version"], ["status"], ["histroy"], ["history", "x"], ["run", "--once"])


def said(ended: subprocess.CompletedProcess[str]) -> tuple[int, list[str], list[str]]:
    """The exit code and what was written, without times and heads in lines of the log (whose threads may change places)."""
    lines = [
        sorted(re.sub(r'"timestamp": "[^"]*", |As of [0-9:]+|acts:[0-9]+:[0-9a-f]+', "", text).splitlines())
        for text in (ended.stdout, ended.stderr)
    ]
    return ended.returncode, lines[0], lines[1]


def test_it_says_and_ends_as_any_other(place: Site) -> None:
    assert place.once().returncode == 0
    for words in WORDS:
        cold = subprocess.run([*DROPCAP, *words], env=place.env(), capture_output=True, text=True)
        assert said(warm.run(words, place.env(), 20)) == said(cold), words
