"""What people have dropcap do, and what happens to the ledger itself: a chain of acts, each with who, when and what."""

from __future__ import annotations

import json
import os
import pwd
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from dropcap.ledger.chain import ACTS, Head, of_act
from dropcap.ledger.database import Connection
from dropcap.ledger.seal import as_head, begun
from dropcap.ledger.transition import utf8

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
    head = of_act(as_head(head), n + 1, at, who.uid, who.login, name, who.way.value, what.value, text)
    connection.execute(
        "insert into act (n, at, uid, login, name, way, what, told, hash) values (?,?,?,?,?,?,?,?,?)",
        (n + 1, at, who.uid, who.login, name, who.way.value, what.value, text, head),
    )
    connection.execute("update chain set n = ?, head = ? where id = ?", (n + 1, head, chain))
    return int(n) + 1


def heads(connection: Connection) -> list[Head]:
    """The heads of all chains, by their names."""
    rows = connection.execute("select name, n, head from chain order by name")
    return [Head(name, n, bytes(head).hex()) for name, n, head in rows]


def has_head(rows: Callable[[str, Sequence[Any]], list[Any]], head: Head) -> bool:
    """Whether the chain has that entry; `rows` answers."""
    if head.chain == ACTS:
        found = rows("select hash from act where n = ?", (head.n,))
    else:
        sql = "select hash from seal where chain = (select id from chain where name = ?) and n = ? order by entry desc limit 1"
        found = rows(sql, (head.chain, head.n))
    return head.n == 0 or (bool(found) and bytes(found[0][0]).hex() == head.hash)
