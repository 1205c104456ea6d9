"""What `dropcap check` says of the machine."""

from __future__ import annotations

from pathlib import Path

from dropcap.config.load import load
from dropcap.intake.mounts import Mounts
from dropcap.preflight.machine import inotify_remarks, state_dir_remarks
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
