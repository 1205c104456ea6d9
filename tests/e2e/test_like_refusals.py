"""REDCap refuses one file after the other in the same words that nobody knows: the project pauses, and no more files fail."""

from __future__ import annotations

from redcap_sandbox import Fault
from tests.e2e.test_whose_trouble import IMPORT, PLAIN
from tests.site import Site

NAMES = [f"{record}_V1_consent.pdf" for record in range(101, 121)]


def test_the_third_of_its_kind_pauses_the_project_and_fails_no_file(place: Site) -> None:
    words = '{"error": "kzt brx: record %s, 4711 more"}'
    for record in range(101, 121):
        said = Fault("status", code=400, body=words % record, match={**IMPORT, "record": str(record)})
        place.box.ill(said)
    daemon = place.start()
    for name in NAMES[:10]:
        place.put(name)
    paused, *_ = daemon.wait_for("paused")
    assert (paused["scope"], paused["reason"]) == ("project", "refused")
    assert "kzt brx" in paused["message"]
    assert "whether the project" in paused["remedy"]
    place.put(NAMES[10])
    daemon.wait_for("claimed", 11)
    assert daemon.stop() == 0
    assert len(place.failed()) == 2
    assert "one file of this project after the other" in place.dropcap("status").stdout
    daemon = place.start()  # what is paused stays paused, and its first try fails no file either
    daemon.wait_for("retrying", scope="project")
    place.dropcap("resume", "--project", "trial")
    daemon.wait_for("paused")
    assert len(place.failed()) == 2
    place.box.well()
    place.dropcap("resume", "--project", "trial")
    daemon.wait_for("done", 9)
    assert len(place.failed()) == 2


def test_a_poison_file_that_comes_again_and_other_refusals_pause_nobody(place: Site) -> None:
    place.folder.update(PLAIN)
    place.config["uploads_at_once"] = 1
    place.write_config()
    for record, said in ((101, "kzt"), (102, "brx"), (103, "kzt"), (104, "brx"), (105, "kzt"), (106, "kzt")):
        place.box.ill(Fault("status", code=400, body=f'{{"error": "{said}"}}', match={**IMPORT, "record": str(record)}))
    daemon = place.start()
    for count, name in enumerate([*NAMES[:5], NAMES[4], NAMES[4], NAMES[4], NAMES[5]], 1):
        place.put(name, name.encode())
        daemon.wait_for("failed", count)
    place.put(NAMES[9])
    daemon.wait_for("done")
    for count, name in enumerate(NAMES[4:6], 10):
        place.put(name, b"another")
        daemon.wait_for("failed", count)
    assert not daemon.events("paused"), "one was stored in between"


def test_other_folders_of_the_project_hardly_wait_for_it(place: Site) -> None:
    second = place.root / "second"
    second.mkdir()
    place.config["folders"]["second"] = {**place.folder, "path": str(second)}
    place.write_config()
    for record in range(101, 111):
        place.box.ill(Fault("status", code=400, body='{"error": "kzt"}', match={**IMPORT, "record": str(record)}))
    daemon = place.start()
    for name in NAMES[:10]:
        place.put(name)
    daemon.wait_for("paused", scope="project", reason="refused")
    for name in NAMES[10:13]:
        (second / name).write_bytes(b"fine")
    waited = [line["since_claim"] for line in daemon.wait_for("done", 3)]
    assert max(waited) < 10, waited
    daemon.wait_for("paused", 2)
    assert len(place.failed()) < 10, "nor does each that arrives let all the others fail"
