"""`dropcap pause` and `dropcap resume`."""

from __future__ import annotations

import pytest

from tests.site import Site, eventually


def test_a_paused_folder_takes_files_and_sends_none_also_after_a_restart(place: Site) -> None:
    other = place.root / "other"
    other.mkdir()
    place.config["folders"]["other"] = {**place.folder, "path": str(other)}
    place.write_config()
    daemon = place.start()
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    daemon.wait_for("paused", scope="folder", reason="by_hand")
    place.put("101_V1_consent.pdf")
    daemon.wait_for("claimed", folder="consents")
    place.put("../other/102_V1_consent.pdf")
    daemon.wait_for("done", folder="other")
    status = place.dropcap("status")
    assert status.returncode == 1
    assert "folder consents, since" in status.stdout
    assert "dropcap resume --folder consents" in status.stdout
    assert daemon.stop() == 0

    daemon = place.start()
    place.put("../other/103_V1_consent.pdf")
    daemon.wait_for("done", folder="other")
    assert place.names("in_progress") == ["101_V1_consent.pdf"]
    resumed = place.dropcap("resume", "--folder", "consents")
    assert (resumed.returncode, resumed.stdout) == (0, "folder consents goes on\n")
    daemon.wait_for("done", folder="consents")
    eventually(lambda: place.dropcap("status").returncode == 0)


@pytest.mark.parametrize("scope", ["project", "server"])
def test_a_paused_project_or_server(place: Site, scope: str) -> None:
    daemon = place.start()
    name = "trial" if scope == "project" else f"127.0.0.1:{place.box.port}"
    asked = "trial" if scope == "project" else "127.0.0.1"
    assert place.dropcap("pause", f"--{scope}", asked).returncode == 0
    place.put("101_V1_consent.pdf")
    daemon.wait_for("claimed")
    again = place.dropcap("pause", f"--{scope}", asked)
    assert (again.returncode, again.stdout.startswith(f"{scope} {name} is paused already, since ")) == (0, True)
    assert place.dropcap("status").returncode == 1, "paused by a person: the server refuses nobody"
    # What the rules' comparison asks at a start may still be under way; nothing is asked of the file.
    assert not [one for one in place.box.requests if one.content in ("record", "file")]
    assert place.dropcap("resume", f"--{scope}", asked).returncode == 0
    daemon.wait_for("done")


def test_without_a_daemon(place: Site) -> None:
    never = place.dropcap("pause", "--project", "trial")
    assert never.returncode == 1
    assert "has not run" in never.stderr
    place.once()
    assert place.dropcap("pause", "--server", "trial").returncode == 0
    place.put("101_V1_consent.pdf")
    place.once("--wait", "500ms")
    assert place.names("in_progress") == ["101_V1_consent.pdf"]
    assert place.box.holdings() == []
    assert place.dropcap("resume", "--server", "trial").returncode == 0
    twice = place.dropcap("resume", "--server", "trial")
    assert twice.returncode == 1
    assert "was not paused" in twice.stderr
    assert place.once().returncode == 0
    assert place.done() == ["101_V1_consent.pdf"]


def test_what_left_the_configuration_can_be_resumed(place: Site) -> None:
    place.once()
    assert place.dropcap("pause", "--folder", "consents").returncode == 0
    place.config["folders"] = {"others": place.folder}
    place.write_config()
    assert place.dropcap("resume", "--folder", "consents").returncode == 0


def test_usage(place: Site) -> None:
    place.once()
    for words, says in (
        ([], "name one of"),
        (["--project", "trial", "--folder", "consents"], "name one of"),
        (["--project", "tril"], "did you mean `trial`?"),
        (["--folder", "consent"], "did you mean `consents`?"),
        (["--server", "redcap.example.org"], "there are: 127.0.0.1:"),
    ):
        for command in ("pause", "resume"):
            result = place.dropcap(command, *words)
            assert result.returncode == 2
            assert says in result.stderr


def test_completion_script(place: Site) -> None:
    script = place.dropcap(_DROPCAP_COMPLETE="zsh_source")
    assert "#compdef dropcap" in script.stdout


def test_a_pause_ends_the_run_of_files_that_is_under_way(place: Site) -> None:
    place.config["uploads_at_once"] = 1
    place.write_config()
    daemon = place.start()
    for number in range(200):
        place.put(f"{101 + number % 20}_V1_scan_{number}.pdf", str(number).encode())
    daemon.wait_for("done", 20)
    assert place.dropcap("pause", "--project", "trial").returncode == 0
    eventually(lambda: not [job for job in place.jobs() if job.state in ("sending", "stored")])
    sent = len(place.box.requests)
    daemon.wait_for("claimed", 200)
    place.put("101_V1_consent.pdf", b"one more")
    daemon.wait_for("claimed", 201)
    assert len(place.box.requests) == sent, "nothing is sent after the files that were under way"
    assert place.dropcap("resume", "--project", "trial").returncode == 0
    daemon.wait_for("done", 201, patience=60)
    assert place.failed() == []
