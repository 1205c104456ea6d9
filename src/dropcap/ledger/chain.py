"""The hash chains over history and acts: how entries are sealed, and what people did, which is entered in them."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import compress
from operator import ne
from typing import Any, TypeVar

from dropcap.ledger.database import Connection, Writer
from dropcap.ledger.job import OPEN, State, utf8

#: The name of the chain of people's acts; a folder's chain has the folder's name, which is never empty.
ACTS = ""

_NAMES = frozenset({"name", "filed_as", "preserved_as"})
_TIMES = frozenset({"claimed_at", "ended_at"})
#: The columns of a job that the chain of its folder establishes, in the order of their bytes.
FACTS = (
    *("folder", "name", "state", "size", "mtime_ns", "dropped_by", "dropped_by_name", "again_of", "back_of", "origin"),
    *("project", "rule", "record", "event", "field", "instance", "attempts", "sha256", "reason", "result", "confirmed"),
    *("filed_as", "preserved_as", "preserved_sha256", "found", "claimed_at", "ended_at"),
)
_QUOTED = json.encoder.encode_basestring_ascii  # what makes JSON of a text, in C
_INDEXES = range(len(FACTS))
_KEYS = tuple(f'"{name}":' for name in FACTS)
_ENCODE = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

Facts = tuple[Any, ...]
#: The columns of a job of which nothing is established.
NOTHING: Facts = (None,) * len(FACTS)


def micro(seconds: float) -> int:
    """A time as it is hashed."""
    return round(seconds * 1e6)


#: What is hashed otherwise than it is kept, by its place in `FACTS`.
_MADE: dict[int, Callable[[Any], Any]] = {
    index: bytes.hex if name in _NAMES else micro if name in _TIMES else int
    for index, name in enumerate(FACTS)
    if name in _NAMES | _TIMES | {"mtime_ns"}
}


def canonical(row: Sequence[Any]) -> Facts:
    """A job's columns (`FACTS`, as the ledger keeps them) as they are hashed."""
    return tuple(value if value is None or index not in _MADE else _MADE[index](value) for index, value in enumerate(row))


def news(before: Sequence[Any], after: Sequence[Any]) -> str:
    """What columns establish that they did not before (both as the ledger keeps them), as it is hashed; empty if nothing."""
    told = []
    for index in compress(_INDEXES, map(ne, before, after)):
        value = after[index]
        if index in _MADE and value is not None:
            value = _MADE[index](value)
        told.append(_KEYS[index] + (_QUOTED(value) if type(value) is str else "null" if value is None else repr(value)))
    return "{" + ",".join(told) + "}" if told else ""


def between(before: Mapping[str, Any], after: Facts) -> str:
    """The same of what is canonical already."""
    told = {name: new for name, new in zip(FACTS, after, strict=True) if before[name] != new}
    return _ENCODE(told) if told else ""


def together(established: Sequence[str]) -> dict[str, Any]:
    """What a job's entries have established, in their order, as one. Raises ValueError if one is not what `news` makes."""
    facts: dict[str, Any] = dict.fromkeys(FACTS)
    for one in established:
        if one:
            told = json.loads(one)
            if not isinstance(told, dict):
                raise ValueError(one)
            facts.update(told)
    return facts


def genesis(seed: str, chain: str) -> bytes:
    """What the first entry of a chain carries. `seed` is the ledger's own."""
    return hashlib.sha256(_ENCODE(["dropcap ledger", 1, seed, chain]).encode()).digest()


def of_entry(before: bytes, n: int, job: int, at: float, state: str, note: str, established: str) -> bytes:
    """The hash of the nth entry of a folder's chain."""
    told = f"[{n},{job},{round(at * 1e6)},{_QUOTED(state)},{_QUOTED(note)}]\n{established}"
    return hashlib.sha256(before + told.encode()).digest()


def of_act(before: bytes, act: Sequence[Any]) -> bytes:
    """The hash of an act, given as its row begins: n, at, uid, login, name, way, what, told."""
    n, at, *others = act
    return hashlib.sha256(before + _ENCODE([n, round(at * 1e6), *others]).encode()).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain: who has noted this elsewhere knows whether anything up to it is another by now."""

    chain: str
    n: int
    hash: str

    def __str__(self) -> str:
        return f"{'folder:' + self.chain if self.chain else 'acts'}:{self.n}:{self.hash}"

    @property
    def where(self) -> str:
        """The chain in words."""
        return f"folder {self.chain}" if self.chain else "acts"


_HEAD = re.compile(r"(?:folder:([^\s:\"',<>]+)|\bacts):([0-9]{1,18}):([0-9a-f]{64})\b")


def heads_in(text: str) -> Iterator[Head]:
    """The heads that somebody has noted in whatever text: a log, a report, a letter."""
    for found in _HEAD.finditer(text):
        yield Head(found[1] or ACTS, int(found[2]), found[3])


T = TypeVar("T")

#: Jobs whose sealed facts are kept in memory; of others they are read from their seals.
_KEPT = 4000
#: Entries that are sealed at a time.
_AT_ONCE = 5000
#: Where an entry's folder stands.
_FOLDER = 5
_OVER = frozenset(state.value for state in State if state not in OPEN)

_UNSEALED = (
    "select history.id, history.job, history.at, history.state, history.note, "
    + ", ".join(f"job.{name}" for name in FACTS)
    + " from history join job on job.id = history.job where history.id > ? order by history.id limit ?"
)
_SEALED = (
    "select history.job, seal.established from history join seal on seal.entry = history.id where history.job in ({marks})"
    " order by history.job, history.id"
)
_SEAL = "insert into seal (entry, chain, n, established, hash) values (?,?,?,?,?)"
#: Values that a statement may have.
_VALUES = 500


class Sealer:
    """Seals what one connection enters. For the thread that writes."""

    def __init__(self) -> None:
        self._version = -1  # of the database, as others have committed to it
        self._last = 0  # the last entry that is sealed
        self._newest = 0  # the job with the highest number that has entries
        self._heads: dict[str, tuple[int, int, bytes]] = {}  # folder -> its chain, and the chain's head
        self._facts: dict[int, list[Any]] = {}  # what is sealed of jobs, as the ledger keeps it

    def begin(self, connection: Writer) -> None:
        """A transaction has begun."""
        version = connection.version()
        if version != self._version:
            self.forget()
            self._version = version
            self._last, self._newest = connection.newest()

    def forget(self) -> None:
        """The transaction was rolled back: what is in memory may not be so."""
        self._version = -1
        self._heads.clear()
        self._facts.clear()

    def seal(self, connection: Connection) -> None:
        """Seal what has been entered since `begin`; right before the commit."""
        touched: set[str] = set()
        more = True
        while more:
            rows = connection.execute(_UNSEALED, (self._last, _AT_ONCE)).fetchall()
            more = len(rows) == _AT_ONCE
            if not rows:
                break
            seals = self._sealed(connection, rows)
            (connection.executemany if more else connection.later)(_SEAL, seals)
            touched.update(row[_FOLDER] for row in rows)
            self._last = rows[-1][0]
            if len(self._facts) > _KEPT:
                self._facts.clear()
        heads = [(n, head, chain) for chain, n, head in (self._heads[folder] for folder in sorted(touched))]
        if heads:
            connection.later("update chain set n = ?, head = ? where id = ?", heads)

    def _sealed(self, connection: Connection, rows: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The seals of entries."""
        self._find_heads(connection, {row[_FOLDER] for row in rows} - self._heads.keys())
        before = self._established(connection, {row[1] for row in rows if row[1] <= self._newest} - self._facts.keys())
        seals = []
        for entry, job, at, state, note, *columns in rows:
            known = self._facts.get(job)
            if known is None and job in before:
                established = between(together(before[job]), canonical(columns))
            else:
                established = news(known or NOTHING, columns)
            folder: str = columns[0]
            chain, n, head = self._heads[folder]
            head = of_entry(head, n + 1, job, at, state, note, established)
            self._heads[folder] = (chain, n + 1, head)
            seals.append((entry, chain, n + 1, established, head))
            self._facts[job] = columns
        for _, job, _, state, *_ in rows:
            self._newest = max(job, self._newest)
            if state in _OVER:
                self._facts.pop(job, None)
        return seals

    def _established(self, connection: Connection, jobs: set[int]) -> dict[int, list[str]]:
        """What earlier entries of jobs have established."""
        found: dict[int, list[str]] = {job: [] for job in jobs}
        for some in _in_parts(sorted(jobs)):
            for job, established in connection.execute(_SEALED.format(marks=",".join("?" * len(some))), some):
                found[job].append(established)
        return found

    def _find_heads(self, connection: Connection, folders: set[str]) -> None:
        """The heads of folders' chains, which begin if need be."""
        for some in _in_parts(sorted(folders)):
            marks = ",".join("?" * len(some))
            for name, chain, n, head in connection.execute(f"select name, id, n, head from chain where name in ({marks})", some):
                self._heads[name] = (int(chain), int(n), as_head(head))
        for folder in sorted(folders - self._heads.keys()):
            self._heads[folder] = begun(connection, folder)


def _in_parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many at a time as every engine takes."""
    return (values[begin : begin + _VALUES] for begin in range(0, len(values), _VALUES))


def facts_of(connection: Connection, jobs: Sequence[int]) -> dict[int, Any]:
    """What a chain would establish of jobs as they are now, of as many as a statement may have values; for
    `enter_what_changed`."""
    sql = f"select id, {', '.join(FACTS)} from job where id in ({','.join('?' * len(jobs))})"
    return {job: facts for job, *facts in connection.execute(sql, jobs)}


def enter_what_changed(connection: Connection, before: Mapping[int, Any], at: float, note: str) -> None:
    """Enters one step for each job that was changed without an entry of its own in the history."""
    after = facts_of(connection, list(before))
    connection.executemany(
        "insert into history (job, at, state, note) select id, ?, state, ? from job where id = ?",
        [(at, note, job) for job in before if after.get(job) != before[job]],
    )


def as_head(kept: Any) -> bytes:
    """A chain's head as it is kept. What somebody has made of it stops nothing: it no longer fits what it is a hash of."""
    return kept if isinstance(kept, bytes) else b""


def begun(connection: Connection, name: str) -> tuple[int, int, bytes]:
    """A new chain: its number, how many entries it has (none), and its first head."""
    row = connection.execute("select value from meta where key = 'chain_seed'").fetchone()
    head = genesis(row[0] if row else "", name)
    return connection.enter("chain", ("name", "n", "head"), [(name, 0, head)])[0], 0, head


_ENCODE_SORTED = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode
#: What the kernel says where nobody has logged in: a service, say.
_NO_LOGIN = 2**32 - 1


class AuditAction(StrEnum):
    """What was done."""

    STARTED = "started"
    STOPPED = "stopped"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    RELOAD = "reload"
    ADOPT = "adopt"
    RENAME = "rename_folder"
    CREATED = "created"  # the ledger
    MIGRATED = "migrated"
    RESTORED = "restored"  # it lacks what was in it before
    EXPORTED = "exported"  # all of it into a file
    IMPORTED = "imported"  # all of it out of one
    PRUNE = "prune"  # what `keep` says is over is to be removed
    PRUNED = "pruned"  # jobs that were over were taken out of it


class AuditChannel(StrEnum):
    """How it came to dropcap, and so what tells who did it."""

    SOCKET = "socket"  # the kernel's word on whose process asked
    COMMAND = "command"  # the uid of the process that wrote the ledger itself
    PAGE = "page"  # the operator's page: the name that somebody typed to sign in, or the user who made the link
    SIGNAL = "signal"  # nobody knows who sent it
    ITSELF = "dropcap"


@dataclass(frozen=True, slots=True)
class AuditActor:
    """The user of a process. `login` is who logged in before `sudo` and the like, where the kernel keeps that; `name` is what the
    system calls that one, else the user, and empty if it does not know."""

    uid: int | None
    login: int | None
    way: AuditChannel
    name: str = ""

    @classmethod
    def on_the_page(cls, name: str) -> AuditActor:
        """Somebody who has signed in to the operator's page by the secret, with the name that they typed."""
        return cls(None, None, AuditChannel.PAGE, name)

    @property
    def label(self) -> str:
        """The name, or the number where there is none."""
        return self.name or f"uid {self.uid}"

    @classmethod
    def me(cls, way: AuditChannel = AuditChannel.COMMAND) -> AuditActor:
        """This process."""
        return cls._named(os.getuid(), _login("self"), way)

    @classmethod
    def peer(cls, connection: socket.socket) -> AuditActor:
        """Whose process has connected to a Unix socket, by the kernel's word."""
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return cls._named(uid, _login(str(pid)), AuditChannel.SOCKET)

    @classmethod
    def _named(cls, uid: int, login: int | None, way: AuditChannel) -> AuditActor:
        return cls(uid, login, way, user_name(uid if login is None else login))


NOBODY_KNOWS = AuditActor(None, None, AuditChannel.SIGNAL)


@dataclass(frozen=True, slots=True)
class Act:
    """One act as the ledger keeps it. `at` is seconds since the epoch."""

    n: int
    at: float
    uid: int | None
    login: int | None
    name: str
    way: str
    what: str
    told: Mapping[str, Any]


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """What the system calls a user now, empty if it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return ""


def _login(process: str) -> int | None:
    try:
        with open(f"/proc/{process}/loginuid", encoding="ascii") as file:
            login = int(file.read())
    except (OSError, ValueError):
        return None
    return None if login == _NO_LOGIN else login


def enter(connection: Connection, at: float, actor: AuditActor, what: AuditAction, told: Mapping[str, Any]) -> int:
    """Put an act into its chain, within a transaction; its number."""
    row = connection.execute("select id, n, head from chain where name = ?", (ACTS,)).fetchone()
    chain, n, head = row if row is not None else begun(connection, ACTS)
    n = max(n, connection.execute("select coalesce(max(n), 0) from act").fetchone()[0])
    name, text = utf8(actor.name) or "", _ENCODE_SORTED(told)
    act = (n + 1, at, actor.uid, actor.login, name, actor.way.value, what.value, text)
    head = of_act(as_head(head), act)
    connection.execute(
        "insert into act (n, at, uid, login, name, way, what, told, hash) values (?,?,?,?,?,?,?,?,?)", (*act, head)
    )
    connection.execute("update chain set n = ?, head = ? where id = ?", (n + 1, head, chain))
    return int(n) + 1


def heads(connection: Connection) -> list[Head]:
    """The heads of all chains, by their names."""
    rows = connection.execute("select name, n, head from chain order by name")
    return [Head(name, n, bytes(head).hex()) for name, n, head in rows]


def entry_of(head: Head) -> tuple[str, tuple[object, ...]]:
    """The question for the hash of the entry that a head names."""
    if head.chain == ACTS:
        return "select hash from act where n = ?", (head.n,)
    return "select hash from seal where chain = (select id from chain where name = ?) and n = ? order by entry desc limit 1", (
        head.chain,
        head.n,
    )


def is_head(head: Head, found: Sequence[Any]) -> bool:
    """Whether that is the entry, as it was found."""
    return head.n == 0 or (bool(found) and bytes(found[0][0]).hex() == head.hash)


#: Values that a statement may have.
_AT_A_TIME = 500


class Pruned:
    """Entries that were pruned together, in their order."""

    def __init__(self) -> None:
        self._number = 0
        self._digest = hashlib.sha256()

    def add(self, hash_: bytes) -> None:
        """The next one, by the hash that its seal has."""
        self._number += 1
        self._digest.update(hash_)

    @property
    def summary(self) -> tuple[int, str]:
        """What an act tells of them: how many, and the SHA-256 (hex) of their hashes."""
        return self._number, self._digest.hexdigest()


def prune(connection: Connection, jobs: Sequence[int], at: float, actor: AuditActor) -> int:
    """Take those of `jobs` that are over out of the ledger, but for the newest, within a transaction; how many those were."""
    over = _over(connection, jobs)
    if not over:
        return 0
    pruned = Pruned()
    entries: list[tuple[int, bytes]] = []
    for some, marks in _with_marks(over):
        entries += connection.execute(
            f"select seal.entry, seal.hash from history join seal on seal.entry = history.id where history.job in ({marks})",
            some,
        ).fetchall()
    entries.sort()
    for _, hash_ in entries:
        pruned.add(hash_)
    count, digest = pruned.summary
    told = {"jobs": len(over), "entries": count, "sha256": digest, "heads": [str(head) for head in heads(connection)]}
    act = enter(connection, at, actor, AuditAction.PRUNED, told)
    connection.executemany("update seal set established = '', pruned = ? where entry = ?", [(act, entry) for entry, _ in entries])
    for some, marks in _with_marks(over):
        connection.execute(f"delete from history where job in ({marks})", some)
        connection.execute(f"delete from job where id in ({marks})", some)
    return len(over)


def _over(connection: Connection, jobs: Sequence[int]) -> list[int]:
    """Those that are over, but for the newest of all jobs, whose number another one would get."""
    found: set[int] = set()
    for some, marks in _with_marks(jobs):
        sql = (
            f"select id from job where id in ({marks}) and state in ('done', 'failed', 'withdrawn')"
            " and id < (select max(id) from job)"
        )
        found.update(job for (job,) in connection.execute(sql, some))
    return sorted(found)


def _with_marks(jobs: Sequence[int]) -> Iterator[tuple[Sequence[int], str]]:
    """So many at a time as every engine takes, with their marks."""
    for begin in range(0, len(jobs), _AT_A_TIME):
        some = jobs[begin : begin + _AT_A_TIME]
        yield some, ",".join("?" * len(some))
