"""`dropcap init` at a terminal: the URL comes first, slips are asked again; and `--add` to a configuration that is there."""

from __future__ import annotations

import resource
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from dropcap.cli import commands
from dropcap.config.load import load
from redcap_sandbox import Sandbox, classic_project
from tests.site import DROPCAP, TOKEN, Site

OTHER = "FEDCBA9876543210FEDCBA9876543210"


def asked(place: Site, answers: list[str], *words: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """`init`, its questions answered: without a terminal a hidden prompt reads standard input. `limit`: of each file (bytes)."""
    return subprocess.run(
        [*DROPCAP, "init", *words],
        input="\n".join(answers) + "\n",
        env=place.env(),
        capture_output=True,
        text=True,
        timeout=30,
        start_new_session=True,
        preexec_fn=None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def test_the_url_is_asked_first_and_every_slip_again(place: Site) -> None:
    taken, made = place.root / "taken.yaml", place.root / "made.yaml"
    taken.write_text("mine")
    (place.root / "file").write_text("no folder")
    answers = ["https://redcap.example.org/", "http://127.0.0.1:9/api/", "short", OTHER, place.box.url, TOKEN]
    answers += ["a/b", "trial", str(taken), str(place.root / "nowhere" / "x.yaml"), str(made)]
    answers += [str(place.root / "file" / "drop"), str(place.root / "s" / "drop"), str(place.root / "asked")]
    result = asked(place, answers, "--state-dir", str(place.root / "s"))
    assert result.returncode == 0, result.stderr
    told = result.stderr
    order = [
        "URL of REDCap's API",
        "the project's API token",
        "name for the project",
        "write the configuration to",
        "the drop folder",
    ]
    assert sorted(order, key=told.index) == order
    slips = ["ends with /api/", "has 32 characters", "cannot be a name", "is not written over", "no directory", "cannot be made"]
    for slip in [*slips, "overlap"]:
        assert told.count(slip) == 1, (slip, told)
    assert told.count("URL of REDCap's API:") == 3  # the one that nobody answers at is asked again, the token is not
    assert told.count("API token (not shown)") == 3
    assert (TOKEN in told + result.stdout, OTHER in told + result.stdout) == (False, False)
    assert taken.read_text() == "mine"
    config = load(made)
    assert config.problems == ()
    assert (list(config.projects), config.folders["asked"].path) == (["trial"], place.root / "asked")


def test_a_configuration_is_named_to_add_to_it(place: Site) -> None:
    result = CliRunner().invoke(commands, ["init", "-c", str(place.config_file), "--yes"])
    assert (result.exit_code, "-c goes with --add" in result.output) == (2, True)


def test_what_an_option_says_wrong_is_not_asked(place: Site) -> None:
    result = asked(place, [place.box.url, TOKEN], "--url", "http://127.0.0.1:9/api/", "--token-file", str(place.token_file))
    assert result.returncode == 3
    assert result.stderr.count("dropcap:") == 1


@pytest.fixture
def registry(tmp_path: Path) -> object:
    """A second project, on a server of its own."""
    secret = tmp_path / "registry.token"
    secret.write_text(OTHER)
    secret.chmod(0o600)
    with Sandbox(classic_project(), OTHER) as box:
        yield box, secret


def test_a_project_is_added(place: Site, registry: tuple[Sandbox, Path]) -> None:
    box, secret = registry
    before = place.config_file.read_text()
    place.config_file.write_text("# by hand\n" + before.rstrip("\n"))  # no newline at its end
    words = ["--add", "--url", box.url, "--token-file", str(secret), "--folder", str(place.root / "in"), "--yes"]
    result = place.dropcap("init", *words)
    assert result.returncode == 0, result.stderr
    after = place.config_file.read_text()
    assert after == "# by hand\n" + before.rstrip("\n") + "\ninclude: conf.d/*.yaml\n"
    config = load(place.config_file)
    assert config.problems == ()
    assert (list(config.projects), list(config.folders)) == (["trial", "demo-registry"], ["consents", "in"])
    assert place.dropcap("check", "--offline").returncode == 0
    assert OTHER not in (place.root / "conf.d" / "demo-registry.yaml").read_text() + result.stderr
    # A third, on the same server and longitudinal as the first: the tables that are there stay what they are.
    third = ["--url", place.box.url, "--token-file", str(place.token_file), "--folder", str(place.root / "drop" / "inner")]
    place.box.project.project_id = 44
    inside = place.dropcap("init", "--add", *third, "--yes")
    assert (inside.returncode, "overlap" in inside.stderr) == (2, True)
    third[-1] = str(place.root / "third" / "in")
    (place.root / "third").mkdir()
    again = place.dropcap("init", "--add", *third, "--yes")
    assert again.returncode == 0, again.stderr
    assert place.config_file.read_text() == after
    config = load(place.config_file)
    assert list(config.folders) == ["consents", "in", "in-2"]
    assert list(config.tables) == ["visits", "visits_2"]
    assert dict(config.tables["visits"]) == {"V1": "baseline_arm_1", "V2": "month_6_arm_1"}


def test_what_cannot_be_added_changes_nothing(place: Site, registry: tuple[Sandbox, Path]) -> None:
    box, secret = registry
    words = ["--url", box.url, "--token-file", str(secret), "--folder", str(place.root / "in"), "--yes"]

    def refused(*more: str, said: str, there: bool = False) -> None:
        before = {path: path.read_bytes() for path in place.root.rglob("*.yaml")}
        environment = {"DROPCAP_CONFIG": str(place.config_file)}
        result = CliRunner().invoke(commands, ["init", "--add", *words, *more], env=environment, catch_exceptions=False)
        assert (result.exit_code, said in result.output) == (2, True), result.output
        assert {path: path.read_bytes() for path in place.root.rglob("*.yaml")} == before
        assert (place.root / "conf.d").exists() is there
        assert not (place.root / "in").exists()

    refused("--project-name", "trial", said="has a project `trial` already")
    refused("--output", "x.yaml", said="--add takes neither")
    refused("-c", str(place.root / "none.yaml"), said="no configuration")
    plain = place.config_file.read_text()
    place.config_file.write_text(plain + "...\n")  # the end of a YAML document: no line can follow
    refused(said="could not be added")
    place.config_file.write_text(plain)
    (place.root / "conf.d").mkdir()
    (place.root / "conf.d" / "old.yaml").write_text(f'projects: {{old: {{url: "{box.url}", token_file: t}}}}\n')
    refused(said="conf.d holds more than this project: old", there=True)
    (place.root / "conf.d" / "old.yaml").unlink()
    (place.root / "conf.d").rmdir()
    place.config["include"] = ["more.yaml"]
    (place.root / "more.yaml").write_text("tables: {}\n")
    place.write_config()
    refused(said="add conf.d/*.yaml to it")
    del place.config["include"]
    place.project["project_id"] = 43
    place.project["url"] = box.url
    place.write_config()
    refused(said="has this project already, as `trial`")
    place.config["colour"] = "red"
    place.write_config()
    refused(said="has mistakes")


def test_a_token_that_is_typed_is_kept_beside_the_configuration(place: Site, registry: tuple[Sandbox, Path]) -> None:
    box, _ = registry
    result = asked(place, [box.url, OTHER, "", str(place.root / "in")], "--add")
    assert result.returncode == 0, result.stderr
    kept = place.root / "demo-registry.token"
    assert (kept.read_text().strip(), stat.S_IMODE(kept.stat().st_mode)) == (OTHER, 0o600)
    assert place.dropcap("check", "--folder", "in").returncode == 0
