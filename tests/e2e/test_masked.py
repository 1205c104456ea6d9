"""`privacy: {names: mask}`: whatever happens to files, no name of a file or record is in the log, and lines can be joined."""

from __future__ import annotations

import json
import stat

from dropcap.daemon.log import LEFT_OUT, Mask
from redcap_sandbox import Fault
from tests.site import Site

#: No other word holds them.
RECORD, MISSING, NAME = "Jxhn7", "Smxth9", "Dxe_family_letter"


def test_no_name_is_in_the_log_and_lines_can_be_joined(place: Site) -> None:
    place.config["privacy"] = {"names": "mask"}
    place.config["log"] = {"level": "debug"}
    place.folder["rescan"] = "1s"
    place.folder["rules"][0] = {**place.folder["rules"][0], "missing_record": "create"}
    place.write_config()
    place.put(f"{NAME}_left.pdf")  # lies there at first, and no rule matches it
    daemon = place.start()
    names = [f"{RECORD}_V1_consent.pdf", f"{NAME}.pdf", f"sub/{RECORD}_V2_consent.pdf", f"{RECORD}_V1_consent_{NAME}.exe"]
    for name in names:
        place.put(name, name.encode())
    daemon.wait_for("done", 2)
    daemon.wait_for("failed", 2)
    place.put(names[0], b"another")
    daemon.wait_for("preserved")
    daemon.wait_for("done", 3)
    saying = {"code": 400, "body": f"no record {RECORD} here"}
    place.box.ill(Fault("status", times=1, match={"content": "file", "action": "import"}, **saying))
    place.put(f"{MISSING}_V1_consent.pdf")
    daemon.wait_for("retrying")
    (place.drop / "link").symlink_to(place.drop / names[0])
    (place.drop / "done" / f"{NAME}_stray.pdf").write_bytes(b"x")
    daemon.wait_for("stray")
    daemon.wait_for("entry_ignored")
    daemon.stop()
    text = "".join(daemon.raw)
    for word in (RECORD, MISSING, NAME):
        assert word not in text
        assert word.encode().hex() not in text

    claimed = daemon.events("claimed")
    done = {line["job"]: line for line in daemon.events("done")}
    first = next(line for line in claimed if line["job"] in done)
    assert done[first["job"]]["file"] == first["file"], "one name, one mask"
    assert done[first["job"]]["filed_as"].startswith("done/20")
    assert len({line["record"] for line in done.values()}) == 1, "one record, one mask"
    assert len({line["file"] for line in claimed}) == len(claimed) - 1, "another name, another mask"
    assert {line["message"] for line in daemon.events("failed")} == {LEFT_OUT}
    assert {line["reason"] for line in daemon.events("failed")} >= {"no_rule"}, "but why is told"
    key = place.state / "privacy.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    mask = Mask(key.read_bytes())
    assert first["file"] in {mask.file(name) for name in names}, "who has the key finds a name again"

    # On the machine all stays clear.
    assert RECORD in place.dropcap("history").stdout
    assert RECORD in place.why(f"{RECORD}_V1_consent_{NAME}.exe") or NAME in place.why(f"{NAME}.pdf")


def test_what_a_name_says_of_event_and_field_is_masked_and_what_the_rules_say_is_not(place: Site) -> None:
    place.config["privacy"] = {"names": "mask"}
    place.config["tables"]["forms"] = {"letter": "scan", "*": "consent_pdf"}
    captured = {"name": "captured", "pattern": "{record:digits}-{event}-{field}.pdf"}
    named = {"name": "named", "pattern": "{record:digits}+{event:baseline_arm_1|other}+{kind}.pdf", "field": "{kind|forms}"}
    place.folder["rules"] += [captured, named]
    place.write_config()
    daemon = place.start()
    event, field = "Jxhn7_family", "smxth_of_9"
    for name in (f"101-{event}-{field}.pdf", f"102-baseline_arm_1-{field}.pdf", f"103-{event}-scan.pdf"):
        place.put(name, name.encode())
    daemon.wait_for("failed", 3)
    for name in ("101+baseline_arm_1+letter.pdf", "102+baseline_arm_1+any.pdf", "103_V2_consent.pdf", "104_V1_scan.pdf"):
        place.put(name, name.encode())
    daemon.wait_for("done", 4)
    daemon.stop()
    text = "".join(daemon.raw)
    assert event not in text
    assert field not in text
    failed = daemon.events("failed")
    assert len({line["field"] for line in failed if line["field"] != "scan"}) == 1, "one text, one mask"
    assert {line["redcap_event"] for line in failed} > {"baseline_arm_1"}, "what a rule says is told, whoever says it"
    told = {(line["redcap_event"], line["field"]) for line in daemon.events("done")}
    assert told == {("baseline_arm_1", "scan"), ("baseline_arm_1", "consent_pdf"), ("month_6_arm_1", "consent_pdf")}


def test_a_mask_stays_over_restarts_and_a_reload_takes_it_off_and_puts_it_on(place: Site) -> None:
    place.config["privacy"] = {"names": "mask"}
    place.write_config()
    masks = []
    for content in (b"1", b"2"):
        daemon = place.start()
        place.put("101_V1_consent.pdf", content)
        masks.append(daemon.wait_for("done")[0]["file"])
        daemon.stop()
    assert masks[0] == masks[1] != "101_V1_consent.pdf"
    daemon = place.start()
    for content, mask in enumerate(({}, {"names": "mask"}, {})):  # the folder runs on
        place.config["privacy"] = mask
        place.write_config()
        assert place.dropcap("reload").returncode == 0
        before = len(daemon.lines)
        place.put("101_V1_consent.pdf", b"again %d" % content)
        daemon.wait_for("done", content + 1)
        told = {line["event"]: line["file"] for line in daemon.lines[before:] if "file" in line}
        assert told.keys() >= {"claimed", "sending", "preserved", "done"}
        assert set(told.values()) == {masks[0] if mask else "101_V1_consent.pdf"}
    daemon.stop()

    place.config["privacy"] = {"names": "mask"}
    place.write_config()
    (place.state / "privacy.key").write_bytes(b"short")
    broken = place.dropcap("run")
    assert broken.returncode == 2
    assert "is no key: remove it" in broken.stderr
    place.config["privacy"] = {"names": "no"}
    place.write_config()
    assert "privacy.names" in place.dropcap("check", "--offline").stdout


def test_the_same_file_wherever_it_lies() -> None:
    mask = Mask(b"k" * 32)
    one = mask.file("a/x.pdf")
    assert mask.file("in_progress/a/x.pdf") == f"in_progress/{one}"
    assert mask.file("failed/a/x.pdf") == f"failed/{one}"
    assert mask.file("done/2026-11-24/a/x.pdf") == f"done/2026-11-24/{one}"
    assert mask.file("x") != mask.record("x")
    assert Mask(b"l" * 32).file("a/x.pdf") != one
    line = json.loads(
        json.dumps(mask(None, "", {"event": "odd", "unknown": "Jxhn", "number": 3, "exception": "A: Jxhn\n  File x"}))
    )
    assert line == {"event": "odd", "unknown": LEFT_OUT, "number": 3, "exception": "A\n  File x"}
