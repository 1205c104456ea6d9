"""Jobs that are over are taken out of the ledger. Their seals stay, so that the chains can be followed over the gap; an act says
how many entries that were, and the SHA-256 of their hashes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence

from dropcap.ledger.act import Deed, Who, enter, heads


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


def prune(connection: sqlite3.Connection, jobs: Sequence[int], at: float, who: Who) -> int:
    """Take those of `jobs` that are over out of the ledger, but for the newest, within a transaction; how many those were."""
    connection.execute("create temp table if not exists over (job integer primary key)")
    connection.execute("delete from over")
    connection.executemany(
        "insert or ignore into over select id from job where id = ? and state in ('done', 'failed', 'withdrawn')"
        " and id < (select max(id) from job)",  # whose number another job would get
        [(job,) for job in jobs],
    )
    (number,) = connection.execute("select count(*) from over").fetchone()
    if not number:
        return 0
    pruned = Pruned()
    sealed = "select seal.entry, seal.hash from over join history on history.job = over.job join seal on seal.entry = history.id"
    entries = connection.execute(f"{sealed} order by seal.entry").fetchall()
    for _, hash_ in entries:
        pruned.add(hash_)
    count, digest = pruned.told
    told = {"jobs": number, "entries": count, "sha256": digest, "heads": [str(head) for head in heads(connection)]}
    act = enter(connection, at, who, Deed.PRUNED, told)
    connection.executemany("update seal set established = '', pruned = ? where entry = ?", [(act, entry) for entry, _ in entries])
    connection.execute("delete from history where job in (select job from over)")
    connection.execute("delete from job where id in (select job from over)")
    connection.execute("delete from over")
    return int(number)
