"""`bench/shared.py [burst] [two] [load] [kills]`: the ledger on PostgreSQL against SQLite, two hosts against one, what the
database has to do for a file, and how long a killed host's folders wait. The database is one of its own, on the same disk,
with fsync. Run by itself; it needs PostgreSQL's server and psycopg.
"""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from ground import Ground, Options, Process, ground

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.postgres.cluster import Cluster, cluster

FILES, SIZE = 2000, 10 * 1024
LEASE = 30
_SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "max_connections": "100", "shared_buffers": "128MB"}


@contextmanager
def host(place: Ground, name: str, database: str, folders: int) -> Iterator[Process]:
    """`dropcap run` as one host, ready; `database` is empty for SQLite."""
    config = yaml.safe_load(place.config(folders).read_text())
    config["state_dir"] = str(place.root / f"state-{name}")
    if database:
        config |= {"ledger": database, "lease": f"{LEASE}s"}
    file = place.root / f"config-{name}.yaml"
    file.write_text(yaml.safe_dump(config))
    process = Process([sys.executable, "-m", "dropcap", "run", "-c", str(file)], err=True)
    try:
        process.wait_for('"ready"')
        yield process
    finally:
        process.end()


def burst(options: Options, server: Cluster) -> list[str]:
    """One host, one folder and eight, SQLite and PostgreSQL in turn."""
    lines = []
    for folders in (1, 8):
        rates: dict[str, list[float]] = {"SQLite": [], "PostgreSQL": []}
        cpu: dict[str, list[float]] = {"SQLite": [], "PostgreSQL": []}
        for _ in range(options.runs):
            for name in rates:
                rate, used = _rate(options, server, folders, 1 if name == "PostgreSQL" else 0, 0.0)
                rates[name].append(rate)
                cpu[name].append(used)
        ratios = [new / old for new, old in zip(rates["PostgreSQL"], rates["SQLite"], strict=True)]
        lines.append(f"burst of {options.scaled(FILES)} files of 10 KiB in {folders} folder(s), {options.runs} pairs of runs")
        lines += [
            f"  {name:<11} {_spread(found)} files/s  {statistics.median(cpu[name]):.2f} ms CPU a file"
            for name, found in rates.items()
        ]
        lines.append(f"  PostgreSQL is {_spread(ratios, 2)} x SQLite, pair by pair")
    return lines


def two(options: Options, server: Cluster) -> list[str]:
    """Eight folders: one host and two, at a server that answers at once, and at one that takes its time."""
    lines = []
    for latency in (0.0, 0.1):
        some = Options(options.runs, options.scale * (0.5 if latency else 1.0), options.directory)
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.runs):
            for number, found in rates.items():
                found.append(_rate(some, server, 8, number, latency)[0])
        ratios = [new / old for new, old in zip(rates[2], rates[1], strict=True)]
        lines.append(
            f"{some.scaled(FILES)} files in 8 folders, a server that takes {latency * 1000:.0f} ms, {options.runs} pairs of runs"
        )
        lines += [f"  {number} host(s) {_spread(found)} files/s" for number, found in rates.items()]
        lines.append(f"  two are {_spread(ratios, 2)} x one, pair by pair")
    return lines


def _rate(options: Options, server: Cluster, folders: int, hosts: int, latency: float) -> tuple[float, float]:
    """Files a second, and ms of CPU a file, of so many hosts; 0: one with SQLite."""
    files = options.scaled(FILES)
    with ground(options, latency) as place, ExitStack() as stack:
        database = server.create_database() if hosts else ""
        running = [stack.enter_context(host(place, f"h{number}", database, folders)) for number in range(max(hosts, 1))]
        if hosts:
            _wait_shared_out(server, database, folders, hosts)
        before = sum(one.cpu() for one in running)
        began = time.monotonic()
        place.write(files, SIZE, folders=folders)
        took = place.wait_done(files, folders=folders) - began
        used = sum(one.cpu() for one in running) - before
        if (arrived := len(place.received())) != files:
            raise AssertionError(f"{files} files in done/, {arrived} at the server")
    return files / took, 1000 * used / files


def load(options: Options, server: Cluster) -> list[str]:
    """Statements and commits: of a burst, of files that come alone, and of a host that has nothing to do."""
    lines = ["what the database does, by pg_stat_statements and the hosts' own count"]
    for name, files, pause in (("burst", options.scaled(FILES), 0.0), ("alone", 30, 1.0), ("idle", 0, 30.0)):
        with ground(options) as place:
            database = server.create_database()
            with host(place, "h", database, 1):
                _wait_shared_out(server, database, 1, 1)
                time.sleep(3)
                before, began = _done(server, database), time.monotonic()
                for number in range(1, files + 1) if pause else ():
                    place.write(1, SIZE, first=number)
                    place.wait_done(number)
                    time.sleep(pause)
                if not pause:
                    place.write(files, SIZE)
                    place.wait_done(files)
                if not files:
                    time.sleep(pause)
                took = time.monotonic() - began
                time.sleep(1.5)  # for the figures to come together
                statements, writes, wal = (after - was for after, was in zip(_done(server, database), before, strict=True))
        of, what = (files, "a file") if files else (took, "a second")
        told = f"{statements / of:6.2f} statements, {writes / of:5.2f} commits of the ledger, {wal / of / 1024:6.2f} KiB of WAL"
        lines.append(f"  {name:<6} {told} {what}")
    return lines


def kills(options: Options, server: Cluster) -> list[str]:
    """Pairs of hosts with four folders; one is killed, the clock runs until the other one has all."""
    found: list[float] = []
    threads = [threading.Thread(target=_killed, args=(options, server, found, number)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = " ".join(f"{one:.1f}" for one in sorted(found))
    return [f"take-over after kill -9, lease {LEASE} s, {len(found)} kills: median {statistics.median(found):.1f} s; all: {told}"]


def _killed(options: Options, server: Cluster, found: list[float], number: int) -> None:
    with ground(options) as place, ExitStack() as stack:
        database = server.create_database()
        hosts = [stack.enter_context(host(place, f"h{name}", database, 4)) for name in range(2)]
        for again in range(2):
            _wait_shared_out(server, database, 4, 2)
            time.sleep(5 + random.random() * LEASE / 4)
            killed = time.monotonic()
            hosts[again].kill()
            _wait_shared_out(server, database, 4, 1)
            found.append(time.monotonic() - killed)
            if again == 0:
                hosts[0] = stack.enter_context(host(place, f"h{again + 2}", database, 4))


def _wait_shared_out(server: Cluster, database: str, folders: int, hosts: int) -> None:
    """Until so many hosts hold all folders between them, and as evenly as can be."""
    name = database.rpartition("/")[2]
    sql = "select count(*)::int from lease where until > clock_timestamp() group by holder"
    end = time.monotonic() + 120
    while time.monotonic() < end:
        held = [number for (number,) in server.admin(sql, database=name)] if _made(server, name) else []
        if sum(held) == folders and len(held) == min(hosts, folders) and max(held) - min(held) <= 1:
            return
        time.sleep(0.05)
    raise AssertionError("the folders were not shared out")


def _made(server: Cluster, name: str) -> bool:
    return server.admin("select 1 from pg_class where relname = 'lease'", database=name) != []


def _done(server: Cluster, database: str) -> tuple[float, float, float]:
    name = database.rpartition("/")[2]
    server.admin("create extension if not exists pg_stat_statements", database="postgres")
    ((statements, wal),) = server.admin(
        "select coalesce(sum(calls), 0)::float8, coalesce(sum(wal_bytes), 0)::float8 from pg_stat_statements"
        " where userid = 'dropcap'::regrole and dbid = (select oid from pg_database where datname = %s)",
        name,
    )
    ((writes,),) = server.admin("select sum(commits)::float8 from host", database=name)
    return statements, writes, wal


def _spread(found: list[float], digits: int = 0) -> str:
    return f"{statistics.median(found):.{digits}f} ({min(found):.{digits}f} to {max(found):.{digits}f})"


def main() -> None:
    words = sys.argv[1:]
    runs = int(words.pop(words.index("--runs") + 1)) if "--runs" in words else 5
    asked = [word for word in words if word != "--runs"] or ["burst", "two", "load", "kills"]
    with cluster(durable=True, settings=_SETTINGS) as server:
        for name in asked:
            lines = {"burst": burst, "two": two, "load": load, "kills": kills}[name](Options(runs=runs), server)
            print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
