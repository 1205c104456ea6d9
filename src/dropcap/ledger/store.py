"""The ledger itself: jobs, their guarded transitions with a history row each, pauses and known folders."""

from __future__ import annotations

from dropcap.ledger.delivery_changes import DeliveryChanges
from dropcap.ledger.intake_changes import IntakeChanges


class Ledger(IntakeChanges, DeliveryChanges):
    """The ledger. Every method may be called from any thread; writes are durable on return, and wait while the disk is full or
    may not be written, or the server is away (see `trouble`), or raise Unavailable if that lasts for longer than `patience`.

    Raises:
        LedgerError: it cannot be opened; the message says what to do.
        Damaged: the file is damaged.
    """
