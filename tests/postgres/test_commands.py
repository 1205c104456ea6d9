"""What people do with a ledger that two hosts share, by the command: on a host of the two, and on one where no dropcap runs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from http.cookiejar import CookieJar
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from dropcap.daemon.control import ask
from tests import needs
from tests.site import Daemon, Site, eventually

if TYPE_CHECKING:
    from tests.postgres.cluster import Cluster
    from tests.postgres.hosts import Hosts


LIBRARIES = ("starlette", "uvicorn", "jinja2", "prometheus_client")


class Two:
    """The hosts `a` and `b` at work in four folders, and `none`, on which nothing runs."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts
        self.metrics = hosts.root / "a.prom"
        self.a: Daemon = hosts.start("a", **self._watched())
        self.a.wait_for("folder_taken", 4)
        self.b: Daemon = hosts.start("b")
        eventually(lambda: len(set(hosts.holders().values())) == 2 and len(hosts.holders()) == 4, 40)
        self.none = hosts.host("none")
        hosts.put("d1", "101_V1_consent.pdf")
        hosts.put("d2", "102_V1_consent.pdf")
        hosts.put("d3", "nonsense.pdf")
        eventually(lambda: len(hosts.done()) == 2 and any(job.state == "failed" for job in hosts.jobs()), 20)

    def _watched(self) -> dict[str, Any]:
        """A page and figures, where their libraries are."""
        if any(find_spec(library) is None for library in LIBRARIES):
            return {}
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        secret = self.hosts.root / "secret"
        secret.write_text("correct horse battery staple\n")
        secret.chmod(0o600)
        dashboard = {"listen": f"127.0.0.1:{port}", "secret_file": str(secret)}
        return {"dashboard": dashboard, "metrics": {"textfile": str(self.metrics)}}

    def site(self, name: str) -> Site:
        return self.hosts.sites[name]

    def by(self, name: str) -> list[str]:
        """The folders in which a host works."""
        (mine,) = [host for host in self.status(name)["hosts"] if host["here"]]
        return list(mine["folders"])

    def status(self, name: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.site(name).dropcap("status", "--json").stdout)
        return told


@pytest.fixture(scope="module")
def two(postgres: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    from tests.postgres.hosts import hosts

    with hosts(tmp_path_factory.mktemp("hosts"), postgres.create_database(), 4) as made:
        yield Two(made)


def said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def test_status_tells_who_works_where(two: Two) -> None:
    mine = two.by("a")
    assert len(mine) == 2
    eventually(lambda: all(folder["host"] for folder in two.status("a")["folders"].values()))
    told = two.status("a")
    assert told["running"] is told["answers"] is True
    for name in two.hosts.folders:
        folder = told["folders"][name]
        assert (folder["arriving"] is not None) == (name in mine), "who works elsewhere is not asked"
        assert folder["host"]
        assert folder["fence"] >= 1
    assert [host["alive"] for host in told["hosts"]] == [True, True]
    assert sorted(folder for host in told["hosts"] for folder in host["folders"]) == ["d1", "d2", "d3", "d4"]
    pids = {str(host["pid"]) for host in told["hosts"]}
    assert pids == {str(pid) for pid in two.hosts.holders().values()}

    text = two.site("a").dropcap("status").stdout
    assert text.splitlines()[0].split()[:2] == ["FOLDER", "HOST"]
    assert "\nHosts\n" in text
    assert text.count("2 folders  ") == 2
    assert text.count(", here, since") == 1
    assert "1 file waits for somebody" in text, "of whichever host it is"


def test_status_where_no_dropcap_runs_says_so_and_what_the_ledger_knows(two: Two) -> None:
    done = two.none.dropcap("status")
    assert done.returncode == 1
    assert "no dropcap runs on this host; 2 others do: " in done.stdout
    assert "NOT WELL  No dropcap runs on this host. 1 file waits for somebody." in done.stdout
    assert done.stdout.rstrip().endswith("not running here.")
    told = two.status("none")
    assert (told["running"], told["answers"], told["alive"]) == (False, False, None)
    assert told["folders"]["d1"]["done_today"] == 1
    assert not any(host["here"] for host in told["hosts"])
    nagios = two.none.dropcap("status", "--nagios")
    assert nagios.returncode == 1, nagios.stdout
    assert nagios.stdout.startswith("DROPCAP WARNING - dropcap does not run on this host, 1 file has failed")


def test_the_page_shows_all_folders_and_the_figures_those_of_the_host(two: Two) -> None:
    for library in LIBRARIES:
        needs.library(library)
    mine = two.by("a")
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    link = two.site("a").dropcap("dashboard", "--link").stdout.strip()
    page = opener.open(link, timeout=20).read().decode()
    assert page.count("2 folders, since") == 2
    assert page.count(", here<") == 1
    assert len(re.findall(r"<small>on \w[^<]* \(pid \d+\)</small>", page)) == 2, "who works in the other two"

    def figures() -> list[str]:
        return two.metrics.read_text().splitlines()

    eventually(lambda: two.metrics.exists() and "dropcap_hosts 2.0" in figures(), 20)
    eventually(lambda: {f'dropcap_folder_here{{folder="{name}"}} 1.0' for name in mine} <= {*figures()}, 20)
    assert sum(line.startswith("dropcap_folder_here{") for line in figures()) == 4
    told = {found for line in figures() for found in re.findall(r'^dropcap_jobs{folder="(\w+)"', line)}
    assert told == {*mine}, "a sum over all hosts counts each file once"


def test_what_was_is_told_from_any_host(two: Two, tmp_path: Path) -> None:
    none = two.none
    listed = none.dropcap("history").stdout
    assert listed.count("done: stored") == 2
    assert "failed: no_rule" in listed
    assert "read back, the same bytes" in none.dropcap("history", "101_V1_consent.pdf").stdout
    acts = none.dropcap("history", "--acts")
    assert acts.returncode == 0, acts.stderr
    assert acts.stdout.count("started") == 2
    assert acts.stdout.count(f", on {os.uname().nodename}") >= 2, "on which host it was"
    chain = none.dropcap("verify", "--chain")
    assert chain.returncode == 0, said(chain)
    assert "the ledger is whole" in chain.stdout
    assert "2 same" in none.dropcap("verify", "--files").stdout
    verified = none.dropcap("verify", "--since", "1d")
    assert verified.returncode == 0, said(verified)
    page = tmp_path / "report.html"
    report = none.dropcap("report", "--since", "1d", "--html", str(page))
    assert report.returncode == 0, said(report)
    assert "101_V1_consent.pdf" in page.read_text()
    assert none.dropcap("preserved").returncode == 0
    assert none.dropcap("preserved", "101_V1_consent.pdf").returncode in (0, 1)
    assert none.dropcap("dry-run").stdout.startswith("0 files"), "what lies there is known to the ledger"
    assert not (two.none.state / "ledger.db").exists()


def test_what_a_command_asks_counts_with_all_hosts(two: Two) -> None:
    config = two.none.config
    two.none.config = config | {"projects": {"trial": config["projects"]["trial"] | {"requests_per_minute": 600}}}
    two.none.write_config()
    try:
        done = two.none.dropcap("verify", "--since", "1d")
    finally:
        two.none.config = config
        two.none.write_config()
    assert done.returncode == 0, said(done)
    with two.hosts.query() as query:
        ((taken,),) = query._reader.rows("select count(*) from slot where at > clock_timestamp() - interval '1 minute'", ())
    assert taken >= 2, "in the database, not in a file of this host"


def test_a_retry_anywhere_is_done_by_the_host_that_works_there(two: Two) -> None:
    failed = max(job.id for job in two.hosts.jobs() if job.state == "failed")
    done = two.none.dropcap("retry", str(failed))
    assert done.returncode == 0, said(done)
    assert "no dropcap runs on this host: those that work in the folders try them" in done.stderr
    eventually(lambda: any(job.again_of == failed and job.state == "failed" for job in two.hosts.jobs()), 15)
    again = max(job.id for job in two.hosts.jobs() if job.state == "failed")
    other = "b" if "d3" in two.by("a") else "a"
    done = two.site(other).dropcap("retry", "--failed", "--folder", "d3")
    assert f"tried again: d3/nonsense.pdf (job {again})" in done.stdout, "by the socket of a host that does not work there"
    eventually(lambda: any(job.again_of == again and job.state == "failed" for job in two.hosts.jobs()), 15)


@pytest.mark.parametrize("where", ["none", "b"])
def test_a_pause_holds_on_every_host_until_resume(two: Two, where: str) -> None:
    number = {"none": 103, "a": 104, "b": 105}[where]
    folder = "d4"
    done = two.site(where).dropcap("pause", "--folder", folder)
    assert f"folder {folder} is paused" in done.stdout, said(done)
    holder = "a" if folder in two.by("a") else "b"
    eventually(lambda: (ask(two.site(holder).state, {"do": "status"}) or {})["pauses"], 10)
    assert "paused already" in two.site("a").dropcap("pause", "--folder", folder).stdout
    two.hosts.put(folder, f"{number}_V1_consent.pdf")
    eventually(lambda: two.status("none")["folders"][folder]["waiting"] == 1, 10)
    assert "paused" in two.none.dropcap("status", "--folder", folder).stdout
    assert f"folder {folder} goes on" in two.site(where).dropcap("resume", "--folder", folder).stdout
    eventually(lambda: f"{folder}/{number}_V1_consent.pdf" in two.hosts.done(), 15)
    assert two.none.dropcap("resume", "--folder", folder).returncode == 1, "it was not paused any more"


def test_a_folder_is_let_go_of_by_the_host_that_works_there(two: Two) -> None:
    done = two.none.dropcap("pause", "--folder", "d2", "--release")
    assert done.returncode == 0, said(done)
    assert "other hosts let go of it in some seconds" in done.stdout
    path = str(two.hosts.folders["d2"])

    def still_open() -> bool:
        found = []
        for pid in two.hosts.holders().values():
            for link in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    found.append(os.readlink(link))
                except OSError:
                    continue
        return any(one == path or one.startswith(path + "/") for one in found)

    eventually(lambda: not still_open(), 15)
    assert two.none.dropcap("resume", "--folder", "d2").returncode == 0
    eventually(still_open, 15)
    two.hosts.put("d2", "102_V2_consent.pdf")
    eventually(lambda: "d2/102_V2_consent.pdf" in two.hosts.done(), 20)


def test_what_is_of_sqlite_alone_or_of_one_dropcap_refuses_in_words(two: Two, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for words in (("backup", str(copy)), ("restore", str(two.none.config_file))):
        done = two.none.dropcap("ledger", *words)
        assert done.returncode == 2
        assert "pg_dump" in done.stderr
        assert "ledger export" in done.stderr
    assert not copy.exists()
    once = two.none.once()
    assert once.returncode == 4, said(once)
    assert "they deliver what is there" in once.stderr
    assert len(two.status("none")["hosts"]) == 2, "it was no host for a moment"


def test_check_asks_the_database_and_compares_the_hosts(two: Two) -> None:
    done = two.none.dropcap("check", "--all")
    assert done.returncode == 0, said(done)
    for part in ("ledger: PostgreSQL 1", "ledger: its tables are there", "agree within 5 s", "taken over within 20 s"):
        assert part in done.stdout
    assert "warning  ledger: fsync is off" in done.stdout, "as the tests' own cluster is"
    assert done.stdout.count("works by another configuration") == 2, "each host of the tests has a file of its own"
    offline = two.none.dropcap("check", "--offline")
    assert "was not asked; leave out --offline" in offline.stdout
    site = two.site("a")
    assert site.dropcap("check").stdout.count("works by another configuration") == 1
    site.config = site.config | {"contact": "the ward"}
    site.write_config()
    assert site.dropcap("check").stdout.count("works by another configuration") == 2, "it has not taken that up"
    assert site.dropcap("reload").returncode == 0
    eventually(lambda: site.dropcap("check").stdout.count("works by another configuration") == 1, 15)


def test_completion_proposes_jobs_of_the_database(two: Two) -> None:
    done = two.none.dropcap(_DROPCAP_COMPLETE="bash_complete", COMP_WORDS="dropcap retry ", COMP_CWORD="2")
    failed = max(job.id for job in two.hosts.jobs() if job.state == "failed")
    assert f"plain,{failed}" in done.stdout, said(done)
