# ruff: noqa: E402 - the library may be missing
"""Who may see and change what: by tables, and by a real server."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests import needs

needs.library("starlette")

import requests

from dropcap.dashboard.gate import LINK_LASTS, MOST_WRONG, Bucket, Sessions, TooManyTries, may_change
from dropcap.ledger.chain import AuditActor, AuditChannel
from dropcap.secret import Secret
from tests.dashboard.conftest import SECRET, Watched

OWN = frozenset({"http://127.0.0.1:8750", "https://dropcap.example.org"})
HOST = "127.0.0.1:8750"


@pytest.mark.parametrize(
    ("host", "site", "origin", "cookie", "may"),
    [
        (HOST, "same-origin", None, True, True),
        (HOST, "none", None, True, True),
        (HOST, "cross-site", f"http://{HOST}", True, False),
        (HOST, "same-site", None, True, False),
        (HOST, "cross-site", None, False, False),
        (HOST, None, f"http://{HOST}", True, True),
        (HOST, None, "http://evil.example.org", True, False),
        (HOST, None, "null", True, False),
        (HOST, None, f"https://{HOST}", True, False),
        (HOST, None, "https://dropcap.example.org", True, False),
        ("dropcap.example.org", None, "https://dropcap.example.org", True, True),
        (HOST, None, None, True, False),
        (HOST, None, None, False, True),
    ],
)
def test_who_may_change_something(host: str, site: str | None, origin: str | None, cookie: bool, may: bool) -> None:
    assert may_change(OWN, host, site, origin, cookie) is may


def test_a_bucket_lets_through_so_many() -> None:
    bucket = Bucket(10.0, 20.0)
    assert sum(bucket.take(0.0) for _ in range(1000)) == 20
    assert sum(bucket.take(1.0) for _ in range(1000)) == 10


def test_a_guessed_secret_and_a_link() -> None:
    now = 0.0
    sessions, secret = Sessions(lambda: now), Secret(SECRET)
    code, late = (sessions.link(AuditActor(1000, None, AuditChannel.SOCKET, name)) for name in ("ada", "bob"))
    for guess in ("", "x", SECRET[:-1], SECRET + "x", "\udcff")[:MOST_WRONG]:
        assert sessions.sign_in(secret, guess, "eve") is None
    with pytest.raises(TooManyTries):
        sessions.sign_in(secret, SECRET, "ada")
    cookie = sessions.trade(code)
    session = sessions.of(cookie)
    assert session.actor == AuditActor(1000, None, AuditChannel.PAGE, "ada")
    assert sessions.trade(code) is None, "it was good once"
    now = LINK_LASTS + 1
    assert sessions.trade(late) is None
    signed = sessions.sign_in(secret, f" {SECRET}\n", " Ada \n Lovelace " + "x" * 100)
    session = sessions.of(signed)
    assert session.actor.uid is None
    assert session.actor.name.startswith("Ada Lovelace xxx")
    assert len(session.actor.name) == 60
    sessions.sign_out(signed)
    assert sessions.of(signed) is None
    now += 13 * 3600
    assert sessions.of(cookie) is None
    assert sessions.of(None) is None


def test_what_a_stranger_gets(watched: Watched) -> None:
    daemon = watched.start()
    url = watched.url
    stranger = requests.Session()
    for path in ("/", "/files", "/files/1", "/rules"):
        assert stranger.get(url + path, allow_redirects=False).headers["Location"] == "/sign-in"
    assert stranger.get(url + "/now").status_code == 401
    assert stranger.get(url + "/healthz").text == "ok\n"
    metrics = stranger.get(url + "/metrics").text
    assert 'dropcap_jobs{folder="consents",state="waiting"} 0.0' in metrics
    for path, form in {
        "/retry": {"folder": "consents", "state": "failed", "reason": ""},
        "/pause": {"scope": "folder", "name": "consents"},
    }.items():
        assert stranger.post(url + path, form).status_code == 401
    for host in ("evil.example.org", f"evil.example.org:{watched.port}", "", f"127.0.0.1.evil.example.org:{watched.port}"):
        assert stranger.get(url + "/healthz", headers={"Host": host}).status_code in (400, 421), host
    assert stranger.get(f"http://localhost:{watched.port}/healthz").status_code == 200
    answer = stranger.get(url + "/sign-in")
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert stranger.put(url + "/retry").status_code == 405
    with socket.create_connection(("127.0.0.1", watched.port), 5) as connection:  # of which nothing is read
        told = f"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1:{watched.port}\r\nContent-Length: 300000\r\n\r\n"
        connection.sendall(told.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert stranger.get(url + "/static/..%2fapp.py").status_code == 404
    assert stranger.get(url + "/link?code=guess").status_code == 403

    wrong = [stranger.post(url + "/sign-in", {"who": "eve", "secret": "guess"}).status_code for _ in range(MOST_WRONG + 1)]
    assert wrong == [403] * MOST_WRONG + [429]
    daemon.wait_for("dashboard_refused", MOST_WRONG + 1)

    ada = requests.Session()
    assert ada.get(watched.link()).status_code == 200
    (cookie,) = list(ada.cookies)
    assert (cookie.secure, cookie.has_nonstandard_attr("HttpOnly"), cookie.get_nonstandard_attr("SameSite")) == (
        False,
        True,
        "lax",
    )
    form = {"scope": "folder", "name": "consents"}
    for headers in (
        {"Sec-Fetch-Site": "cross-site", "Origin": url},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example.org"},
        {"Origin": "null"},
        {},
    ):
        assert ada.post(url + "/pause", form, headers=headers).status_code == 403, headers
    ours = {"Sec-Fetch-Site": "same-origin"}
    for hostile in ({"scope": "folder", "name": "nobody"}, {"scope": "stop", "name": ""}, {}, {"scope": "folder"}):
        assert ada.post(url + "/pause", hostile, headers=ours).status_code == 400, hostile
    for hostile in ({"job": "9" * 30}, {"job": "-1"}, {"folder": "consents", "state": "done"}, {"job": "7"}):
        assert ada.post(url + "/retry", hostile, headers=ours).status_code == 400, hostile
    for path in (
        "/files?before=x&state=%00&folder=%ff&q=%f0%28",
        f"/files?before={'9' * 40}",
        "/files/0?x",
        "/files?reason=&state=held",
    ):
        assert ada.get(url + path).status_code in (200, 404), path
    assert ada.get(url + f"/files/{2**63}").status_code == 404
    assert daemon.events("paused") == []
    assert ada.post(url + "/pause", form, headers=ours).status_code == 200
    (told,) = daemon.wait_for("asked")
    assert (told["do"], told["scope"], told["name"], bool(told["by"])) == ("pause", "folder", "consents", True)
    assert daemon.events("internal_error") == []
    log = "".join(daemon.raw)
    assert daemon.stop() == 0
    assert SECRET not in log
    assert cookie.value is not None
    assert cookie.value not in log


def test_a_link_signs_in_the_user_whose_process_asked(watched: Watched) -> None:
    """A member of dropcap's group may ask for one, and not choose a name: the kernel tells whose process it is."""
    needs.root("to become somebody else")
    daemon = watched.start()
    place = watched.place
    os.chmod(place.state, 0o755)
    os.chmod(place.state / "control.sock", 0o666)
    script = (
        "import os, socket, sys; os.chdir(sys.argv[1]); os.setgid(4711); os.setuid(4711);"
        " s = socket.socket(socket.AF_UNIX); s.connect('control.sock');"
        ' s.sendall(b\'{"do":"dashboard","who":"root","uid":0}\\n\'); print(s.recv(9999).decode())'
    )
    answer = subprocess.run([sys.executable, "-c", script, str(place.state)], capture_output=True, text=True, check=True)
    pause = {"scope": "folder", "name": "consents"}
    ours = {"Sec-Fetch-Site": "same-origin"}
    me = AuditActor.me()  # where the kernel keeps who logged in, that is the name of both

    def last_act() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(place.dropcap("history", "--acts", "--json").stdout.splitlines()[-1])
        return found

    for link, uid, named in (
        (json.loads(answer.stdout)["link"], 4711, "" if me.login is None else me.name),
        (place.dropcap("dashboard", "--link", SUDO_USER="somebody-else").stdout.strip(), 0, me.name),
    ):
        browser = requests.Session()
        assert browser.get(link).status_code == 200
        assert browser.post(watched.url + "/pause", pause, headers=ours).status_code == 200
        act = last_act()
        assert (act["what"], act["way"], act["uid"], act["name"]) == ("pause", "page", uid, named)
        assert daemon.wait_for("asked", 1 if uid else 2)[-1]["by"] == (named or "uid 4711")
    typed = requests.Session()
    form = {"who": "root", "secret": SECRET}
    assert typed.post(watched.url + "/sign-in", form, headers=ours).status_code == 200
    assert typed.post(watched.url + "/resume", pause, headers=ours).status_code == 200
    act = last_act()
    assert (act["what"], act["uid"], act["name"]) == ("resume", None, "root"), "a name that was typed is no user"
    told = {act["who"] for act in csv.DictReader(io.StringIO(place.dropcap("history", "--acts", "--csv").stdout))}
    assert {"uid 4711, on the page", f"{me.name} (uid 0), on the page"} <= told or me.login is not None
    assert "root (on the page)" in told


def test_a_thousand_requests_a_second_and_hung_browsers_stop_no_file(watched: Watched) -> None:
    daemon = watched.start()
    hung = [socket.create_connection(("127.0.0.1", watched.port)) for _ in range(150)]
    for connection in hung[:60]:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
    closed = 0
    for connection in hung[100:]:
        connection.settimeout(5)
        try:
            closed += connection.recv(1) == b""
        except ConnectionError:
            closed += 1
    assert closed == 50, "so many connections and no more"
    for connection in hung:
        connection.close()
    codes: list[bytes] = []

    def storm() -> None:
        request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{watched.port}\r\n\r\n".encode()
        for _ in range(10):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", watched.port), 5) as connection:
                connection.sendall(request * 50)
                connection.shutdown(socket.SHUT_WR)
                answers = b"".join(iter(lambda: connection.recv(65536), b""))
                codes.extend(re.findall(rb"HTTP/1\.1 (\d+)", answers))

    storms = [threading.Thread(target=storm) for _ in range(4)]
    for one in storms:
        one.start()
    watched.place.put("101_V1_consent.pdf")
    daemon.wait_for("done", file="101_V1_consent.pdf")
    for one in storms:
        one.join()
    assert {b"429", b"200"} <= {*codes}
    assert codes.count(b"200") < 400, "what is too much costs little"
    assert daemon.stop() == 0
