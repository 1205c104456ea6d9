"""What the commands say of themselves: --help, man pages, a misspelt word, what a shell proposes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import CompletionItem, ShellComplete

from dropcap.cli import COMMANDS, GROUPS, commands
from tests import needs
from tests.cli.command import dropcap
from tests.site import Site

ROOT = Path(__file__).parents[2]


def test_every_command_stands_in_one_group_of_the_help(place: Site) -> None:
    assert sorted(name for names in GROUPS.values() for name in names.split()) == sorted(COMMANDS)
    said = dropcap(place, "--help").output
    assert [line for line in said.splitlines() if line.rstrip(":") in GROUPS] == [f"{group}:" for group in GROUPS]


def test_the_configuration_is_named_before_or_after_the_command(place: Site) -> None:
    elsewhere = place.root / "elsewhere.yaml"
    place.config_file.rename(elsewhere)
    for words in (("-c", str(elsewhere), "explain"), ("explain", "-c", str(elsewhere))):
        assert dropcap(place, *words, "101_V1_consent.pdf").exit_code == 0
    for command in ("status", "check", "run", "history", "verify"):
        result = dropcap(place, command)
        assert result.exit_code == 2 or command == "check"
        assert "run `dropcap init`" in result.stdout + result.stderr


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "sandbox"])
def test_every_help_has_an_example_that_the_command_takes(place: Site, name: str) -> None:
    said = dropcap(place, name, "--help").output
    example = COMMANDS[name].example
    assert f"Example:\n    {example}\n" in said
    words = shlex.split(example)
    words = words[len(words) - words[::-1].index("dropcap") :]
    assert words[0] == name
    root = click.Context(commands)
    command = commands.get_command(root, name)
    made = command.make_context(name, words[1:], root)  # a wrong option ends here
    if isinstance(command, click.Group):  # `dropcap ledger backup FILE`
        _, command, words = command.resolve_command(made, [*made._protected_args, *made.args])
        made = command.make_context("", words, made)
    assert not made.args
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_the_sandbox_has_an_example_too(place: Site) -> None:
    said = place.dropcap("sandbox", "--help").stdout
    assert COMMANDS["sandbox"].example in " ".join(said.split())
    assert "dropcap status" in place.dropcap("--help").stdout.partition("Example:")[2]


@pytest.mark.parametrize(
    ("word", "said"),
    [("statsu", "did you mean `status`?"), ("dryrun", "did you mean `dry-run`?"), ("qqq", "there are: demo, init, check")],
)
def test_a_misspelt_command(place: Site, word: str, said: str) -> None:
    result = dropcap(place, word)
    assert result.exit_code == 2
    assert f"there is no command `{word}`; {said}" in result.output
    assert "\x1b" not in dropcap(place, "\x1b[31m").output


def proposed(place: Site, line: str) -> list[tuple[str, str]]:
    """What a shell is given for the last word of a line."""
    *words, incomplete = line.split(" ")
    complete = ShellComplete(commands, {}, "dropcap", "_DROPCAP_COMPLETE")
    before = os.environ.get("DROPCAP_CONFIG")
    os.environ["DROPCAP_CONFIG"] = str(place.config_file)
    try:
        found: list[CompletionItem] = complete.get_completions(words, incomplete)
    finally:
        os.environ.pop("DROPCAP_CONFIG")
        if before is not None:
            os.environ["DROPCAP_CONFIG"] = before
    return [(item.value, item.help or "") for item in found]


def test_a_shell_knows_commands_folders_projects_servers_and_jobs(place: Site) -> None:
    assert proposed(place, "st") == [("status", COMMANDS["status"].help)]
    assert len(proposed(place, "")) == len(COMMANDS)
    assert proposed(place, "retry ") == [], "no ledger yet"
    place.once()
    place.put("holi\nday\x1b.jpg")
    place.once()
    for command in ("status", "history", "check", "dry-run", "explain", "verify", "retry", "preserved", "pause", "resume"):
        assert proposed(place, f"{command} --folder c") == [("consents", str(place.drop))], command
    assert proposed(place, "pause --project ") == [("trial", place.box.url)]
    assert proposed(place, "resume --server ") == [(place.box.url.split("/")[2], "trial")]
    assert proposed(place, "retry ") == [("1", "consents/holi\\x0aday\\x1b.jpg, no_rule")]
    assert proposed(place, "retry 2") == []


def test_completion_waits_for_nothing_and_says_nothing(place: Site) -> None:
    place.config_file.unlink()
    os.mkfifo(place.config_file)  # whoever opens it waits for good
    env = place.env(COMP_WORDS="dropcap status --folder ", COMP_CWORD="3", _DROPCAP_COMPLETE="bash_complete")
    result = subprocess.run([str(Path(sys.executable).parent / "dropcap")], env=env, capture_output=True, text=True, timeout=30)
    assert (result.stdout.strip(), result.stderr) == ("", "")
    place.config_file.unlink()
    place.config_file.write_text("folders: [\n")
    assert proposed(place, "status --folder ") == []


def test_man_pages_are_made_from_the_help_and_render_without_a_warning(tmp_path: Path) -> None:
    run = [sys.executable, str(ROOT / "tools" / "man_pages.py"), str(tmp_path)]
    made = subprocess.run(run, capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": "0"})
    assert made.returncode == 0, made.stderr
    pages = sorted(tmp_path.glob("*.1"))
    assert sorted(page.stem for page in pages) == sorted(["dropcap", *(f"dropcap-{name}" for name in COMMANDS)])
    assert '"1970-01-01"' in pages[0].read_text()
    man = needs.program("man")
    for page in pages:
        shown = subprocess.run(
            [man, "--warnings", "-l", str(page)], capture_output=True, text=True, env={**os.environ, "MANWIDTH": "80"}
        )
        assert (shown.returncode, shown.stderr) == (0, ""), page
        if page.stem == "dropcap-status":
            for text in (
                "tell what goes on by itself",
                "--failed",
                "dropcap status --failed --folder consents",
                "dropcap-retry(1)",
            ):
                assert text in shown.stdout.replace("‐", "-")
        if page.stem == "dropcap-ledger":
            said = " ".join(shown.stdout.replace("‐", "-").split())
            for text in (
                "dropcap ledger backup [OPTIONS] FILE",
                "dropcap ledger restore [OPTIONS] FILE",
                "1 it could not be made",
            ):
                assert text in said
    if (mandoc := needs.found("mandoc")) is not None:
        linted = subprocess.run([mandoc, "-Tlint", "-Wwarning", *map(str, pages)], capture_output=True, text=True)
        assert linted.returncode == 0, linted.stdout
