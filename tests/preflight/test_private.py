"""Who could get at copies: what the modes of a path say, and what they do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropcap.intake.mounts import Mounts
from dropcap.intake.owner import NAME, STATE
from dropcap.preflight.drop_folder import exposed
from tests import needs
from tests.site import Site

OTHER = 4711


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o750)
    (path / NAME).write_bytes(STATE)
    return path


def look(place: Path, state: Path, *shares: Path, mounts: str = "") -> str | None:
    return exposed(place, state, shares, Mounts([mounts]) if mounts else Mounts.now())


def test_the_default_is_safe_before_it_is_made_and_after(state: Path) -> None:
    place = state / "preserved" / "consents"
    assert look(place, state) is None
    place.mkdir(parents=True, mode=0o700)
    assert look(place, state) is None


@pytest.mark.parametrize("mode", [0o710, 0o740, 0o701, 0o704, 0o770])
def test_its_own_mode(state: Path, mode: int) -> None:
    (state / "consents").mkdir()
    (state / "consents").chmod(mode)
    assert "not 0700" in str(look(state / "consents", state))


def test_a_directory_above_that_others_may_read_is_fine_one_that_they_may_write_is_not(tmp_path: Path, state: Path) -> None:
    above = tmp_path / "above"
    place = above / "beneath" / "consents"
    place.mkdir(parents=True, mode=0o700)
    for mode, safe in ((0o755, True), (0o777, False), (0o1777, True), (0o757, False), (0o711, True)):
        above.chmod(mode)
        assert (look(place, state) is None) is safe, oct(mode)
    above.chmod(0o755)
    needs.root("to give directories away")
    os.chown(above, OTHER, -1)
    assert f"belongs to user #{OTHER}" in str(look(place, state))


def test_a_group_that_may_write_above(tmp_path: Path, state: Path) -> None:
    above = tmp_path / "above"
    (above / "consents").mkdir(parents=True, mode=0o700)
    needs.root("to give directories away")
    os.chown(above, -1, OTHER)
    above.chmod(0o770)
    assert f"the group #{OTHER} may write" in str(look(above / "consents", state))
    # A user's own group, as many systems make one for each, is nobody else.
    os.chown(above, -1, 0)
    assert look(above / "consents", state) is None


def test_an_access_list_stands_for_more_than_the_group(tmp_path: Path, state: Path) -> None:
    above = tmp_path / "above"
    (above / "consents").mkdir(parents=True, mode=0o700)
    needs.right("set access lists here", [needs.program("setfacl"), "-m", f"u:{OTHER}:rwx", str(above)])
    os.chown(above, -1, os.getegid())
    assert "may write" in str(look(above / "consents", state))


def test_a_link_that_others_could_point_elsewhere(tmp_path: Path, state: Path) -> None:
    (tmp_path / "real" / "consents").mkdir(parents=True, mode=0o700)
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "real")
    assert look(tmp_path / "open" / "link" / "consents", state) is None
    (tmp_path / "open").chmod(0o777)
    assert "everybody may write" in str(look(tmp_path / "open" / "link" / "consents", state))


def test_in_a_drop_folder_that_this_configuration_does_not_know(tmp_path: Path, state: Path) -> None:
    place = tmp_path / "share" / "kept" / "consents"
    place.mkdir(parents=True, mode=0o700)
    marker = tmp_path / "share" / NAME
    marker.write_text('{"installation": "another"}')
    assert "is a drop folder" in str(look(place, state))
    marker.unlink()
    os.mkfifo(marker)
    assert look(place, state) is None, "it waits for nobody"
    marker.unlink()
    marker.write_text('{"installation": "another"}')
    needs.root("to give files away")
    os.chown(marker, OTHER, -1)
    assert look(place, state) is None, "nobody else stops dropcap with a file of that name"


@pytest.mark.parametrize(
    ("kind", "options", "safe"),
    [
        ("fuse.sshfs", "rw,user_id=0,group_id=0,allow_other", False),
        ("fuse.sshfs", "rw,user_id=0,group_id=0,default_permissions,allow_other", True),
        ("fuse.sshfs", "rw,user_id=0,group_id=0", True),
        ("cifs", "rw,serverino,noperm", False),
        ("nfs4", "rw", True),
    ],
)
def test_mounts_on_which_modes_count_for_nothing(tmp_path: Path, state: Path, kind: str, options: str, safe: bool) -> None:
    line = f"36 35 0:99 / {tmp_path} rw - {kind} source {options}"
    assert (look(tmp_path / "consents", state, mounts=line) is None) is safe


def test_what_root_keeps_is_for_dropcaps_user(place: Site) -> None:
    needs.root("to give files away")
    place.state.mkdir(mode=0o750)
    os.chown(place.state, OTHER, OTHER)
    for content in (b"one", b"two"):
        place.put("101_V1_consent.pdf", content)
        assert place.once().returncode == 0
    made = [place.state / "preserved", *(place.state / "preserved").rglob("*")]
    assert len(made) == 5
    (place.root / "kept").mkdir()  # root's own
    place.folder["preserve_in"] = str(place.root / "kept")
    place.write_config()
    place.put("101_V1_consent.pdf", b"three")
    assert place.once().returncode == 0
    made += (place.root / "kept").rglob("*")
    assert len(made) == 9
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(OTHER, OTHER)}


def test_check_says_what_is_well(place: Site) -> None:
    place.once()
    checked = place.dropcap("check", "--offline", "--all")
    assert checked.returncode == 0
    (line,) = [line for line in checked.stdout.splitlines() if "copies of what REDCap held" in line]
    assert line.startswith("ok")
    assert str(place.kept) in line
    assert not [name for name in os.listdir(place.kept) if name.startswith(".dropcap-")]
