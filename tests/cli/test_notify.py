"""`dropcap notify`, as people and systemd run it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import needs
from tests.deploy.installed import command, library
from tests.notify.sink import hook, mail_server
from tests.notify.test_told import configured
from tests.site import Site

needs.library("apprise")


def test_a_test_message_by_mail_and_one_that_nobody_takes(place: Site) -> None:
    with mail_server() as (port, mails):
        configured(
            place,
            desk=f"mailto://127.0.0.1:{port}?from=dropcap@example.org&to=desk@example.org",
            gone="json://127.0.0.1:1/top-secret",
        )
        result = place.dropcap("notify", "--test")
    assert (result.returncode, result.stdout) == (1, "sent to desk\n")
    assert result.stderr.startswith("not sent to gone: JSON could not be reached")
    assert "top-secret" not in result.stdout + result.stderr
    (mail,) = mails
    assert "Subject: dropcap: a test" in mail


@pytest.mark.parametrize(
    ("url", "said"),
    [("what is this", "line 1 is no address that Apprise knows"), ("", "is empty")],
)
def test_addresses_that_are_none(place: Site, url: str, said: str) -> None:
    configured(place, desk=url)
    if not url:
        (place.root / "desk.url").write_text("")
    result = place.dropcap("notify", "--test", "--to", "desk")
    assert result.returncode == 1
    assert said in result.stderr


def test_mistakes(place: Site) -> None:
    assert place.dropcap("notify", "--test").returncode == 2
    configured(place, desk="json://127.0.0.1:1/")
    assert "name one of --test and --ended" in place.dropcap("notify").stderr
    result = place.dropcap("notify", "--test", "--to", "dest")
    assert (result.returncode, "did you mean `desk`?" in result.stderr) == (2, True)
    (place.root / "desk.url").chmod(0o644)
    assert "everybody on this machine can get at" in place.dropcap("notify", "--test").stderr


def test_a_unit_that_fails_again_and_again_is_told_of_once(place: Site) -> None:
    with hook() as desk:
        configured(place, desk=desk.url)
        place.state.mkdir()
        place.config["uploads_at_once"] = 0
        place.write_config()
        for _ in range(3):
            assert place.dropcap("notify", "--ended", "dropcap.service").returncode == 0
    assert len(desk.got) == 1
    assert "Its configuration cannot be used. Run: dropcap check" in desk.texts()


def test_without_its_library_it_says_how_to_install_it(place: Site, tmp_path: Path) -> None:
    package = command(library(tmp_path / "lib", without={"apprise"}))
    configured(place, desk="json://127.0.0.1:1/")
    result = subprocess.run([*package, "notify", "--test"], env=place.env(), capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "install it: pip install 'dropcap-redcap[notify]'" in result.stderr
