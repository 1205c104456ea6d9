"""Where standard error is systemd's journal, every line says how bad it is; so does what keeps dropcap from starting."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from dropcap.daemon import log as journal
from tests.site import DROPCAP, Site, eventually

#: Before a command: its standard error is said to be the journal's.
IN_THE_JOURNAL = ["sh", "-c", 'JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$0" "$@"']


def told(text: str) -> list[tuple[int, dict[str, object]]]:
    """Priority and content of each line, all of which have one."""
    lines = [re.fullmatch(r"<([0-7])>(\{.*\})", line) for line in text.splitlines()]
    assert all(lines), text
    return [(int(line[1]), json.loads(line[2])) for line in lines if line]


def refused(place: Site, *words: str) -> tuple[int, str]:
    command = [*IN_THE_JOURNAL, *DROPCAP, *words]
    done = subprocess.run(command, env=place.env(), capture_output=True, text=True, timeout=30)
    return done.returncode, done.stderr


def test_lines_of_the_log_have_their_priority(place: Site) -> None:
    daemon = place.start(IN_THE_JOURNAL, ready=False)
    eventually(lambda: any('"folder_watched"' in line for line in daemon.raw))
    place.put("holiday.jpg")
    eventually(lambda: any('"failed"' in line for line in daemon.raw))
    place.config["folders"]["consents"]["rules"][0]["pattern"] = "{record"
    place.write_config()
    assert place.dropcap("reload").returncode == 1
    eventually(lambda: any('"config_problem"' in line for line in daemon.raw))
    assert daemon.stop() == 0
    levels = {"info": 6, "warning": 4, "error": 3}
    lines = told("".join(daemon.raw))
    assert {priority for priority, _ in lines} == set(levels.values())
    assert all(priority == levels[str(line["level"])] for priority, line in lines)


def test_what_keeps_it_from_starting_is_an_error_with_a_remedy(place: Site) -> None:
    place.config["colour"] = "blue"
    place.write_config()
    code, text = refused(place, "run")
    assert code == 2
    problem, end = told(text)
    assert (problem[0], problem[1]["event"], end[0], end[1]["event"]) == (3, "config_problem", 3, "cannot_start")
    assert "colour" in str(problem[1]["message"])
    assert "correct what is said above" in str(end[1]["message"])

    code, text = refused(place, "run", "--colour")
    ((priority, line),) = told(text)
    assert (code, priority, line["event"]) == (2, 3, "cannot_start")
    assert "No such option" in str(line["message"])
    assert "correct ExecStart=" in str(line["message"])

    place.state.write_text("a file in its place")
    del place.config["colour"]
    place.write_config()
    code, text = refused(place, "run")
    ((priority, line),) = told(text)
    assert (code, priority, line["event"]) == (5, 3, "cannot_start")
    assert "name another" in str(line["message"])


def test_a_command_for_systemd_says_it_as_an_error_too(place: Site) -> None:
    code, text = refused(place, "reload")
    assert (code, text.splitlines()) == (
        1,
        ["<3>dropcap: no dropcap runs with this state_dir: it takes up the configuration when it starts"],
    )


def test_the_journal_is_known_by_the_stream_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "log", "w") as stream, open(tmp_path / "other", "w") as other:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert journal.reads(stream)
        assert not journal.reads(other), "a shell's redirection"
        monkeypatch.setenv("JOURNAL_STREAM", "words")
        assert not journal.reads(stream)
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not journal.reads(stream)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert not journal.reads(stream), "it is closed"
    assert journal.with_priority("one\ntwo", "warning") == "<4>one\n<4>two", "each line by itself"
