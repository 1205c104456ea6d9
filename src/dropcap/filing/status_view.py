"""What a folder's status page tells, however it is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Line:
    """One file on the page. `since` has a time zone; `note` says why it waits; `message` and `remedy` why it did not go."""

    name: str
    since: datetime
    note: str = ""
    reason: str = ""
    message: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class StatusView:
    """What one folder's page shows. Only this folder's files, and nothing that REDCap holds.

    A list may be cut: `*_count` then says how many there are in all (None: as many as are listed).
    """

    folder: str
    generated: datetime
    contact: str = ""
    waiting: list[Line] = field(default_factory=list)
    held: list[Line] = field(default_factory=list)
    failed: list[Line] = field(default_factory=list)
    done_today: int = 0
    done_last: list[Line] = field(default_factory=list)
    not_taken: list[tuple[str, str]] = field(default_factory=list)
    pauses: list[str] = field(default_factory=list)
    version: str = ""
    waiting_count: int | None = None
    held_count: int | None = None
    failed_count: int | None = None
    left: list[str] = field(default_factory=list)  # the first names
    left_count: int = 0
    left_note: str = ""
