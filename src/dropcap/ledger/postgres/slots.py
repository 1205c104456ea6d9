"""One budget of requests a server, for all hosts: a row for each request that a minute has room for, and when it was made.

The database's clock alone counts. Rows are made up to the limit and never removed, so a limit that is lowered and raised again
forgets nothing.
"""

from __future__ import annotations

from dropcap.ledger.postgres.wire import WireConnection

#: A row may be used again when it is older than the window, and if those behind it leave room for it: with a lowered limit the
#: younger ones behind it count as well. Hosts that ask at the same time lock different rows, all of which have room.
_GRANT = """
with room as materialized (
  select n, count(*) filter (where at > clock_timestamp() - make_interval(secs => %(window)s))
    over (order by n desc rows between unbounded preceding and 1 preceding) as behind
  from slot where server = %(server)s
)
update slot set at = clock_timestamp() where (server, n) = (
  select slot.server, slot.n from slot join room using (n)
  where slot.server = %(server)s and slot.at <= clock_timestamp() - make_interval(secs => %(window)s)
    and slot.n + room.behind < %(most)s
  order by slot.at limit 1 for update of slot skip locked
) returning n
"""
_MAKE = """
insert into slot (server, n, at) select %(server)s, n, 'epoch' from generate_series(0, %(most)s - 1) as n
where (select count(*) from slot where server = %(server)s) < %(most)s
on conflict do nothing
"""
#: The clock went back: what was made in its future counts as made now. A window's wait at most, and never too soon.
_CLAMP = "update slot set at = clock_timestamp() where server = %s and at > clock_timestamp() + interval '1 second'"
_WAIT = """
select extract(epoch from at + make_interval(secs => %s) - clock_timestamp())::float8
from slot where server = %s order by at desc offset %s limit 1
"""


def grant(connection: WireConnection, server: str, most: int, window: float) -> bool:
    """Enter one request of at most `most` within any `window` seconds; whether there was room for it."""
    words = {"server": server, "most": most, "window": window}
    if connection.execute(_GRANT, words).fetchone() is not None:
        return True
    made = connection.execute(_MAKE, words)
    return made.rowcount > 0 and connection.execute(_GRANT, words).fetchone() is not None


def wait(connection: WireConnection, server: str, most: int, window: float) -> float:
    """After how many seconds there is room for another one; 0 or less: ask again."""
    connection.execute(_CLAMP, (server,))
    row = connection.execute(_WAIT, (window, server, most - 1)).fetchone()
    return 0.0 if row is None else float(row[0])


def used(connection: WireConnection, server: str, window: float) -> int:
    """The requests within the last `window` seconds, whichever host has made them."""
    row = connection.execute(
        "select count(*) from slot where server = %s and at > clock_timestamp() - make_interval(secs => %s)", (server, window)
    ).fetchone()
    return int(row[0])
