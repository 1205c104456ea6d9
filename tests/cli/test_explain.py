"""`dropcap explain`, run as a command on real configurations."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dropcap.cli.history import explain_command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        """\
tables: {visits: {V1: baseline_arm_1, V2: month_6_arm_1}}
defaults: {confirm: listed}
projects: {trial: {url: "https://redcap.example.org/api/", token_env: NOT_READ}}
folders:
  consents:
    path: consents
    project: trial
    ignore: ["draft*"]
    rules:
      - name: consent
        pattern: "{record:digits}_{visit:visits}_consent.pdf"
        event: "{visit|visits}"
        field: consent_pdf
        existing_file: refuse
  scans:
    path: scans
    project: trial
    subfolders: false
    rules:
      - {pattern: "mrn{mrn}_{n}.tif", field: scan, record_where: {mrn: "{mrn}"}, instance: "{n}", must_match: {site: "x"}}
"""
    )
    return path


def explain(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(explain_command, ["-c", str(config), *arguments])


def test_a_name_that_matches(config: Path) -> None:
    result = explain(config, "101_v2_consent.pdf")
    assert result.exit_code == 0
    for text in (
        "(folder consents)",
        "rule      consent: {record:digits}_{visit:visits}_consent.pdf",
        "record=101, visit=v2",
        "project trial, record 101, event month_6_arm_1, field consent_pdf",
        "existing_file refuse (rule)",
        "confirm listed (defaults)",
        "missing_record refuse (built in)",
    ):
        assert text in result.output


def test_record_where_and_must_match(config: Path) -> None:
    result = explain(config, "MRN7_02.tif")
    assert result.exit_code == 0
    assert "the one record with mrn=7, field scan, instance 2" in result.output
    assert "only if   the record has site=x" in result.output


def test_the_place_where_the_nearest_rule_stops(config: Path) -> None:
    result = explain(config, "101_V3_consent.pdf")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[:2] == ["101_V3_consent.pdf", "    ^"]
    assert "rule `consent` matches `101_`, then expects a word of the table `visits` (V1, V2)" in lines[2]


def test_the_name_that_was_meant(config: Path) -> None:
    """What is told beside the file in the share, and not what the rule that stops last would say."""
    assert "probably meant: 101_V2_consent.pdf (folder consents, rule consent)" in explain(config, "1O1_V2_consent.pdf").output
    assert "probably meant" not in explain(config, "101_V3_consent.pdf").output, "V3 may be any visit"


def test_the_caret_stands_below_wide_and_escaped_characters(config: Path) -> None:
    lines = explain(config, "--folder", "consents", "日本\x07/101_x").output.splitlines()
    assert lines[0] == "日本\\x07/101_x"
    assert lines[1] == " " * (4 + 4 + 1 + 4) + "^"


def test_one_name_of_several_does_not_match(config: Path) -> None:
    assert explain(config, "101_V1_consent.pdf", "102_V2_consent.pdf").exit_code == 0
    assert explain(config, "101_V1_consent.pdf", "zzz").exit_code == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.tmp", "ignored: names that end in `.tmp`"),
        (".dropcap", "ignored: names that begin with `.`"),
        ("draft_1.pdf", "ignored: the folder ignores `draft*`"),
        ("mrn7_0.tif", "instance comes out as `0`"),
        ("done/2026-11-24/101_V1_consent.pdf", "nothing there is taken"),
        ("/elsewhere/101_V1_consent.pdf", "lies in none of these folders"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_names_that_go_nowhere(config: Path, name: str, reason: str) -> None:
    result = explain(config, name)
    assert result.exit_code == 1
    assert reason in result.output


def test_a_path_finds_its_folder(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = config.parent / "consents"
    assert "(folder consents)" in explain(config, str(folder / "101_V1_consent.pdf")).output
    assert explain(config, str(folder / "sub" / "101_V1_consent.pdf")).exit_code == 0
    assert explain(config, str(folder / "failed" / "101_V1_consent.pdf")).exit_code == 0
    assert "subfolders: false" in explain(config, str(config.parent / "scans/a/mrn7_1.tif")).output
    folder.mkdir()
    (config.parent / "link").symlink_to("consents")
    monkeypatch.chdir(folder)
    Path("101_V1_consent.pdf").touch()
    assert explain(config, "101_V1_consent.pdf").exit_code == 0
    assert os.listdir() == ["101_V1_consent.pdf"]


def test_one_folder(config: Path) -> None:
    assert explain(config, "--folder", "consents", "101_V1_consent.pdf").exit_code == 0
    assert explain(config, "--folder", "scans", "101_V1_consent.pdf").exit_code == 1
    result = explain(config, "--folder", "nope", "x")
    assert result.exit_code == 2
    assert "there are: consents, scans" in result.output


def test_a_configuration_that_cannot_be_used(config: Path, tmp_path: Path) -> None:
    assert explain(tmp_path / "none.yaml", "x").exit_code == 2
    config.write_text("contakt: x\n" + config.read_text())
    result = explain(config, "101_V1_consent.pdf")
    assert result.exit_code == 2
    assert f"{config}:1: contakt: unknown key; did you mean `contact`?" in result.output


def test_a_folder_that_is_not_sound_does_not_hinder_the_others(config: Path) -> None:
    config.write_text(config.read_text() + "  bad: {path: bad, project: none}\n")
    result = explain(config, "101_V1_consent.pdf")
    assert result.exit_code == 0
    assert "there is no project `none`" in result.output


def test_the_environment_names_the_configuration(config: Path) -> None:
    result = CliRunner().invoke(explain_command, ["101_V1_consent.pdf"], env={"DROPCAP_CONFIG": str(config)})
    assert result.exit_code == 0


def test_no_name_is_a_mistake_in_usage(config: Path) -> None:
    assert explain(config).exit_code == 2
