"""Several daemons as several hosts, over the same drop folders and one ledger on PostgreSQL."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dropcap.config.load import load
from dropcap.daemon.opening import database_of
from dropcap.ledger.job import OPEN, Job
from dropcap.ledger.query import Query
from redcap_sandbox import Request, Sandbox, demo_project
from tests.site import TOKEN, Daemon, Site, eventually

#: Seconds that a lease of a host that is gone may take to be taken over: 15 + 5, and as much again
#: where eight tests share two cores.
TAKEN_OVER = 2 * (15.0 + 5.0)


class Hosts:
    """`root/drop-1` and so on are drop folders `d1`…; `host("a")` works there with a state_dir of its own."""

    def __init__(self, root: Path, box: Sandbox, ledger: str, folders: int = 1, *, lease: str = "15s", **settings: Any) -> None:
        self.root = root
        self.box = box
        self.ledger = ledger
        (root / "first").mkdir()
        first = Site(root / "first", box)
        (root / "preserved").mkdir()
        self.folders = {f"d{number}": root / f"drop-{number}" for number in range(1, folders + 1)}
        folder = {key: value for key, value in first.folder.items() if key != "path"}
        for path in self.folders.values():
            path.mkdir()
        first.project["timeout"] = "2s"  # after which what another host was sending is read back
        self.config: dict[str, Any] = first.config | {
            "ledger": ledger,
            "lease": lease,
            "defaults": {"preserve_in": str(root / "preserved")},
            "folders": {name: {**folder, "path": str(path)} for name, path in self.folders.items()},
            **settings,
        }
        self.sites: dict[str, Site] = {}
        self.daemons: list[Daemon] = []

    def host(self, name: str, *, ledger: str | None = None, **settings: Any) -> Site:
        """A host that is not started: its configuration names a `state_dir` of its own. `ledger`: by another way, a proxy's."""
        if name not in self.sites:
            place = self.root / name
            place.mkdir()
            site = Site(place, self.box)
            site.config = self.config | {"state_dir": str(site.state), "ledger": ledger or self.ledger} | settings
            site.write_config()
            self.sites[name] = site
        return self.sites[name]

    def start(self, name: str, **settings: Any) -> Daemon:
        """Start a host."""
        daemon = self.host(name, **settings).start(ready=False)
        daemon.wait_for("ready")
        return daemon

    def put(self, folder: str, name: str, content: bytes = b"%PDF some content\n") -> Path:
        """Drop a file the careful way."""
        path = self.folders[folder] / name
        beside = self.root / f"putting-{time.monotonic_ns()}"
        beside.write_bytes(content)
        beside.rename(path)
        return path

    def done(self) -> list[str]:
        """The names in all done/, with their folders, without the day."""
        found = []
        for name, path in self.folders.items():
            found += [
                f"{name}/{one.name}" for one in (path / "done").rglob("*") if one.is_file() and not one.name.endswith(".json")
            ]
        return sorted(found)

    @contextlib.contextmanager
    def query(self) -> Iterator[Query]:
        """The ledger to read."""
        site = next(iter(self.sites.values()))
        found = Query(database_of(load(site.config_file)))
        try:
            yield found
        finally:
            found.close()

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        with self.query() as query:
            return query.recent(1_000_000)[::-1]

    def put_all(self, names: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Drop files, no two alike, by folder; their SHA-256 by name."""
        told = {}
        for number in range(max(map(len, names.values()))):
            for folder, some in names.items():
                if number < len(some):
                    content = f"%PDF {folder} {some[number]}\n".encode() * 20
                    self.put(folder, some[number], content)
                    told[some[number]] = hashlib.sha256(content).hexdigest()
        return told

    def all_once(self, files: Mapping[str, str]) -> None:
        """Each of these files (no two of a name, see `put_all`) is done, lies in done/ once, and is in REDCap at one place,
        where nothing but its own bytes ever went. Of the same place only the last is asked for."""
        lying = Counter(name.partition("/")[2] for name in self.done())
        assert {name: lying[name] for name in files} == dict.fromkeys(files, 1)
        # A file lies in done/ before its job is.
        eventually(lambda: not any(job.state in OPEN for job in self.jobs() if job.name in files))
        jobs = Counter((job.name, job.state.value) for job in self.jobs() if job.name in files)
        assert jobs == Counter((name, "done") for name in files)
        places: dict[str, set[tuple[str, ...]]] = {}
        for one in self.imports():
            places.setdefault(one.filename, set()).add((one.record, one.event, one.field, one.instance))
        assert {name: len(places.get(name, ())) for name in files} == dict.fromkeys(files, 1)
        held = {holding.name: holding.sha256 for holding in self.box.holdings()}
        taken = Counter(place for name in files for place in places[name])
        assert {name: held.get(name) for name in files if all(taken[one] == 1 for one in places[name])} == {
            name: content for name, content in files.items() if all(taken[one] == 1 for one in places[name])
        }

    def imports(self) -> list[Request]:
        """The imports of files that REDCap has answered well."""
        return [one for one in self.box.requests if (one.content, one.action, one.status) == ("file", "import", 200)]

    def held_by(self, daemon: Daemon) -> list[str]:
        """The folders in which a host works, by the ledger."""
        return sorted(folder for folder, pid in self.holders().items() if pid == daemon.process.pid)

    def spread(self, *daemons: Daemon, patience: float = 20.0) -> float:
        """Wait until these hosts have all folders, none more than one more than another; the seconds waited."""
        began = time.monotonic()

        def even() -> bool:
            held = [len(self.held_by(daemon)) for daemon in daemons]
            return sum(held) == len(self.folders) and max(held) - min(held) <= 1

        eventually(even, patience)
        return time.monotonic() - began

    def holders(self) -> dict[str, int]:
        """Which process (its number) works in which folder, by the ledger."""
        with self.query() as query:
            sql = "select lease.folder, host.pid from lease join host on host.id = lease.holder"
            return dict(query._reader.rows(f"{sql} where lease.until > clock_timestamp()", ()))

    def close(self) -> None:
        for site in self.sites.values():
            site.close()


@contextlib.contextmanager
def hosts(root: Path, ledger: str, folders: int = 1, box: Sandbox | None = None, **settings: Any) -> Iterator[Hosts]:
    """Hosts with a sandbox of their own, unless one is given."""
    with contextlib.ExitStack() as stack:
        if box is None:
            box = stack.enter_context(Sandbox(demo_project(), token=TOKEN))
        made = Hosts(root, box, ledger, folders, **settings)
        stack.callback(made.close)
        yield made
