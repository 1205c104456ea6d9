"""Is the ledger whole? Every chain is gone through, every entry and act hashed again, every job compared with its entries.

It is read in one snapshot, in passes that keep little in memory, so that it may be large and a daemon may go on beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from dropcap.ledger.chain import ACTS, FACTS, AuditAction, Head, Pruned, as_head, canonical, genesis, of_act, of_entry, together
from dropcap.ledger.database import Connection, Database
from dropcap.ledger.sqlite import SqliteDatabase


@dataclass(frozen=True, slots=True)
class Broken:
    """One thing that is not as it was sealed."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(slots=True)
class Proof:
    """What came of it. `told` are acts that explain a gap: an upgrade, a restored copy."""

    entries: int = 0
    acts: int = 0
    jobs: int = 0
    heads: list[Head] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    witnessed: int = 0  # heads noted elsewhere that are in the chains


@dataclass(slots=True)
class _Link:
    """How far a chain has been followed."""

    name: str
    n: int
    head: bytes


def prove(place: Database | Path, witnesses: Iterable[Head] = ()) -> Proof:
    """Go through a ledger; `witnesses` are heads that were noted elsewhere.

    Raises:
        DatabaseError: it cannot be read.
    """
    database = SqliteDatabase(place) if isinstance(place, Path) else place
    with database.snapshot() as connection:
        return prove_within(connection, witnesses)


def prove_within(connection: Connection, witnesses: Iterable[Head] = ()) -> Proof:
    """The same of a ledger that is open, as the transaction that has begun sees it."""
    return _Prover(connection, witnesses).proof()


class _Prover:
    def __init__(self, connection: Connection, witnesses: Iterable[Head]) -> None:
        self._connection = connection
        self._found = Proof()
        self._wanted: dict[tuple[str, int], set[str]] = {}
        for head in witnesses:
            if head.n:
                self._wanted.setdefault((head.chain, head.n), set()).add(head.hash)
        row = connection.execute("select value from meta where key = 'chain_seed'").fetchone()
        self._seed = row[0] if row else ""
        self._pruned: dict[int, Pruned] = {}
        self._told_pruned: dict[int, tuple[Any, Any]] = {}
        self._moved: dict[str, set[str]] = {}  # a folder's names since, from acts

    def proof(self) -> Proof:
        chains = list(self._connection.execute("select id, name, n, head from chain order by name"))
        self._acts(next((_Link(ACTS, 0, genesis(self._seed, ACTS)) for _, name, *_ in chains if name == ACTS), None))
        links = {number: _Link(name, 0, genesis(self._seed, name)) for number, name, *_ in chains if name != ACTS}
        self._entries(links)
        self._prunings()
        self._ends({name: (n, as_head(head)) for _, name, n, head in chains if name != ACTS}, links.values())
        self._unsealed()
        self._jobs()
        self._documents()
        for (chain, n), hashes in sorted(self._wanted.items()):
            for one in sorted(hashes):
                self._says(Head(chain, n, one).where, f"entry {n} was noted elsewhere as {one[:16]}…, and is not in the ledger")
        return self._found

    def _says(self, where: str, message: str) -> None:
        self._found.broken.append(Broken(where, message))

    def _acts(self, link: _Link | None) -> None:
        rows = self._connection.execute("select n, at, uid, login, name, way, what, told, hash from act order by n")
        if link is None:
            self._says("acts", "the chain of acts is gone")
            return
        for *act, what, told, stored in rows:
            n = act[0]
            self._found.acts += 1
            differs = _differs(stored, of_act, link.head, (*act, what, told))
            self._follow(link, n, as_head(stored), f"act {n} ({what})", differs)
            self._note(n, what, told)
        stored_head = self._connection.execute("select n, head from chain where name = ?", (ACTS,)).fetchone()
        self._ends({ACTS: (stored_head[0], as_head(stored_head[1]))}, [link])

    def _pass_over(self, link: _Link, n: int, stored: bytes) -> None:
        """An entry that was pruned cannot be hashed again, only followed: an act vouches for its hash."""
        if n != link.n + 1:
            self._says(Head(link.name, n, "").where, f"entry {n}, which was pruned, is out of its order")
        self._reach(link, n, stored)

    def _reach(self, link: _Link, n: int, stored: bytes) -> None:
        """The chain is followed up to there; somebody may have noted just this head."""
        wanted = self._wanted.get((link.name, n), set())
        if stored.hex() in wanted:
            wanted.remove(stored.hex())
            self._found.witnessed += 1
            if not wanted:
                del self._wanted[link.name, n]
        link.n, link.head = n, stored

    def _prunings(self) -> None:
        """What was pruned must be what acts say."""
        for n in sorted({*self._pruned, *self._told_pruned}):
            if self._pruned.get(n, Pruned()).summary != self._told_pruned.get(n):
                self._says("acts", f"what was pruned by act {n} is not what that act says: more, less, or other entries")

    def _note(self, n: int, what: str, told: str) -> None:
        try:
            facts = json.loads(told)
        except ValueError:
            return
        if what == AuditAction.RENAME:
            for names in [{facts["from"]}, *self._moved.values()]:
                if facts["from"] in names:
                    names.add(facts["to"])
            self._moved.setdefault(facts["from"], set()).add(facts["to"])
        elif what == AuditAction.PRUNED:
            self._told_pruned[n] = (facts.get("entries"), facts.get("sha256"))
            self._found.told.append(f"act {n}: {facts.get('jobs')} jobs with {facts.get('entries')} entries were pruned")
        elif what == AuditAction.MIGRATED:
            counts = f"{facts.get('job')} jobs with {facts.get('history')} entries"
            self._found.told.append(f"act {n}: upgraded from version {facts.get('from')} to {facts.get('to')}, with {counts}")
        elif what == AuditAction.IMPORTED:
            rows = facts.get("rows", {})
            counts = f"{rows.get('job', 0)} jobs with {rows.get('history', 0)} entries"
            self._found.told.append(f"act {n}: brought here from an export, with {counts}")
        elif what == AuditAction.RESTORED:
            how = "a copy was put in the ledger's place" if facts.get("copy") else "entries were missing at a start"
            lost = ", ".join(facts.get("lost", []))
            self._found.told.append(f"act {n}: {how}" + (f", which lacks entries up to {lost}" if lost else ""))

    def _follow(self, link: _Link, n: int, stored: bytes, said: str, differs: bool) -> None:
        where = Head(link.name, n, "").where
        if n != link.n + 1:
            gone = f"entry {link.n + 1} is" if n == link.n + 2 else f"entries {link.n + 1} to {n - 1} are"
            message = f"{gone} missing before {said}" if n > link.n + 1 else f"{said} is out of its order"
            self._says(where, message)
        elif differs:
            self._says(where, f"{said} is not what was sealed: it, or its place in the chain, was changed")
        self._reach(link, n, stored)

    def _entries(self, links: dict[int, _Link]) -> None:
        rows = self._connection.execute(
            "select seal.entry, seal.chain, seal.n, seal.established, seal.hash,"
            " history.job, history.at, history.state, history.note, seal.pruned"
            " from seal left join history on history.id = seal.entry order by seal.entry"
        )
        for entry, chain, n, established, stored, job, at, state, note, pruned in rows:
            self._found.entries += 1
            link = links.get(chain)
            if link is None:
                self._says(f"entry {entry}", f"it belongs to a chain that is gone ({chain})")
                continue
            if job is None and pruned is not None:
                self._pruned.setdefault(pruned, Pruned()).add(stored)
                self._pass_over(link, n, as_head(stored))
                continue
            if job is None:
                self._says(Head(link.name, n, "").where, f"entry {n} was removed from the history (number {entry})")
                self._reach(link, n, as_head(stored))
                continue
            said = f"entry {n} (job {job}, {state}{': ' + note if note else ''})"
            differs = _differs(stored, of_entry, link.head, n, job, at, state, note, established)
            self._follow(link, n, as_head(stored), said, differs)

    def _ends(self, stored: dict[str, tuple[int, bytes]], links: Iterable[_Link]) -> None:
        for link in links:
            n, head = stored[link.name]
            if (n, head) != (link.n, link.head):
                said = f"the chain ends at entry {link.n}, and was at {n}"
                self._says(Head(link.name, n, "").where, said if n != link.n else "the last entry is not the one that was sealed")
            self._found.heads.append(Head(link.name, link.n, link.head.hex()))

    def _unsealed(self) -> None:
        rows = self._connection.execute(
            "select history.id, history.job, history.state, history.note from history"
            " left join seal on seal.entry = history.id where seal.entry is null order by history.id"
        )
        for entry, job, state, note in rows:
            self._says(f"job {job}", f"an entry was inserted without a seal (number {entry}, {state}: {note})")

    def _jobs(self) -> None:
        """Compare each job with what its entries have established."""
        sealed = self._connection.execute(
            "select history.job, seal.established from history join seal on seal.entry = history.id"
            " order by history.job, history.id"
        )
        jobs = self._connection.execute(f"select id, {', '.join(FACTS)} from job order by id")
        each = groupby(sealed, key=itemgetter(0))
        number, entries = next(each, (None, iter(())))
        for job, *columns in jobs:
            self._found.jobs += 1
            while number is not None and number < job:
                self._says(f"job {number}", "it was removed, and its entries are still there")
                number, entries = next(each, (None, iter(())))
            if number != job:
                self._says(f"job {job}", "it was inserted: nothing was ever entered about it")
                continue
            self._compare(job, columns, [established for _, established in entries])
            number, entries = next(each, (None, iter(())))
        while number is not None:
            self._says(f"job {number}", "it was removed, and its entries are still there")
            number, entries = next(each, (None, iter(())))

    def _compare(self, job: int, columns: list[Any], established: list[str]) -> None:
        try:
            sealed, now = together(established), canonical(columns)
        except (ValueError, TypeError, AttributeError, OverflowError):
            self._says(f"job {job}", "what was sealed of it, or what it holds now, cannot be read")
            return
        if sum('"claimed_at":' in told for told in established) > 1:
            self._says(f"job {job}", "an earlier job of this number was removed")
        for name, value in zip(FACTS, now, strict=True):
            if value == sealed[name] or (name == "folder" and value in self._moved.get(sealed[name], ())):
                continue
            self._says(f"job {job}", f"its {name} is {_shown(name, value)} now; {_shown(name, sealed[name])} was sealed")

    def _documents(self) -> None:
        kept = set()
        for digest, what in self._connection.execute("select sha256, what from document"):
            kept.add(digest)
            if sha256(what.encode()).hexdigest() != digest:
                self._says(f"document {digest[:16]}…", "a rule or the circumstances of jobs were changed: it has another SHA-256")
        rows: Iterable[Any] = self._connection.execute("select origin, min(id) from job where origin is not null group by origin")
        for digest, job in rows:
            if digest not in kept:
                self._says(f"document {digest[:16]}…", f"it is gone; job {job} refers to it")


def _differs(stored: Any, hash_of: Callable[..., bytes], *facts: Any) -> bool:
    try:
        return hash_of(*facts) != as_head(stored)
    except (TypeError, ValueError, OverflowError):  # what is no number any more
        return True


def _shown(name: str, value: Any) -> str:
    if value is not None and name in ("name", "filed_as", "preserved_as"):
        return repr(bytes.fromhex(value).decode("utf-8", "backslashreplace"))
    return "nothing" if value is None else repr(value)
