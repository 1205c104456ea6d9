"""`dropcap init`, from outside: what it writes, `check` passes and `run` works with."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import yaml

from dropcap.config.load import load
from redcap_sandbox import Field, Sandbox, SandboxProject, classic_project, fields_by_name
from tests import needs
from tests.site import DROPCAP, TOKEN, Site, site


def scripted(place: Site, output: str, *more: str) -> subprocess.CompletedProcess[str]:
    words = ["--url", place.box.url, "--token-file", str(place.token_file), "--folder", str(place.root / "in")]
    return place.dropcap("init", *words, "--state-dir", str(place.root / "s"), "--yes", "--output", output, *more)


def test_what_it_writes_is_passed_by_check_and_delivers(place: Site) -> None:
    needs.mount_table(place.root)
    path = place.root / "made.yaml"
    result = scripted(place, str(path), "--project-name", "study")
    assert result.returncode == 0, result.stderr
    check = place.dropcap("check", "-c", str(path))
    assert check.returncode == 0, check.stdout
    assert "error" not in check.stdout
    assert "warning" not in check.stdout
    text, folder = path.read_text(), load(path).folders["in"]
    assert f"# settle_closed: {folder.settle_closed:g}s\n    # settle_quiet: {folder.settle_quiet:g}s\n" in text
    assert "shorten these only for folders whose writers" in text
    config = load(path)
    assert list(config.projects) == ["study"]
    assert config.projects["study"].project_id == 42
    rules = {rule.name: rule for rule in config.folders["in"].rules}
    assert list(rules) == ["referral_letter", "consent_pdf", "scan", "lab_report"]
    assert rules["lab_report"].instance is not None
    assert rules["referral_letter"].event is not None
    assert rules["referral_letter"].event.text == "baseline_arm_1"
    # Every example that stands in a comment goes where the comment says.
    names = [line.split()[1] for line in path.read_text().splitlines() if " -> record" in line]
    assert len(names) == 4
    for name in names:
        (place.root / "in" / name).write_bytes(name.encode())
    run = place.dropcap("run", "--once", "-c", str(path))
    assert run.returncode == 0, run.stdout + run.stderr
    assert {(h.field, h.event, h.instance) for h in place.box.holdings()} == {
        ("referral_letter", "baseline_arm_1", None),
        ("consent_pdf", "baseline_arm_1", None),
        ("scan", "baseline_arm_1", None),
        ("lab_report", "baseline_arm_1", 1),
    }


def test_a_classic_project(tmp_path: Path) -> None:
    needs.mount_table(tmp_path)
    with Sandbox(classic_project(), token=TOKEN) as box, site(tmp_path, box) as place:
        path = tmp_path / "made.yaml"
        assert scripted(place, str(path)).returncode == 0
        assert "event" not in yaml.safe_load(path.read_text())["folders"]["in"]["rules"][0]
        assert place.dropcap("check", "-c", str(path)).returncode == 0


def test_nothing_is_written_over(place: Site) -> None:
    path = place.root / "made.yaml"
    path.write_text("mine")
    result = scripted(place, str(path))
    assert (result.returncode, "is not written over" in result.stderr) == (2, True)
    assert path.read_text() == "mine"
    path.unlink()
    path.symlink_to(place.root / "elsewhere.yaml")
    assert scripted(place, str(path)).returncode == 2
    assert not (place.root / "elsewhere.yaml").exists()


def test_printed_it_is_the_file(place: Site) -> None:
    result = scripted(place, "-")
    assert result.returncode == 0
    assert list(yaml.safe_load(result.stdout)["projects"]) == ["demo-trial"]
    assert TOKEN not in result.stdout + result.stderr


def test_asked_for_everything(place: Site) -> None:
    needs.mount_table(place.root)
    answers = ["not a url", place.box.url, "short", TOKEN, "trial", str(place.root / "asked")]
    result = subprocess.run(
        [*DROPCAP, "init", "--output", str(place.root / "made.yaml"), "--state-dir", str(place.root / "s")],
        input="\n".join(answers) + "\n",
        env=place.env(),
        capture_output=True,
        text=True,
        timeout=30,
        start_new_session=True,  # no terminal: a hidden prompt reads standard input then
    )
    assert result.returncode == 0, result.stderr
    assert "is not a web address" in result.stderr
    assert "32 characters" in result.stderr
    assert TOKEN not in result.stdout + result.stderr
    token = place.root / "trial.token"
    assert token.read_text().strip() == TOKEN
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert TOKEN not in (place.root / "made.yaml").read_text()
    assert place.dropcap("check", "-c", str(place.root / "made.yaml")).returncode == 0


def test_what_is_missing_or_wrong_is_told_before_anything_is_written(place: Site) -> None:
    path = place.root / "made.yaml"
    without = place.dropcap("init", "--yes", "--output", str(path), "--url", place.box.url)
    assert (without.returncode, "--token-file" in without.stderr) == (2, True)
    other = place.root / "other"
    other.write_text("F" * 32)
    os.chmod(other, 0o600)
    wrong = scripted(place, str(path), "--token-file", str(other))
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (1, False)
    place.box.stop()
    assert scripted(place, str(path)).returncode == 3
    assert not path.exists()
    assert not (place.root / "in").exists()


def test_a_project_without_a_file_field(tmp_path: Path) -> None:
    project = SandboxProject(title="Bare", fields=fields_by_name([Field("record_id", "one")]))
    with Sandbox(project, token=TOKEN) as box, site(tmp_path, box) as place:
        result = scripted(place, str(tmp_path / "made.yaml"))
    assert (result.returncode, "no file upload field" in result.stderr) == (1, True)
    assert not (tmp_path / "made.yaml").exists()
