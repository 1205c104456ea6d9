"""What is remembered of files that lie in drop folders."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dropcap.ledger.database import Connection
from dropcap.ledger.job import MarkKind


def forget_marks(connection: Connection, folder: str, names: Iterable[str], kinds: Iterable[MarkKind] = tuple(MarkKind)) -> None:
    """The files of these names have left the folder, or are others now."""
    wanted = [kind.value for kind in kinds]
    sql = f"delete from mark where folder = ? and name = ? and kind in ({','.join('?' * len(wanted))})"
    # Right before the commit, in the order in which it was asked for: whoever makes marks does so too.
    connection.later(sql, [(folder, os.fsencode(name), *wanted) for name in names])
