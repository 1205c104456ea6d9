"""Where `dropcap init` writes: nothing that `check` would refuse, and all of it or nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import needs
from tests.cli.test_init_asked import asked
from tests.shares.samba import WRAPPER
from tests.site import TOKEN, Site

SERVICE, DROPPERS = 61111, 62222


@pytest.mark.parametrize(("folder", "state"), [("in", "in/../in/state"), ("state/in", "state"), ("/", "state")])
def test_folder_and_state_dir_are_kept_apart(place: Site, folder: str, state: str) -> None:
    (place.root / "state").mkdir()
    made = place.root / "made.yaml"
    result = place.dropcap(
        *("init", "--url", place.box.url, "--token-file", str(place.token_file), "--folder", str(place.root / folder)),
        *("--state-dir", str(place.root / state), "--output", str(made), "--yes"),
    )
    assert result.returncode == 2
    assert "overlap: keep them apart" in result.stderr
    assert not made.exists()


def everything(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in root.rglob("*")}


@pytest.mark.parametrize("there", ["token", "configuration", "conf.d", "unsound"])
def test_a_refusal_leaves_nothing_behind(place: Site, there: str) -> None:
    """All that is to be written is looked at before anything is made; what is found out later takes all of it back."""
    made = place.root / "made.yaml"
    words, answers = ["--output", str(made), "--state-dir", str(place.root / "s")], [place.box.url, TOKEN, "trial"]
    if there in ("conf.d", "unsound"):
        words, answers = ["--add"], [place.box.url, TOKEN, "second"]
    if there == "token":
        (place.root / "trial.token").write_text("of another project")
    elif there == "configuration":  # the directory of the configuration takes no new file
        words[1] = str(place.root / "trial.token" / "made.yaml")
        (place.root / "trial.token").mkdir()
        (place.root / "trial.token" / "trial.token").symlink_to("nowhere")
    elif there == "conf.d":
        (place.root / "conf.d").mkdir()
        (place.root / "conf.d" / "second.yaml").write_text("folders: {}")
    else:
        place.config_file.write_text(place.config_file.read_text() + "...\n")  # no line can follow
    before = everything(place.root)
    result = asked(place, [*answers, str(place.root / "in")], *words)
    assert (result.returncode, "Traceback" in result.stderr) == (2, False), result.stderr
    assert everything(place.root) == before
    assert "made the folder" not in result.stderr
    assert "wrote" not in result.stderr
    if there == "token":
        assert "--token-file" in result.stderr


def test_a_disk_that_is_full_takes_all_of_it_back(place: Site) -> None:
    """No file may grow beyond some bytes: the token can still be written, the configuration not any more."""
    before = everything(place.root)
    config, full = place.root / "made.yaml", 200
    for words, answers in (
        (["--output", str(config), "--state-dir", str(place.root / "s")], ["trial"]),
        (["--add"], ["second"]),
    ):
        result = asked(place, [place.box.url, TOKEN, *answers, str(place.root / "in")], *words, limit=full)
        assert (result.returncode, "Traceback" in result.stderr) == (2, False), result.stderr
        assert "cannot be written (File too large)" in result.stderr
        assert everything(place.root) == before


def with_the_account(place: Site) -> dict[str, str]:
    """The environment of a machine that has the service's account and the group of those who drop files."""
    if WRAPPER is None:
        needs.lacking("libnss_wrapper.so")
    (place.root / "passwd").write_text(f"root:x:0:0::/:/bin/false\ndropcap:x:{SERVICE}:{SERVICE}::/:/bin/false\n")
    (place.root / "group").write_text(f"root:x:0:\ndropcap:x:{SERVICE}:\nredcap-drop:x:{DROPPERS}:dropcap\n")
    names = {"NSS_WRAPPER_PASSWD": str(place.root / "passwd"), "NSS_WRAPPER_GROUP": str(place.root / "group")}
    return {"LD_PRELOAD": str(WRAPPER), **names}


def test_what_belongs_to_root_is_to_be_given_to_the_service_and_not_the_other_way_round(place: Site) -> None:
    """An `init` that was killed, or `mkdir`, has left a folder that root owns: no service is to be in the group root."""
    needs.root("to be it")
    needs.program("setfacl")
    machine = with_the_account(place)
    folder, config, unit = place.root / "in", place.root / "made.yaml", place.root / "open.service"
    folder.mkdir(mode=0o750)
    unit.write_text("[Service]\nUser=dropcap\n")
    words = ["--url", place.box.url, "--token-file", str(place.token_file), "--folder", str(folder), "--yes"]
    init = place.dropcap("init", *words, "--output", str(config), "--state-dir", str(place.root / "s"), **machine)
    assert init.returncode == 0, init.stderr
    status = folder.stat()
    assert (status.st_uid, status.st_gid) == (0, 0), "it was there before, and init takes nothing of anybody's"
    check = place.dropcap("check", "--offline", "-c", str(config), "--unit", str(unit), **machine)
    give = f"chown dropcap:redcap-drop {folder}; chmod 2770 {folder}; setfacl -d -m g:redcap-drop:rwx {folder}"
    for told in (init.stderr, check.stdout):
        told = " ".join(told.split())
        assert give in told
        assert "usermod -aG root" not in told
    subprocess.run(["sh", "-c", give], check=True, env={**os.environ, **machine})
    status = folder.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (SERVICE, DROPPERS, 0o2770)
    check = place.dropcap("check", "--offline", "-c", str(config), "--unit", str(unit), **machine)
    assert "belongs to" not in check.stdout
