"""Files that somebody drags into done/ or failed/: told to everybody, and left where they are. By the real command."""

from __future__ import annotations

import json
from datetime import datetime

from tests.site import Site, eventually


def test_what_is_dragged_into_done_and_failed_is_told_and_left(place: Site) -> None:
    daemon = place.start()
    place.put("101_V1_consent.pdf")
    place.put("nowhere.pdf")
    daemon.wait_for("done")
    daemon.wait_for("failed")
    today = f"done/{datetime.now().astimezone().date().isoformat()}"
    (place.drop / today / "101_V1_consent.pdf").rename(place.drop / today / "kept for later.pdf")  # one's own, renamed
    before = place.everywhere()
    dragged = {f"{today}/102_V1_consent.pdf", "done/103_V1_consent.pdf", "failed/<b>104</b>.pdf", "done/2020-01-31/105.pdf"}
    for name in dragged:
        place.put(name)

    (told,) = daemon.wait_for("stray", count=1)
    while told["count"] < 3:  # a walk came in between
        told = daemon.wait_for("stray", count=len(daemon.events("stray")) + 1)[-1]
    assert set(told["first"]) >= dragged - {"done/2020-01-31/105.pdf"}
    assert "dropcap did not put them there" in told["message"]

    status = place.dropcap("status")
    assert "but dropcap did not put them there" in status.stdout
    assert "move them to where files are dropped" in status.stdout
    (folder,) = json.loads(place.dropcap("status", "--json").stdout)["folders"].values()
    assert folder["strays"]["count"] == told["count"]
    written = place.drop / "_STATUS.html"
    page = eventually(lambda: text if written.exists() and "Not put there by dropcap" in (text := written.read_text()) else "")
    assert "&lt;b&gt;104&lt;/b&gt;.pdf" in page
    assert f"{today}/102_V1_consent.pdf" in page
    assert place.everywhere() == sorted([*before, *dragged]), "nothing is moved"
    assert daemon.stop() == 0

    again = place.start()  # the round of all days comes at a start, and then daily
    eventually(lambda: any(line["count"] == 4 for line in again.events("stray")))
    for name in dragged:
        (place.drop / name).unlink()
    eventually(lambda: "did not put" not in place.dropcap("status").stdout)
    assert again.stop() == 0
    assert "did not put" not in place.once().stdout
