"""Off, it costs nothing and imports nothing; what keeps it from being served is said, and stops nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys

from tests import needs
from tests.dashboard.conftest import SECRET, Watched
from tests.site import Site, eventually

LOOK = """
import json, sys, threading
from dropcap.cli.run import Service
from dropcap.config.load import load
ready = threading.Event()
service = Service(load(__import__("pathlib").Path(sys.argv[1])))
service._signals = lambda: None
thread = threading.Thread(target=service.run, daemon=True)
thread.start()
threading.Event().wait(1.0)
print(json.dumps([sorted(sys.modules), sorted(one.name for one in threading.enumerate())]))
"""


def test_off_it_imports_nothing(place: Site) -> None:
    done = subprocess.run([sys.executable, "-c", LOOK, str(place.config_file)], capture_output=True, text=True, timeout=60)
    modules, threads = json.loads(done.stdout.splitlines()[-1])
    assert "dropcap.daemon.service" in modules
    watching = ("starlette", "uvicorn", "jinja2", "apprise", "prometheus_client", "dropcap.dashboard", "dropcap.notify")
    assert [name for name in modules if name.startswith((*watching, "dropcap.metrics", "dropcap.daemon.watchers"))] == []
    assert "delivery" in threads
    assert not {"watchers", "dashboard", "notify"} & {*threads}


def test_what_keeps_it_from_being_served(watched: Watched) -> None:
    place = watched.place
    secret = place.root / "secret"
    secret.write_text("short")
    with socket.create_server(("127.0.0.1", watched.port)):
        daemon = place.start()
        daemon.wait_for("check_problem", message=f"the secret file {secret} has fewer than 16 characters")
        secret.write_text(SECRET)
        assert place.dropcap("reload").returncode == 0

        def told() -> list[str]:
            messages = [one["message"] for one in daemon.events("check_problem")]
            return [message for message in messages if "Address already in use" in message]

        assert f"127.0.0.1:{watched.port}" in eventually(told)[0]
        place.put("101_V1_consent.pdf")
        daemon.wait_for("done")
    daemon.wait_for("dashboard")  # it tries again by itself
    place.config.pop("dashboard")
    place.write_config()
    assert place.dropcap("reload").returncode == 0

    def gone() -> bool:
        try:
            socket.create_connection(("127.0.0.1", watched.port), 1).close()
        except OSError:
            return True
        return False

    eventually(gone)
    result = place.dropcap("dashboard", "--link")
    assert (result.returncode, "has no `dashboard`" in result.stderr) == (2, True)
    assert daemon.stop() == 0


def test_over_tls(watched: Watched) -> None:
    import requests

    place = watched.place
    openssl = needs.program("openssl")
    key, certificate = place.root / "key.pem", place.root / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    place.config["dashboard"] |= {"cert_file": str(certificate), "key_file": str(key)}
    place.write_config()
    daemon = watched.start()
    silent = [socket.create_connection(("127.0.0.1", watched.port)) for _ in range(130)]  # not a word of TLS
    for connection in silent[100:]:
        connection.settimeout(5)
        assert connection.recv(1) == b"", "so many connections and no more"
    for connection in silent:
        connection.close()
    session = requests.Session()
    session.trust_env, session.verify = False, str(certificate)

    def there_is_room_again() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return session.get(f"https://127.0.0.1:{watched.port}/healthz").ok
        return False

    eventually(there_is_room_again)
    link = watched.link()
    assert link.startswith(f"https://127.0.0.1:{watched.port}/link?code=")
    assert "All is well" in session.get(link).text
    (cookie,) = list(session.cookies)
    assert (cookie.name, cookie.secure) == ("__Host-dropcap", True)
    assert daemon.stop() == 0
