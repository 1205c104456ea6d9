# ruff: noqa: E402 - the library may be missing
"""Figures: what they are, that nothing is counted twice, that promtool finds nothing, and the file for node_exporter."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dropcap.ledger.reports import Figures
from dropcap.metrics import Tally
from tests import needs
from tests.site import Site, eventually

needs.library("prometheus_client")
from prometheus_client.parser import text_string_to_metric_families

from dropcap.metrics import Textfile, exposition
from dropcap.reasons import Reason, Scope
from tests.snapshot import folder, pause, snapshot


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    return values(text)[name, tuple(sorted(labels.items()))]


def test_names_and_known_labels() -> None:
    seen = snapshot(
        folders=(folder(counts={"waiting": 3, "failed": 2}, strays=1, oldest=5.0), folder("labs", away="gone")),
        pauses=(pause(Scope.FOLDER, "labs", Reason.BY_HAND),),
    )
    text = exposition(seen, Tally()).decode()
    assert value(text, "dropcap_jobs", folder="consents", state="waiting") == 3
    assert value(text, "dropcap_jobs", folder="labs", state="failed") == 0
    assert value(text, "dropcap_paused", scope="folder") == 1
    assert value(text, "dropcap_paused", scope="server") == 0
    assert value(text, "dropcap_folder_away", folder="labs") == 1
    assert value(text, "dropcap_strays", folder="consents") == 1
    assert value(text, "dropcap_oldest_waiting_timestamp_seconds", folder="consents") == 5.0
    assert value(text, "dropcap_server_up", server="redcap:443") == 1
    assert value(text, "dropcap_jobs_done_total", folder="labs", result="replaced") == 0
    assert value(text, "dropcap_jobs_failed_total", folder="labs", reason="no_rule") == 0
    assert value(text, "dropcap_drop_to_done_seconds_bucket", folder="labs", le="86400") == 0
    assert value(text, "dropcap_build_info", version="1") == 1
    assert "SECRET-RECORD" not in text


def test_a_hostile_name_of_a_folder_stays_a_label() -> None:
    text = exposition(snapshot(folders=(folder('a"b\\c\nd'),)), Tally()).decode()
    assert value(text, "dropcap_folder_away", folder='a"b\\c\nd') == 0


def promtool(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([needs.program("promtool"), *words], input=given, capture_output=True, text=True, timeout=60)


def test_promtool_finds_nothing() -> None:
    done = promtool("check", "metrics", given=exposition(snapshot(), Tally()).decode())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_daemon_writes_what_it_has_done(place: Site) -> None:
    textfile = place.root / "node" / "dropcap.prom"
    place.config["metrics"] = {"textfile": str(textfile)}
    place.write_config()
    place.put("101_V1_consent.pdf", b"x" * 1000)
    daemon = place.start()
    place.put("oops.pdf")
    daemon.wait_for("metrics_unwritable")
    daemon.wait_for("done")
    daemon.wait_for("failed")
    textfile.parent.mkdir()
    assert place.dropcap("reload").returncode == 0  # which writes at once
    text = eventually(lambda: textfile.exists() and textfile.read_text())
    assert value(text, "dropcap_jobs_done_total", folder="consents", result="stored") == 1
    assert value(text, "dropcap_jobs_failed_total", folder="consents", reason="no_rule") == 1
    assert value(text, "dropcap_jobs", folder="consents", state="failed") == 1
    assert value(text, "dropcap_sent_bytes_total", project="trial") == 1000
    assert value(text, "dropcap_drop_to_done_seconds_bucket", folder="consents", le="+Inf") == 1
    assert value(text, "dropcap_drop_to_done_seconds_sum", folder="consents") > 0
    assert "oops" not in text
    assert "consent.pdf" not in text
    assert "101_" not in text
    assert textfile.stat().st_mode & 0o777 == 0o644
    assert daemon.stop() == 0
    figures = Figures(place.state / "ledger.db")
    tally = Tally()
    for _ in range(3):
        tally.take_up(figures)
    figures.close()
    assert tally.done == {("consents", "stored"): 1}
    assert [path.name for path in textfile.parent.iterdir()] == ["dropcap.prom"]


def test_a_file_that_is_no_file_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    path = tmp_path / "dropcap.prom"
    path.symlink_to(tmp_path / "elsewhere")
    Textfile(path).write(b"x 1\n")
    assert (tmp_path / "elsewhere").read_text() == "kept"
    assert path.read_bytes() == b"x 1\n"


def test_the_alert_rules_of_the_page_are_sound(tmp_path: Path) -> None:
    """docs/monitoring.md's rules are read by promtool, and its example tries them."""
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    rules = page.partition("```yaml\ngroups:")[2].partition("```")[0]
    (tmp_path / "rules.yml").write_text("groups:" + rules)
    done = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "test.yml").write_text(TRIED)
    done = promtool("test", "rules", str(tmp_path / "test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    known = exposition(snapshot(), Tally()).decode()
    import re

    named = set(re.findall(r"\bdropcap_[a-z_]+", rules))
    assert {name for name in named if name.removesuffix("_bucket") not in known} == set()


TRIED = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'dropcap_server_up{server="redcap.example.org:443"}', values: '1x5 0x30'}
      - {series: 'dropcap_alive', values: '1x40'}
      - {series: 'dropcap_expected_overdue{folder="labs"}', values: '0x5 1x30'}
      - {series: 'dropcap_jobs_failed_total{folder="labs",reason="no_rule"}', values: '0x5 3x30'}
    alert_rule_test:
      - eval_time: 25m
        alertname: DropcapServerDown
        exp_alerts: [{exp_labels: {severity: warning, server: "redcap.example.org:443"}, exp_annotations: {summary: "redcap.example.org:443 has not answered dropcap for 15 minutes"}}]
      - {eval_time: 5m, alertname: DropcapServerDown, exp_alerts: []}
      - eval_time: 10m
        alertname: DropcapFileMissing
        exp_alerts: [{exp_labels: {severity: warning, folder: labs}, exp_annotations: {summary: "an expected file is missing in labs"}}]
      - eval_time: 8m
        alertname: DropcapFilesFailed
        exp_alerts: [{exp_labels: {severity: warning, folder: labs, reason: no_rule}, exp_annotations: {summary: "files failed in labs: no_rule"}}]
      - {eval_time: 4m, alertname: DropcapFilesFailed, exp_alerts: []}
"""  # noqa: E501
