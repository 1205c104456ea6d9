"""What can go wrong with the ledger, whichever engine keeps it."""

from __future__ import annotations

#: What is told where the system opens no more files for dropcap.
TOO_MANY_OPEN = "too many files are open: raise LimitNOFILE= of the unit, or `ulimit -n`"


class DatabaseError(Exception):
    """The ledger could not be asked or written; the message is the engine's."""


class Unavailable(DatabaseError):  # noqa: N818 - a state
    """The same can go well later: once there is room on the disk, or the server is back."""


class NoDescriptor(Unavailable):
    """This process has as many files open as it may."""

    def __init__(self) -> None:
        super().__init__(TOO_MANY_OPEN)


class Conflict(DatabaseError):  # noqa: N818 - an answer
    """A rule of the ledger forbids it: an open job has that name, another one is being sent to that place."""


class Damaged(DatabaseError):  # noqa: N818 - a state
    """An answer that no sound ledger gives."""


class LeaseLost(DatabaseError):  # noqa: N818 - a state
    """Another host works in the folder by now: nothing of the write stands."""


class CommitsLost(DatabaseError):  # noqa: N818 - a state
    """The database has gone back behind what it had acknowledged: a fail-over has lost commits."""


#: What the ledger itself tells of: whoever meets it tries again, and logs nothing.
TOLD = (Unavailable, Damaged, LeaseLost, CommitsLost)


class LedgerError(Exception):
    """The ledger cannot be used; the message says why and what to do."""


class NewerLedger(LedgerError):  # noqa: N818 - a state, not a fault
    """A newer dropcap has written the ledger."""
