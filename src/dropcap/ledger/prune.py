"""Jobs that are over are taken out of the ledger. Their seals stay, so that the chains can be followed over the gap; an act says
how many entries that were, and the SHA-256 of their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from dropcap.ledger.act import Deed, Who, enter, heads
from dropcap.ledger.database import Connection

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
    entries.sort(key=lambda entry: entry[0])
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
