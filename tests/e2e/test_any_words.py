"""Whatever words a server has for it: what becomes of a file is the same, only the reason that people read gets vaguer."""

from __future__ import annotations

import json
import zlib

import pytest

from dropcap.ledger.job import State
from redcap_sandbox import Fault, RowKey
from redcap_sandbox.call import WORDING, Wording
from tests.e2e.test_whose_trouble import IMPORT, MIB, PLAIN, XML
from tests.site import Site, eventually

GERMAN = {
    "no_permission": "Sie haben keine Berechtigung für die API",
    "no_import": "Ihnen fehlt das Recht zum Import",
    "not_a_file_field": "Das Feld '{field}' gibt es nicht, oder es nimmt keine Dateien auf",
    "no_file": "Zu diesem Datensatz liegt nichts vor",
    "no_record": 'Den Datensatz "{record}" gibt es nicht',
    "blocked_extension": "Dateien mit der Endung {extension} sind nicht zugelassen",
    "offline": "Das Projekt ist zurzeit nicht erreichbar",
    "banned": "Ihre Adresse ({address}) wurde gesperrt",
    "maintenance": "REDCap wird gewartet",
    "too_many": "Zu viele Anfragen",
    "too_large": "Die Anfrage ist zu groß",
    "not_implemented": "Das gibt es hier nicht.",
}


@pytest.fixture(params=["english", "german", "nonsense"])
def worded(request: pytest.FixtureRequest, place: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site before a server that says all it says in one language."""
    for key in WORDING:
        if request.param == "german":
            monkeypatch.setitem(WORDING, key, Wording(GERMAN.get(key, f"Das ist nicht möglich ({key})")))
        elif request.param == "nonsense":
            monkeypatch.setitem(WORDING, key, Wording(f"kzt {zlib.crc32(key.encode()):x} brx"))
    plain = place.root / "plain"
    plain.mkdir()
    place.config["folders"]["plain"] = {**place.folder, **PLAIN, "path": str(plain)}
    place.write_config()
    return place


#: What a file without a look-up meets: a fault for as long as there is one, or a project that does not take it; its end.
MET: dict[str, tuple[Fault | None, State]] = {
    "999_V1_scan.bin": (None, State.FAILED),
    "104_V1_scan.xyz": (None, State.FAILED),
    "105_V1_scan.bin": (Fault("status", code=403, body='{"error": "kzt"}', match={**IMPORT, "record": "105"}), State.WAITING),
    "106_V1_scan.bin": (Fault("ban", match={**IMPORT, "record": "106"}), State.WAITING),
    "107_V1_scan.bin": (Fault("html_200", match={**IMPORT, "record": "107"}), State.UNKNOWN),
    "108_V1_scan.bin": (Fault("stored_then_500", times=1, match={**IMPORT, "record": "108"}, body="kzt"), State.DONE),
    "109_V1_scan.bin": (Fault("token_echo", match={**IMPORT, "record": "109"}), State.FAILED),
    "110_V1_scan.bin": (Fault("status", times=1, code=200, body="kzt brx", match={**IMPORT, "record": "110"}), State.DONE),
    "111_V1_scan.bin": (Fault("maintenance", times=1, match={**IMPORT, "record": "111"}), State.DONE),
    "112_V1_scan.bin": (Fault("status", code=501, body=XML.format("kzt"), match={**IMPORT, "record": "112"}), State.FAILED),
    "113_V1_scan.bin": (Fault("early_413_and_close", match={**IMPORT, "record": "113"}), State.FAILED),
    "114_V1_scan.bin": (Fault("rate_429", times=1, match={**IMPORT, "record": "114"}), State.DONE),
    "115_V1_scan.bin": (Fault("truncated_body", times=1, match={**IMPORT, "record": "115"}), State.DONE),
}


def test_what_becomes_of_files_depends_on_no_words(worded: Site) -> None:
    place = worded
    place.box.project.blocked_extensions = frozenset({"xyz"})
    place.box.project.store.put_bytes("102", RowKey("baseline_arm_1"), "consent_pdf", "old.pdf", b"the old one")
    for fault, _ in MET.values():
        if fault is not None:
            place.box.ill(fault)
    daemon = place.start()
    for name in ("101_V1_consent.pdf", "102_V1_consent.pdf", "103_V1_lab_1.pdf"):
        place.put(name, name.encode())
    daemon.wait_for("done", 3)
    for name in MET:
        (place.root / "plain" / name).write_bytes(b"z" * MIB if name.startswith("112") else name.encode())
    wanted = {name: end for name, (_, end) in MET.items()} | dict.fromkeys(
        ("101_V1_consent.pdf", "102_V1_consent.pdf", "103_V1_lab_1.pdf"), State.DONE
    )
    eventually(lambda: (wanted == {job.name: job.state for job in place.jobs()}) or None, patience=40)
    assert [(place.kept / name).read_bytes() for name in place.copies()] == [b"the old one"]
    held = {h.record for h in place.box.holdings()}
    assert held == {"101", "102", "103", "108", "110", "111", "114", "115"}
    assert {line["scope"] for line in daemon.events("retrying", file="105_V1_scan.bin")} == {"file"}
    # Three files in a row that a well server answers oddly may stop it or their project for a moment; nothing else does.
    assert not [line for line in daemon.events("paused", scope="project") if line["reason"] in ("rights", "token", "refused")]
    assert place.box.token not in "".join(daemon.raw)


@pytest.mark.parametrize("worded", ["german", "nonsense"], indirect=True)
def test_troubles_of_all_pause_and_fail_nothing_in_any_words(worded: Site) -> None:
    place, box = worded, worded.box
    daemon = place.start()
    plain = place.root / "plain"
    (plain / "101_V1_scan.bin").write_bytes(b"z")
    daemon.wait_for("done")
    box.ill(Fault("ban"))
    for record in (102, 103, 104):
        (plain / f"{record}_V1_scan.bin").write_bytes(b"z")
    daemon.wait_for("paused", scope="server")
    daemon.wait_for("claimed", 4)
    eventually(lambda: json.loads(place.dropcap("status", "--json").stdout)["under_way"] == 0)  # what was on its way is over
    asked = len(box.requests)
    assert not box.wait_for(lambda b: len(b.requests) > asked, timeout=2.0), "no probing loop"
    box.well()
    place.dropcap("resume", "--server", box.url.split("/")[2])
    daemon.wait_for("done", 4)
    box.project.offline = True  # for whoever asks
    for record in (105, 106, 107):
        (plain / f"{record}_V1_scan.bin").write_bytes(b"z")
    daemon.wait_for("paused", scope="project")
    daemon.wait_for("claimed", 7)
    eventually(lambda: json.loads(place.dropcap("status", "--json").stdout)["under_way"] == 0)  # what was on its way is over
    box.project.offline = False
    place.dropcap("resume", "--project", "trial")  # unless one that was on its way has ended it
    daemon.wait_for("done", 7)
    rights = box.tokens[box.token]
    box.revoke(box.token)
    (plain / "108_V1_scan.bin").write_bytes(b"z")
    daemon.wait_for("paused", 2, scope="project")
    box.grant(box.token, rights)
    place.dropcap("resume", "--project", "trial")  # unless one that was on its way has ended it
    daemon.wait_for("done", 8)
    assert not daemon.events("failed")
    assert not daemon.events("held")
