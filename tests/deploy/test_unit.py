"""What deploy/ holds is what systemd, Samba and dropcap itself understand."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

from dropcap.config.load import load
from tests import needs

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def _unit() -> dict[str, list[str]]:
    """The [Service] section: each key with its values."""
    section = DEPLOY.joinpath("dropcap.service").read_text().partition("[Service]")[2].partition("[Install]")[0]
    settings: dict[str, list[str]] = {}
    for line in section.splitlines():
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    return settings


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|min)", text).groups()  # type: ignore[union-attr]
    return float(number) * (60 if unit == "min" else 1)


@pytest.mark.parametrize("name", ["dropcap.service", "dropcap-failed.service", "dropcap-prune.service", "dropcap-prune.timer"])
def test_systemd_understands_the_unit(tmp_path: Path, name: str) -> None:
    analyze = needs.systemd_analyze()
    if int(re.findall(r"\d+", subprocess.run([analyze, "--version"], capture_output=True, text=True).stdout)[0]) < 254:
        needs.lacking("systemd 254 or newer, for RestartSteps=")
    program = tmp_path / "dropcap"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / name
    for path in DEPLOY.glob("*.*"):  # a timer needs its service
        if path.suffix in (".service", ".timer"):
            text = path.read_text()
            assert "/opt/dropcap/bin/dropcap" in text or path.suffix == ".timer"
            (tmp_path / path.name).write_text(text.replace("/opt/dropcap/bin/dropcap", str(program)))
    result = subprocess.run([analyze, "verify", "--recursive-errors=no", str(unit)], capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_the_unit_is_well_guarded() -> None:
    analyze = needs.systemd_analyze()
    result = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=15", str(DEPLOY / "dropcap.service")],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"exposure above 1.5 of 10:\n{result.stdout[-3000:]}{result.stderr}"


def test_the_unit_agrees_with_the_example_configuration() -> None:
    unit = _unit()
    config = load(ROOT / "config.example.yaml")
    assert _seconds(unit["TimeoutStopSec"][0]) > config.stop_within
    assert config.state_dir == Path("/var/lib") / unit["StateDirectory"][0]
    assert unit["ExecStart"][0].split()[-2:] == ["-c", f"/etc/{unit['ConfigurationDirectory'][0]}/config.yaml"]
    writable = unit["ReadWritePaths"][0].removeprefix("-")
    folders = re.findall(r"^    path: (\S+)", (ROOT / "config.example.yaml").read_text(), re.MULTILINE)
    assert folders
    assert all(path.startswith(writable + "/") for path in folders)


def test_accounts_and_folders_are_made(tmp_path: Path) -> None:
    needs.root("to give directories away")
    sysusers, tmpfiles = needs.program("systemd-sysusers"), needs.program("systemd-tmpfiles")
    etc = tmp_path / "etc"
    etc.mkdir()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (etc / name).touch()
    made = subprocess.run([sysusers, f"--root={tmp_path}", str(DEPLOY / "dropcap.sysusers")], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    groups = {line.split(":")[0]: line.split(":")[3] for line in (etc / "group").read_text().splitlines()}
    assert "dropcap:" in (etc / "passwd").read_text()
    assert groups["redcap-drop"] == "dropcap"
    made = subprocess.run(
        [tmpfiles, "--create", f"--root={tmp_path}", str(DEPLOY / "dropcap.tmpfiles")], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    ids = {line.split(":")[0]: int(line.split(":")[2]) for line in (etc / "group").read_text().splitlines()}
    drop = (tmp_path / "srv/dropcap/consents").stat()
    assert (drop.st_mode & 0o7777, drop.st_gid) == (0o2770, ids["redcap-drop"])
    settings = (tmp_path / "etc/dropcap").stat()
    assert (settings.st_mode & 0o7777, settings.st_uid, settings.st_gid) == (0o750, 0, ids["dropcap"])


def test_the_samba_share_is_closed_to_guests_and_keeps_the_group() -> None:
    parser = configparser.ConfigParser(comment_prefixes=("#", ";"))
    parser.read(DEPLOY / "smb.conf.example")
    share = parser["consents"]
    assert (share["guest ok"], share["wide links"], share["follow symlinks"]) == ("no", "no", "no")
    assert share["directory mask"] == share["force directory mode"] == "2770"
    assert (DEPLOY / "dropcap.tmpfiles").read_text().count(share["path"]) == 2


def test_samba_understands_the_share() -> None:
    testparm = needs.program("testparm")
    result = subprocess.run([testparm, "-s", str(DEPLOY / "smb.conf.example")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Unknown parameter" not in result.stderr
