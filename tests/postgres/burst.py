"""Files for several hosts, and what must be true once all are delivered, whatever the database went through meanwhile."""

from __future__ import annotations

from collections import Counter

from tests.postgres.hosts import Hosts
from tests.site import Daemon, eventually


def drop(hosts: Hosts, first: int, number: int) -> dict[str, bytes]:
    """Drop so many files from a number on, spread over the folders and records; half of them take the next instance."""
    files = {}
    for n in range(first, first + number):
        what = f"lab_{n}" if n % 2 else "consent"
        name = f"{101 + n % 8 if n % 2 else 101 + n // 2 % 10}_{'V1' if n % 2 or n < 20 else 'V2'}_{what}.pdf"
        files[name] = f"%PDF file {n}".encode()
        folders = list(hosts.folders)
        hosts.put(folders[n % len(folders)], name, files[name])
    return files


def wrong(hosts: Hosts, files: dict[str, bytes]) -> list[str]:
    """What is wrong once all should have been delivered: lost, twice, falsely done."""
    found = [name.partition("/")[2] for name in hosts.done()]
    told = [] if sorted(found) == sorted(files) else [f"done/ has {found}"]
    held = Counter(hosts.box.content(h.record, h.field, h.event, h.instance) for h in hosts.box.holdings())
    told += [f"REDCap has {name} {held[content]} times" for name, content in files.items() if held[content] != 1]
    sent = [r for r in hosts.box.requests if (r.content, r.action, r.status) == ("file", "import", 200)]
    if len(sent) != len(files):
        told.append(f"{len(sent)} imports arrived where {len(files)} are enough")
    return told + [f"job {job.id} is {job.state}" for job in hosts.jobs() if job.state != "done"]


def delivered(hosts: Hosts, files: dict[str, bytes], patience: float = 20.0) -> None:
    """Wait until all lie in done/, and the ledger knows."""
    eventually(lambda: len(hosts.done()) >= len(files), patience)
    eventually(lambda: all(job.state == "done" for job in hosts.jobs()), patience)


def troubled(*daemons: Daemon, but: frozenset[str] = frozenset()) -> list[str]:
    """The lines of the logs that tell of trouble, but for these events."""
    return [
        line
        for daemon in daemons
        for line, told in zip(daemon.raw, daemon.lines, strict=False)
        if told.get("level") not in ("info", "debug") and told.get("event") not in but
    ]
