"""Somebody is told: by the real daemon, through Apprise, to a sink that can be down."""

from __future__ import annotations

import os

from tests import needs
from tests.notify.sink import hook
from tests.site import Site, eventually

needs.library("apprise")


def configured(place: Site, **urls: str) -> None:
    to = {}
    for name, url in urls.items():
        path = place.root / f"{name}.url"
        path.write_text(f"# where it goes\n{url}\n")
        path.chmod(0o600)
        to[name] = {"url_file": str(path)}
    place.config["notify"] = {"after": "300ms", "digest": "300ms", "to": to}
    place.write_config()


def test_people_are_told_and_files_go_on_while_nobody_can_be(place: Site) -> None:
    with hook() as desk, hook() as lab:
        configured(place, desk=desk.url, lab=lab.url)
        place.config["notify"]["to"]["lab"] |= {"folders": ["consents"], "names": True, "events": ["files"]}
        place.write_config()
        daemon = place.start()
        place.put("101_V9_oops.pdf")
        assert "consents: 1 file waits for somebody. The name matches no rule: 1." in desk.wait_for("waits for somebody")
        assert "101_V9_oops" in lab.wait_for("waits for somebody")
        assert "101_V9_oops" not in desk.texts()
        assert place.dropcap("pause", "--folder", "consents").returncode == 0
        desk.wait_for("The folder consents is paused by hand.")
        assert place.dropcap("resume", "--folder", "consents").returncode == 0
        desk.wait_for("Over: The folder consents is paused by hand.")
        assert "paused" not in lab.texts()

        desk.status = 503
        assert place.dropcap("pause", "--project", "trial").returncode == 0
        (failed,) = daemon.wait_for("notify_failed")[:1]
        assert "503" in failed["message"]
        assert place.dropcap("resume", "--project", "trial").returncode == 0
        place.put("101_V1_consent.pdf")
        daemon.wait_for("done", file="101_V1_consent.pdf")
        kept = place.state / "notices.json"
        eventually(lambda: "The project trial is paused by hand" in kept.read_text())
        daemon.kill()
        desk.status = 200
        again = place.start()
        desk.wait_for("The project trial is paused by hand.")
        again.wait_for("notified", to="desk")
        place.config["privacy"] = {"names": "mask"}
        place.write_config()
        assert place.dropcap("reload").returncode == 0
        place.put("102_V9_masked.pdf")
        masked = again.wait_for("failed")[-1]["file"]
        lab.wait_for(masked)  # the same as in the log, though the recipient has `names: true`
        assert "102_V9_masked" not in lab.texts() + kept.read_text()
        log = "".join([*daemon.raw, *again.raw]) + kept.read_text()
        assert again.stop() == 0
    assert "hook-secret" not in log
    assert "hook-password" not in log


def test_a_hook_that_hangs_stops_neither_files_nor_the_end(place: Site) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        configured(place, desk=f"json://127.0.0.1:{silent.getsockname()[1]}/")
        daemon = place.start()
        place.put("101_V9_oops.pdf")
        silent.settimeout(20)
        connection, _ = silent.accept()
        place.put("101_V1_consent.pdf")
        daemon.wait_for("done", file="101_V1_consent.pdf")
        assert daemon.stop(patience=5) == 0
        connection.close()
        assert "waits for somebody" in (place.state / "notices.json").read_text()


#: What a slow disk does to the first import of what notifies.
SLOW = """
import sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "dropcap.notify.notifier":
            time.sleep(1.5)

sys.meta_path.insert(0, Slow())
"""


def test_a_reload_is_answered_once_notifications_go_by_it(place: Site) -> None:
    (place.root / "sitecustomize.py").write_text(SLOW)
    path = os.pathsep.join([str(place.root), *filter(None, [os.environ.get("PYTHONPATH")])])
    with hook() as desk:
        daemon = place.start(PYTHONPATH=path)
        configured(place, desk=desk.url)
        assert place.dropcap("reload").returncode == 0
        place.put("101_V9_oops.pdf")
        desk.wait_for("waits for somebody")
        assert daemon.stop() == 0
