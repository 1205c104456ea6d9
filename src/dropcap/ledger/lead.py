"""Which of REDCap's projects an entry leads to, by what REDCap has told of its tokens: the first one, until the configuration
names another."""

from __future__ import annotations

from dataclasses import dataclass

from dropcap.ledger.database import Connection

_FOR_GOOD = 1e12  # seconds since the epoch
_NUMBER, _TOKEN = "project_id", "token"


@dataclass(frozen=True, slots=True)
class Lead:
    """A project's number, None if REDCap has not told it; and what stands for the token that leads there."""

    number: int | None
    token: str


def enter(connection: Connection, entry: str, told: Lead, configured: int | None) -> tuple[Lead | None, bool]:
    """Keep where a token leads, unless it leads elsewhere; what was kept before, and whether it may be gone there."""
    kept = _kept(connection, entry)
    now = _followed(kept, told, configured)
    if now is not None and now != kept:
        connection.execute("delete from learned where project = ? and kind in (?, ?)", (entry, _NUMBER, _TOKEN))
        number = [] if now.number is None else [(entry, _NUMBER, str(now.number), _FOR_GOOD)]
        rows = [*number, (entry, _TOKEN, now.token, _FOR_GOOD)]
        connection.executemany("insert into learned (project, kind, what, until) values (?,?,?,?)", rows)
    return kept, now is not None


def _kept(connection: Connection, entry: str) -> Lead | None:
    sql = "select kind, what from learned where project = ? and kind in (?, ?)"
    found = dict(connection.execute(sql, (entry, _NUMBER, _TOKEN)).fetchall())
    return Lead(int(found[_NUMBER]) if _NUMBER in found else None, found.get(_TOKEN, "")) if found else None


def _followed(kept: Lead | None, told: Lead, configured: int | None) -> Lead | None:
    """What is to be kept now; None if the token may be another project's. What the configuration says of one that is told nothing
    is taken at its word."""
    if configured is not None:
        return Lead(configured, told.token) if told.number in (None, configured) else None
    if kept is None:
        return told
    if told.number is None or kept.number is None:
        return Lead(told.number or kept.number, told.token) if told.token == kept.token else None
    return told if told.number == kept.number else None
