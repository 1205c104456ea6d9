"""Commands whose output goes nowhere, or cannot be written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests import needs
from tests.site import DROPCAP, Site


def in_a_shell(place: Site, words: str) -> subprocess.CompletedProcess[str]:
    command = f"{shlex.join(DROPCAP)} {words}"
    return subprocess.run(["bash", "-c", command], env=place.env(), capture_output=True, text=True, timeout=60)


def test_a_run_without_any_output_delivers(place: Site) -> None:
    place.put("101_V1_consent.pdf", b"quiet")
    assert in_a_shell(place, "run --once >&- 2>&- <&-").returncode == 0
    assert place.done() == ["101_V1_consent.pdf"]
    assert place.box.content("101", "consent_pdf") == b"quiet"


def test_output_to_a_full_disk_is_told_in_a_sentence(place: Site) -> None:
    assert Path("/dev/full").exists()
    place.put("101_V1_consent.pdf")
    assert place.once().returncode == 0
    result = in_a_shell(place, "history >/dev/full")
    assert result.returncode == 1
    assert result.stderr == "dropcap: the output cannot be written: No space left on device; make room, or send it elsewhere\n"


def test_a_reader_that_goes_away_is_no_error(place: Site) -> None:
    assert place.once().returncode == 0
    assert in_a_shell(place, "--help | head -1").stderr == ""


def test_a_terminal_that_is_not_utf8_shows_escapes(place: Site) -> None:
    place.once()  # what lies there at first and matches no rule is left
    place.put("é.pdf")
    assert place.once().returncode == 1
    for words in ("status", "history", "explain é.pdf"):
        command = f"PYTHONIOENCODING=ascii {shlex.join(DROPCAP)} {words}"
        result = subprocess.run(["bash", "-c", command], env=place.env(), capture_output=True, text=True, timeout=60)
        assert result.returncode in (0, 1)
        assert result.stderr == ""
        assert "xe9.pdf" in result.stdout or "é.pdf" in result.stdout


def test_no_colour_where_none_is_wanted(place: Site) -> None:
    on_a_terminal = f"{needs.terminal()} -qec {shlex.quote(shlex.join([*DROPCAP, 'check', '--offline']))} /dev/null"
    assert "\x1b[32m" in in_a_terminal(place, on_a_terminal)
    assert "\x1b" not in in_a_terminal(place, on_a_terminal, NO_COLOR="1")


def in_a_terminal(place: Site, command: str, **env: str) -> str:
    clean = {key: value for key, value in place.env(TERM="xterm").items() if key != "NO_COLOR"}
    result = subprocess.run(["bash", "-c", command], env={**clean, **env}, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout
    return result.stdout


#: Runs commands one after the other in one interpreter, on the terminal that it has.
EACH = """
import sys
from dropcap.cli import main
for command in sys.argv[1:]:
    print("=====", flush=True)
    sys.argv = ["dropcap", *command.split()]
    try:
        main()
    except SystemExit:
        pass
    sys.stdout.flush()
"""


def test_on_a_terminal_of_80_columns_no_word_is_broken_and_in_a_pipe_no_line(place: Site) -> None:
    script = needs.terminal()
    place.once()
    place.put("a picture that somebody has dropped here by mistake, of a holiday in the mountains.jpg")
    place.put("999_V1_consent.pdf")
    place.once()
    place.put("998_V1_consent.pdf")
    (place.drop / "998_V1_consnet.pdf").write_bytes(b"a typing error")
    commands = (
        "status --failed",
        "history",
        "explain 101_V1_consent.pdf 101_V1_consnet.pdf",
        "check --all",
        "dry-run",
        "retry 7",
    )
    shell = f"stty cols 80 rows 40; {shlex.join([sys.executable, '-c', EACH, *commands])}"
    env = place.env(TERM="dumb")
    run = [script, "-qec", shell, "/dev/null"]
    shown = subprocess.run(run, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    for command, text in zip(commands, shown.stdout.replace("\r", "").split("=====\n")[1:], strict=True):
        piped = place.dropcap(*command.split())
        words = set((piped.stdout + piped.stderr).split())
        broken = {word for word in text.split() if not re.fullmatch(r"[\d.:,()s]+", word)} - words  # a time is another
        assert not broken, (command, text)
        assert all(len(line) <= 80 or max(map(len, line.split())) > 60 for line in text.splitlines()), (command, text)
