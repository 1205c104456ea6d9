"""dropcap where a proxy and certificates stand between it and REDCap."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.command import dropcap
from tests.site import TOKEN, Site, eventually
from tests.tinyproxy import dead_port, tinyproxy
from tests.tls import in_front_of, make_authority, server_context

PASSWORD = "Tr0ub4dor and 3"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "proxy.credentials"
    path.write_text("hospital:wrong\n")
    path.chmod(0o600)
    return path


def test_the_main_job_through_a_proxy_to_a_server_that_wants_to_see_a_certificate(
    place: Site, authority: Path, credentials: Path, tmp_path: Path
) -> None:
    with (
        in_front_of(place.box.port, server_context(authority, of_client=True)) as port,
        tinyproxy(tmp_path, "BasicAuth hospital password") as proxy,
    ):
        url = f"https://localhost:{port}/api/"
        way = {
            "ca_file": str(authority / "ca.pem"),
            "client_cert_file": str(authority / "client.crt"),
            "client_key_file": str(authority / "client.key"),
            "proxy": proxy.url,
            "proxy_credentials_file": str(credentials),
        }
        place.project.update(way, url=url)
        place.write_config()
        checked = dropcap(place, "check")
        assert (checked.exit_code, "refuses the user and password" in checked.stdout) == (1, True), checked.stdout

        assert not place.box.requests

        daemon = place.start()
        place.put("101_V1_consent.pdf")
        paused, *_ = daemon.wait_for("paused")
        assert (paused["scope"], paused["reason"]) == ("server", "proxy")
        assert paused["name"] == f"localhost:{port} as {authority / 'client.crt'} via 127.0.0.1:{proxy.port}"
        credentials.write_text("hospital:password\n")
        state = json.loads(dropcap(place, "status", "--json").stdout)
        assert [pause["reason"] for pause in state["pauses"]] in (["proxy"], [])
        daemon.wait_for("resumed")
        daemon.wait_for("done")
        assert place.box.content("101", "consent_pdf") == b"%PDF some content\n"
        checked = dropcap(place, "check")
        assert checked.exit_code == 0, checked.stdout
        verified = dropcap(place, "verify")
        assert verified.exit_code == 0, verified.output

        options = [word for key, value in way.items() for word in (f"--{key.replace('_', '-')}", value)]
        drop = str(tmp_path / "other drop")
        made = dropcap(
            place,
            "init",
            "--yes",
            "--url",
            url,
            "--token-file",
            str(place.token_file),
            "--folder",
            drop,
            "--output",
            "-",
            *options,
        )
        assert made.exit_code == 0, made.output
        (project,) = yaml.safe_load(made.stdout)["projects"].values()
        assert {key: project[key] for key in way} == way

        assert {line.split()[0] for line in proxy.asked()} == {"CONNECT"}
        page = place.drop / "_STATUS.html"
        eventually(page.exists)
        told = "".join(daemon.raw) + checked.stdout + proxy.log.read_text() + page.read_text()
        ledger = b"".join(path.read_bytes() for path in place.state.glob("ledger.db*"))
        for secret in (TOKEN, "hospital:password", "aG9zcGl0YWw6cGFzc3dvcmQ"):
            assert secret not in told
            assert secret.encode() not in ledger


def test_a_dead_proxy_stops_its_own_way_alone_and_a_pause_by_hand_stops_every_way(
    place: Site, authority: Path, tmp_path: Path
) -> None:
    with in_front_of(place.box.port, server_context(authority)) as port, dead_port() as dead:
        place.project.update(url=f"https://localhost:{port}/api/", ca_file=str(authority / "ca.pem"))
        place.config["projects"]["behind"] = place.project | {"proxy": f"http://127.0.0.1:{dead}"}
        (tmp_path / "other").mkdir()
        place.config["folders"]["other"] = place.folder | {"path": str(tmp_path / "other"), "project": "behind"}
        place.write_config()
        daemon = place.start()
        (tmp_path / "other" / "102_V1_consent.pdf").write_bytes(b"%PDF behind\n")
        paused, *_ = daemon.wait_for("paused")
        assert (paused["scope"], paused["reason"]) == ("server", "unreachable")
        assert paused["name"] == f"localhost:{port} via 127.0.0.1:{dead}"
        assert f"no connection to the proxy 127.0.0.1:{dead}" in paused["message"]
        place.put("101_V1_consent.pdf")
        daemon.wait_for("done", project="trial")

        assert dropcap(place, "pause", "--server", "localhost").exit_code == 0
        with tinyproxy(tmp_path, port=dead):
            place.put("103_V1_consent.pdf")
            daemon.wait_for("claimed", file="103_V1_consent.pdf")
            answer = dropcap(place, "status", "--json")
            assert {pause["name"] for pause in json.loads(answer.stdout)["pauses"]} >= {f"localhost:{port}"}
            asked = len(place.box.requests)
            (tmp_path / "other" / "104_V1_consent.pdf").write_bytes(b"%PDF behind\n")
            daemon.wait_for("claimed", file="104_V1_consent.pdf")
            assert len(place.box.requests) == asked
            assert dropcap(place, "resume", "--server", "localhost").exit_code == 0
            daemon.wait_for("done", file="103_V1_consent.pdf")
            named = dropcap(place, "resume", "--server", "behind")  # else the next probe would
            assert named.exit_code in (0, 1), named.output
            daemon.wait_for("done", count=2, project="behind")
