"""`bench/mixed.py`: hosts over one ledger on PostgreSQL, and everything that may happen to them, at once and by chance.

Hosts are killed, frozen and stopped; the way to the database is cut; the database is restarted, killed and frozen; REDCap is ill;
people pause, retry, rename, drag back and change the rules. Then all faults are lifted, and all must come to rest: see
`mixed_rest.py`. The exit code is 1 if something is wrong; `--move` takes the ledger to SQLite and back in between.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.mixed_rest import Dropped, lies, open_jobs, taken, wrong
from tests.postgres.cluster import Cluster, cluster
from tests.postgres.hosts import Hosts, hosts
from tests.postgres.proxy import Proxy
from tests.site import Daemon, Site, eventually

from redcap_sandbox import Fault

#: Exit codes of a daemon that ends by itself and is started again, as systemd does: 1 after lost commits, 5 without a database.
AGAIN = (1, 5)


class Mix:
    """One run: the hosts, what has been dropped, and what happens to them, each in a thread of its own."""

    def __init__(self, told: argparse.Namespace, server: Cluster, place: Hosts) -> None:
        self.told, self.server, self.place = told, server, place
        self.began = time.monotonic()
        self.files: list[Dropped] = []
        self.wrong: list[str] = []
        self.started: dict[str, Daemon] = {}
        self.running: dict[str, Daemon] = {}
        self.proxies: dict[str, Proxy] = {}
        self.observer = place.host("observer")
        self._end = threading.Event()
        #: Whoever puts a file into a folder by a name: nothing there is written over.
        self._names = threading.Lock()
        for number in range(1, told.hosts + 1):
            name = f"host{number}"
            self.proxies[name] = Proxy(server.port)
            place.host(name, ledger=self.way(name, place.ledger))
            self.start(name)

    def way(self, name: str, dsn: str) -> str:
        return dsn.replace(f":{self.server.port}/", f":{self.proxies[name].port}/")

    def start(self, name: str) -> None:
        daemon = self.place.sites[name].start(ready=False)
        self.started[f"{name}-{len(self.started)}"] = self.running[name] = daemon

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {len(self.files):4} dropped  {what}", flush=True)

    # -- what happens, a thread each

    def happens(self, seconds: float) -> None:
        """All at once, for so long."""
        kinds = {self.drops: self.told.each, self.to_a_host: 4.0, self.to_a_way: 5.0, self.to_the_database: 14.0}
        kinds |= {self.to_redcap: 4.0, self.by_people: 2.5, self.by_names: 1.0}
        self._end.clear()
        threads = [threading.Thread(target=self._again, args=(kind, each), daemon=True) for kind, each in kinds.items()]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self._end.set()
        for thread in threads:
            thread.join(90)
            if thread.is_alive():
                self.wrong.append("somebody waits for ever")

    def _again(self, kind: Callable[[random.Random], None], each: float) -> None:
        chance = random.Random(f"{self.told.seed} {kind.__name__}")
        each *= self.told.calm if kind != self.drops else 1.0
        while not self._end.wait(chance.uniform(0.2, 1.8) * each):
            kind(chance)

    def drops(self, chance: random.Random) -> None:
        number = len(self.files)
        kind = chance.choice(("consent", "consent", "lab", "lab", "scan", "extra", "wrong"))
        record, visit = 101 + chance.randrange(3), chance.choice(("V1", "V2"))
        name = f"{record}_{visit}_{kind}{'' if kind == 'consent' else number}.pdf"
        content = f"%PDF {self.told.seed} {number}\n".encode() * chance.choice((20, 20, 20, 4000, 60000))
        folder = chance.choice(list(self.place.folders))
        with self._names:
            if not (self.place.folders[folder] / name).exists():
                self.place.put(folder, name, content)
                self.files.append(Dropped(name, folder, hashlib.sha256(content).hexdigest(), kind != "wrong"))

    def to_a_host(self, chance: random.Random) -> None:
        name = chance.choice(list(self.running))
        daemon, what = self.running[name], chance.choice(("killed", "killed", "frozen", "frozen briefly", "stopped", "stopped"))
        self.say(f"{name} {what}")
        if what.startswith("frozen"):
            daemon.process.send_signal(signal.SIGSTOP)
            self._end.wait(chance.uniform(1.0, 6.0) if what.endswith("briefly") else chance.uniform(16.0, 24.0))
            daemon.process.send_signal(signal.SIGCONT)
            return
        if what == "killed":
            daemon.kill()
        else:
            self.stops(name)
        self._end.wait(chance.choice((0.0, 3.0, 18.0)))
        self.start(name)
        for other, one in self.running.items():
            if one.process.poll() is not None:
                self.ended(other, one)
                self.start(other)

    def stops(self, name: str) -> None:
        daemon = self.running[name]
        if daemon.process.poll() is None:
            try:
                code = daemon.stop(patience=60.0)
            except subprocess.TimeoutExpired:
                self.wrong.append(f"{name} does not end")
                daemon.kill()
            else:
                if code not in (0, *AGAIN):
                    self.wrong.append(f"{name} ended with {code}: {''.join(daemon.raw[-5:])}")

    def ended(self, name: str, daemon: Daemon) -> None:
        if daemon.process.poll() not in AGAIN:
            self.wrong.append(f"{name} ended by itself with {daemon.process.poll()}: {''.join(daemon.raw[-5:])}")
        if daemon.process.poll() == 1:
            self.say(f"{name} ended by itself: {''.join(daemon.raw[-1:])}")

    def to_a_way(self, chance: random.Random) -> None:
        name = chance.choice(list(self.proxies))
        proxy, what = (
            self.proxies[name],
            chance.choice(("deaf", "reset", "refused", "cut after", "cut after", "cut before", "slow")),
        )
        self.say(f"way of {name} {what}")
        if what == "deaf":
            proxy.deaf(chance.choice(("client", "server", "both")))
        elif what == "reset":
            proxy.reset(chance.choice(("client", "server", "both")))
        elif what == "refused":
            proxy.refuse()
            proxy.reset()
        elif what == "slow":
            proxy.latency(chance.uniform(20, 150))
        else:
            cut = proxy.cut_after_commit if what == "cut after" else proxy.cut_before_commit
            cut(of=chance.choice(("", "", "update job", "insert into job", "lease")), end=chance.choice(("reset", "silence")))
        if what in ("deaf", "refused", "slow"):
            self._end.wait(chance.choice((2.0, 8.0, 20.0)))
            self._mend(proxy)

    def _mend(self, proxy: Proxy) -> None:
        proxy.resume()
        proxy.admit()
        proxy.latency(0)

    def to_the_database(self, chance: random.Random) -> None:
        what = chance.choice(("fast", "immediate", "killed", "frozen", "frozen"))
        self.say(f"database {what}")
        if what == "frozen":
            self.server.freeze()
            self._end.wait(chance.choice((2.0, 12.0, 20.0)))
            self.server.thaw()
        else:
            self.server.kill() if what == "killed" else self.server.stop("fast" if what == "fast" else "immediate")
            self._end.wait(chance.choice((0.0, 3.0, 12.0)))
            self.server.start()

    def to_redcap(self, chance: random.Random) -> None:
        match = {"action": chance.choice(("import", "import", "export"))}
        plain = ("stored_then_500", "reset_after_body", "reset_before_body", "reset_during_body", "truncated_head")
        kinds: list[tuple[str, dict[str, Any]]] = [(kind, {}) for kind in (*plain, "empty_200_without_storing", "maintenance")]
        kinds += [("status", {"code": 500}), ("reset_after_body", {"stored": False})]
        kinds += [("delay", {"seconds": chance.uniform(0.5, 6.0)}), ("delay", {"seconds": 1.0, "before": "body"})]
        kind, more = chance.choice(kinds)
        if kind in ("stored_then_500", "empty_200_without_storing"):
            match = {"action": "import"}
        self.place.box.ill(Fault(kind, times=chance.choice((1, 2, 5)), match=match, **more))

    def by_people(self, chance: random.Random) -> None:
        site = self.place.sites[chance.choice(list(self.place.sites))]
        folder = chance.choice(list(self.place.folders))
        scope = chance.choice((("--folder", folder), ("--folder", folder), ("--project", "trial"), ("--server", "trial")))
        words = chance.choice(
            (("pause", *scope), ("pause", "--folder", folder, "--release"), ("resume", *scope), ("resume", *scope),
             ("retry", "--held"), ("retry", "--failed"), ("retry", str(chance.randrange(1, len(self.files) + 2))),
             ("status",), ("history",), ("verify", "--chain"), ("reload",), ("rules",))
        )  # fmt: skip
        if words == ("rules",):
            self.rules(chance.choice(("none", "scan", "consent_pdf")))
            words = ("reload",)
        self.person(site, *words)
        if words[0] == "pause" and not self._end.wait(chance.choice((0.0, 2.0, 10.0))):
            self.person(self.observer, "resume", *words[1:3])

    def person(self, site: Site, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            done = site.dropcap(*words)
        except subprocess.TimeoutExpired:
            self.wrong.append(f"{words} on {site.root.name} takes for ever")
            return subprocess.CompletedProcess(words, 99, "", "")
        if "Traceback" in done.stderr or done.returncode not in (0, 1, 2, 3, 4):
            self.wrong.append(f"{words} on {site.root.name}: {done.returncode} {done.stderr}")
        return done

    def rules(self, extra: str) -> None:
        """Where files named `extra` go from now on, or `none`; all hosts are told, by a signal, one after the other."""
        for folder in self.place.config["folders"].values():
            folder["rules"] = [rule for rule in folder["rules"] if rule["name"] != "extra"]
            if extra != "none":
                rule = {"pattern": "{record:digits}_{visit:visits}_extra*.pdf", "event": "{visit|visits}", "field": extra}
                folder["rules"].append({"name": "extra", **rule})
        for name, site in self.place.sites.items():
            configure(site)
            if name in self.running and self.running[name].events("ready"):
                self.running[name].process.send_signal(signal.SIGHUP)

    def by_names(self, chance: random.Random) -> None:
        """Somebody renames a dropped file, or drags one back from in_progress/, also under another name of the same place."""
        drop = self.place.folders[chance.choice(list(self.place.folders))]
        source = drop / chance.choice(("in_progress", "in_progress", "", "failed"))
        with self._names, contextlib.suppress(OSError):
            names = sorted(one.name for one in source.iterdir() if one.name[0].isdigit() and one.suffix == ".pdf")
            if names:
                name = chance.choice(names)
                other = name if chance.random() < 0.6 or "consent" in name else f"{Path(name).stem}x.pdf"
                target = chance.choice((drop, drop, source)) / other
                if not target.exists():
                    (source / name).rename(target)

    # -- the end of it

    def lift(self) -> None:
        """No fault any more, and everybody at work."""
        self.say("all faults are lifted")
        for name, daemon in self.running.items():
            daemon.process.send_signal(signal.SIGCONT)
            self._mend(self.proxies[name])
            self.proxies[name]._cuts.clear()
        self.place.box.well()
        for name, daemon in list(self.running.items()):
            if daemon.process.poll() is not None:
                self.ended(name, daemon)
                self.start(name)
        with contextlib.suppress(AssertionError):  # one that ends instead is started by `rest`
            eventually(lambda: all(daemon.events("ready") for daemon in self.running.values()), 40.0)
        self.rules("scan")
        for scope in [("--folder", name) for name in self.place.folders] + [("--project", "trial"), ("--server", "trial")]:
            self.person(self.observer, "resume", *scope)

    def rest(self, patience: float) -> None:
        """Wait until all is over; what is held or failed is tried again meanwhile, by somebody with patience."""
        end, tried = time.monotonic() + patience, 0.0
        while time.monotonic() < end:
            for name, daemon in list(self.running.items()):
                if daemon.process.poll() is not None:
                    self.ended(name, daemon)
                    self.start(name)
            if not open_jobs(self.place) and taken(self.place) and not self._failed():
                return
            if time.monotonic() - tried > 15.0:
                tried = time.monotonic()
                for job in [job.id for job in open_jobs(self.place) if job.state == "held"] + self._failed():
                    self.person(self.observer, "retry", str(job))
            time.sleep(0.5)

    def _failed(self) -> list[int]:
        """Jobs that failed by the rules of before."""
        found = lies(self.place)
        right = {name for file in self.files if file.right for name in found.get(file.sha256, ())}
        with self.place.query() as query:
            return [job.id for job in query.failed(limit=10000) if f"{job.folder}/{job.filed_as}" in right]

    def move(self) -> None:
        """The ledger goes to SQLite, where one host goes on, and back to another database."""
        self.lift()
        for name in self.running:
            self.stops(name)
        site = self.place.sites["host1"]
        before = self.place.config["ledger"]
        for to in ("sqlite", self.server.create_database()):
            file = self.place.root / f"export-{time.monotonic_ns()}"
            self.say(f"moving to {to}: {len(open_jobs(self.place))} jobs are open")
            self._must(site, "ledger", "export", str(file))
            (site.state / "ledger.db").unlink(missing_ok=True)
            for name, one in self.place.sites.items():
                one.config["ledger"] = self.way(name, to) if name in self.proxies and to != "sqlite" else to
                configure(one)
            self._must(site, "ledger", "import", str(file))
            if to == "sqlite":
                self.observer.config["state_dir"] = str(site.state)
                self.observer.write_config()
                self.start("host1")
                chance = random.Random(f"{self.told.seed} alone")
                for _ in range(40):
                    self.drops(chance)
                    self.to_redcap(chance)
                    time.sleep(0.25)
                self.place.box.well()
                self.stops("host1")
        self.observer.config["state_dir"] = str(self.observer.state)
        self.observer.write_config()
        assert before
        for name in self.running:
            self.start(name)

    def _must(self, site: Site, *words: str) -> None:
        end = time.monotonic() + 40
        while (done := self.person(site, *words)).returncode:
            if time.monotonic() > end:
                raise AssertionError(f"{words}: {done.stderr}")
            time.sleep(1.0)

    def judge(self) -> list[str]:
        told = self.wrong + wrong(self.place, self.files, self.started, self.told.limit)
        chain = self.person(self.observer, "verify", "--chain")
        return told + ([f"the chain: {chain.stdout}{chain.stderr}"] if chain.returncode else [])


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seed", type=int, default=random.randrange(10**6))
    words.add_argument("--hosts", type=int, default=3)
    words.add_argument("--seconds", type=float, default=60.0, help="for how long things happen")
    words.add_argument("--patience", type=float, default=120.0, help="seconds until all must be at rest")
    words.add_argument("--calm", type=float, default=1.0, help="higher: less happens")
    words.add_argument("--each", type=float, default=0.25, help="seconds between two files")
    words.add_argument("--limit", type=int, default=0, help="requests a minute")
    words.add_argument("--move", action="store_true", help="take the ledger to SQLite and back in between")
    words.add_argument("--logs", type=Path, default=Path(tempfile.gettempdir()))
    told = words.parse_args()
    print(told, flush=True)
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        server = stack.enter_context(cluster())
        place = stack.enter_context(hosts(root, server.create_database(), 4))
        place.config["projects"]["trial"] |= {"requests_per_minute": told.limit, "deadline": "30s"}
        mix = Mix(told, server, place)
        eventually(lambda: all(daemon.events("ready") for daemon in mix.running.values()))
        # What no rule matches and lies there before is left alone.
        eventually(lambda: sum(len(daemon.events("folder_watched")) for daemon in mix.running.values()) >= len(place.folders))
        mix.rules("scan")
        mix.happens(told.seconds / 2 if told.move else told.seconds)
        if told.move:
            mix.move()
            mix.happens(told.seconds / 2)
        mix.lift()
        lifted = time.monotonic()
        mix.rest(told.patience)
        mix.say(f"at rest after {time.monotonic() - lifted:.0f} s")
        found = mix.judge()
        counts = f"{len(mix.files)} files, {len(place.imports())} imports, {len(mix.started)} starts"
        if found:
            keep(told, mix)
            print("\n".join(f"WRONG: {one}" for one in found), f"\nseed {told.seed}: {len(found)} WRONG; {counts}")
            return 1
        print(f"seed {told.seed}: {counts}: none lost, none stuck, none twice")
    return 0


def configure(site: Site) -> None:
    """Write its configuration at once, as an editor does: a host may start at this very moment."""
    path, site.config_file = site.config_file, site.config_file.with_suffix(".new")
    site.write_config()
    site.config_file.rename(path)
    site.config_file = path


def keep(told: argparse.Namespace, mix: Mix) -> None:
    """What is needed to find out why: the logs, the jobs with their histories, the requests."""
    where = told.logs / f"mixed-{told.seed}"
    where.mkdir(exist_ok=True, parents=True)
    for name, daemon in mix.started.items():
        (where / f"{name}.log").write_text("".join(daemon.raw))
    with mix.place.query() as query, (where / "jobs").open("w") as out:
        for job in query.recent(10**6)[::-1]:
            print(job, *query.history(job.id), "", sep="\n    ", file=out)
    (where / "requests").write_text("\n".join(map(str, mix.place.box.requests)))
    print(f"logs in {where}")


if __name__ == "__main__":
    sys.exit(main())
