"""What `check` says of a ledger on PostgreSQL before anybody is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.preflight import machine as database
from dropcap.preflight.machine import ServiceUnit, ledger_remarks, machine_remarks
from tests.site import Site

BASE = """
state_dir: /var/lib/dropcap
ledger: postgresql://u@h/d?sslmode=verify-full&sslrootcert=ca.pem&sslkey=key.pem&passfile=pass
%s
projects: {trial: {url: https://redcap.example.org/api/, token_env: T}}
folders: {f: {path: /srv/f, project: trial, preserve_in: c, rules: [{pattern: "{record}.pdf", field: f}]}}
"""


def test_what_is_missing_on_this_machine_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(more: str = "") -> dict[str, str]:
        (tmp_path / "config.yaml").write_text(BASE % more)
        config = load(tmp_path / "config.yaml")
        assert config.problems == ()
        return {remark.message: remark.level for remark in ledger_remarks(config)}

    monkeypatch.setattr(database.importlib.util, "find_spec", lambda name: None)
    first = said()
    assert first["psycopg is not installed"] == "error"
    assert first[f"sslrootcert: {tmp_path}/ca.pem is not there"] == "error"
    monkeypatch.setattr(database.importlib.util, "find_spec", lambda name: name)
    for name, mode in (("ca.pem", 0o644), ("key.pem", 0o644), ("pass", 0o604)):
        (tmp_path / name).write_text("x")
        os.chmod(tmp_path / name, mode)
    assert said() == {
        f"sslrootcert: {tmp_path}/ca.pem can be read": "ok",
        f"sslkey: others may read {tmp_path}/key.pem, so it is refused": "error",
        f"passfile: others may read {tmp_path}/pass, so it is passed over": "error",
    }
    for name in ("key.pem", "pass"):
        os.chmod(tmp_path / name, 0o600)
    assert set(said().values()) == {"ok"}


def test_check_reads_the_password_and_shows_it_not(place: Site) -> None:
    place.config |= {"ledger": "postgresql://u@localhost/d", "ledger_password_file": "pw"}
    place.folder["preserve_in"] = str(place.state)
    place.write_config()
    told = place.dropcap("check", "--offline", "--all")
    assert "pw does not exist" in told.stdout
    (place.root / "pw").write_text("gheim-P4ss\n")
    (place.root / "pw").chmod(0o600)
    told = place.dropcap("check", "--offline", "--all")
    assert f"the ledger password file {place.root}/pw can be read" in told.stdout
    place.config["ledger"] = "postgresql://u:gheim-P4ss@localhost/d"
    place.write_config()
    refused = place.dropcap("check", "--offline", "--all")
    assert refused.returncode == 2
    assert "the URL holds a password" in refused.stdout
    assert "P4ss" not in told.stdout + told.stderr + refused.stdout + refused.stderr


def test_the_service_may_not_see_the_password(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(BASE % "ledger_password_file: /home/u/pw")
    unit = ServiceUnit(tmp_path / "dropcap.service", {"ProtectHome": ["yes"]})
    told = [remark.message for remark in machine_remarks(load(tmp_path / "config.yaml"), unit)]
    assert any("ledger_password_file: dropcap.service sees nothing beneath /home" in message for message in told), told
