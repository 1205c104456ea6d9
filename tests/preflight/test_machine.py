"""What `dropcap check` says of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropcap.config.load import load
from dropcap.intake.mounts import Mounts
from dropcap.preflight import machine
from dropcap.preflight.machine import ServiceUnit, inotify_remarks, state_dir_remarks, thread_remarks
from dropcap.threads import needed
from tests.site import Site


def test_a_state_directory_on_a_share_is_refused(tmp_path: Path) -> None:
    mounts = Mounts([f"9 1 0:77 / {tmp_path} rw - nfs4 filer:/export rw"])
    (remark,) = state_dir_remarks(tmp_path, mounts)
    assert (remark.level, remark.later) == ("error", False)
    assert "nfs4 filer:/export" in remark.message


def test_limits_of_inotify(place: Site, tmp_path: Path) -> None:
    for name, value in (("max_user_watches", 10), ("max_user_instances", 128)):
        (tmp_path / name).write_text(f"{value}\n")
    config = load(place.config_file)
    (remark,) = inotify_remarks(config, 11, tmp_path)
    assert (remark.level, "max_user_watches is 10, and 11 are needed" in remark.message) == ("warning", True)
    (remark,) = inotify_remarks(config, 10, tmp_path)
    assert remark.level == "ok"


def test_limits_of_threads(place: Site, tmp_path: Path) -> None:
    config = load(place.config_file)
    need = needed(1, config.uploads_at_once)
    service = tmp_path / "system.slice/dropcap.service"
    service.mkdir(parents=True)
    (service / "pids.max").write_text("max\n")
    unit = ServiceUnit(Path("dropcap.service"), {"TasksMax": [str(need)], "LimitNPROC": ["infinity"]})
    assert list(thread_remarks(config, unit, tmp_path)) == list(thread_remarks(config, None, tmp_path)) == []

    (service / "pids.max").write_text(f"{need - 1}\n")
    (remark,) = thread_remarks(config, unit, tmp_path)
    assert (remark.level, "TasksMax=" in str(remark.remedy)) == ("warning", True)
    assert f"dropcap.service/pids.max is {need - 1}, and dropcap may need {need} threads" in remark.message
    low = ServiceUnit(Path("dropcap.service"), {"TasksMax": ["20"], "LimitNPROC": ["30:40"]})
    (remark,) = thread_remarks(config, low, tmp_path / "no cgroups")
    assert "TasksMax= is 20 and LimitNPROC= is 30" in remark.message


# `dropcap check` looks at what people are to be told by


def test_check_finds_what_keeps_people_from_being_told(place: Site) -> None:
    secret, url = place.root / "secret", place.root / "desk.url"
    place.config |= {
        "notify": {"to": {"desk": {"url_file": str(url)}, "lab": {"url_credential": "lab"}}},
        "metrics": {"textfile": str(place.root / "gone" / "dropcap.prom")},
        "dashboard": {"secret_file": str(secret)},
    }
    place.write_config()
    secret.write_text("short")
    secret.chmod(0o600)
    said = place.dropcap("check").stdout
    assert f"error    notify.to.desk: the notification address file {url} does not exist" in said
    assert "notify.to.lab: there is no credential lab" in said
    assert f"error    metrics.textfile: {place.root / 'gone'} cannot be written" in said
    assert f"error    dashboard: the secret file {secret} has fewer than 16 characters" in said
    secret.write_text("x" * 16)
    url.write_text("json://u:top-secret@127.0.0.1/")
    url.chmod(0o600)
    (place.root / "gone").mkdir()
    place.config["notify"]["to"].pop("lab")
    place.write_config()
    result = place.dropcap("check")
    assert "error" not in result.stdout, result.stdout
    assert "notify.to.desk" in result.stdout
    assert "top-secret" not in result.stdout


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dropcap.config.model import Config, Metrics

    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    config = Config(tmp_path, tmp_path, metrics=Metrics(tmp_path / "x.prom"))
    remark = next(iter(machine.watcher_remarks(config)))
    assert (remark.level, remark.message) == ("error", "prometheus_client is not installed")
    assert remark.remedy == "install it: pip install 'dropcap-redcap[metrics]'"
