"""What people did, entered in the chain; and jobs that are removed."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from dropcap.ledger.chain import ACTS, Head, as_head, begun, of_act
from dropcap.ledger.database import Connection
from dropcap.ledger.job import utf8

_ENCODE = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode
#: What the kernel says where nobody has logged in: a service, say.
_NO_LOGIN = 2**32 - 1


class Deed(StrEnum):
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


class Means(StrEnum):
    """How it came to dropcap, and so what tells who did it."""

    SOCKET = "socket"  # the kernel's word on whose process asked
    COMMAND = "command"  # the uid of the process that wrote the ledger itself
    PAGE = "page"  # the operator's page: the name that somebody typed to sign in, or the user who made the link
    SIGNAL = "signal"  # nobody knows who sent it
    ITSELF = "dropcap"


@dataclass(frozen=True, slots=True)
class Who:
    """The user of a process. `login` is who logged in before `sudo` and the like, where the kernel keeps that; `name` is what the
    system calls that one, else the user, and empty if it does not know."""

    uid: int | None
    login: int | None
    way: Means
    name: str = ""

    @classmethod
    def on_the_page(cls, name: str) -> Who:
        """Somebody who has signed in to the operator's page by the secret, with the name that they typed."""
        return cls(None, None, Means.PAGE, name)

    @property
    def told(self) -> str:
        """The name, or the number where there is none."""
        return self.name or f"uid {self.uid}"

    @classmethod
    def me(cls, way: Means = Means.COMMAND) -> Who:
        """This process."""
        return cls._named(os.getuid(), _login("self"), way)

    @classmethod
    def peer(cls, connection: socket.socket) -> Who:
        """Whose process has connected to a Unix socket, by the kernel's word."""
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return cls._named(uid, _login(str(pid)), Means.SOCKET)

    @classmethod
    def _named(cls, uid: int, login: int | None, way: Means) -> Who:
        return cls(uid, login, way, user_name(uid if login is None else login))


NOBODY_KNOWS = Who(None, None, Means.SIGNAL)


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


def enter(connection: Connection, at: float, who: Who, what: Deed, told: Mapping[str, Any]) -> int:
    """Put an act into its chain, within a transaction; its number."""
    row = connection.execute("select id, n, head from chain where name = ?", (ACTS,)).fetchone()
    chain, n, head = row if row is not None else begun(connection, ACTS)
    n = max(n, connection.execute("select coalesce(max(n), 0) from act").fetchone()[0])
    name, text = utf8(who.name) or "", _ENCODE(told)
    act = (n + 1, at, who.uid, who.login, name, who.way.value, what.value, text)
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
    def told(self) -> tuple[int, str]:
        """What an act tells of them: how many, and the SHA-256 (hex) of their hashes."""
        return self._number, self._digest.hexdigest()


def prune(connection: Connection, jobs: Sequence[int], at: float, who: Who) -> int:
    """Take those of `jobs` that are over out of the ledger, but for the newest, within a transaction; how many those were."""
    over = _over(connection, jobs)
    if not over:
        return 0
    pruned = Pruned()
    entries: list[tuple[int, bytes]] = []
    for some, marks in _in_parts(over):
        entries += connection.execute(
            f"select seal.entry, seal.hash from history join seal on seal.entry = history.id where history.job in ({marks})",
            some,
        ).fetchall()
    entries.sort()
    for _, hash_ in entries:
        pruned.add(hash_)
    count, digest = pruned.told
    told = {"jobs": len(over), "entries": count, "sha256": digest, "heads": [str(head) for head in heads(connection)]}
    act = enter(connection, at, who, Deed.PRUNED, told)
    connection.executemany("update seal set established = '', pruned = ? where entry = ?", [(act, entry) for entry, _ in entries])
    for some, marks in _in_parts(over):
        connection.execute(f"delete from history where job in ({marks})", some)
        connection.execute(f"delete from job where id in ({marks})", some)
    return len(over)


def _over(connection: Connection, jobs: Sequence[int]) -> list[int]:
    """Those that are over, but for the newest of all jobs, whose number another one would get."""
    found: set[int] = set()
    for some, marks in _in_parts(jobs):
        sql = (
            f"select id from job where id in ({marks}) and state in ('done', 'failed', 'withdrawn')"
            " and id < (select max(id) from job)"
        )
        found.update(job for (job,) in connection.execute(sql, some))
    return sorted(found)


def _in_parts(jobs: Sequence[int]) -> Iterator[tuple[Sequence[int], str]]:
    """So many at a time as every engine takes, with their marks."""
    for begin in range(0, len(jobs), _AT_A_TIME):
        some = jobs[begin : begin + _AT_A_TIME]
        yield some, ",".join("?" * len(some))
