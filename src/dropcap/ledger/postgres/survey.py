"""What a server, a database and a role are like, for whoever wants to know before a daemon begins. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dropcap.ledger.postgres.wire import Wire, WireConnection

_FACTS = """
select current_setting('server_version_num')::int, current_setting('server_version'), current_setting('server_encoding'),
    pg_is_in_recovery(), current_setting('synchronous_standby_names'), current_setting('fsync') = 'on',
    coalesce(current_schema(), ''),
    coalesce(has_schema_privilege(current_schema(), 'create'), false),
    array(select relname::text from pg_class where relnamespace = current_schema()::regnamespace and relkind = 'r'
        and to_regclass('ledger_version') is not null
        and not (has_table_privilege(oid, 'select') and has_table_privilege(oid, 'insert') and has_table_privilege(oid, 'update')
            and has_table_privilege(oid, 'delete')) order by relname),
    to_regclass('ledger_version') is not null
"""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found. `clock`: seconds by which the server's clock is ahead of this machine's."""

    number: int  # 140011
    version: str
    encoding: str
    standby: bool
    standbys: str  # that a commit waits for, as `synchronous_standby_names` has it
    fsync: bool
    schema: str
    may_make: bool  # whether the role may make tables there
    closed: tuple[str, ...]  # tables that the role may not read and write
    clock: float
    tables: int  # the version of the ledger's, 0 if there are none


def survey(connect: Callable[[], WireConnection]) -> Survey:
    """Look. Raises DatabaseError."""
    wire = Wire(connect)
    try:
        return wire.ask(_look)
    finally:
        wire.close()


def _look(connection: WireConnection) -> Survey:
    row = connection.execute(_FACTS).fetchone()
    number, version, encoding, standby, standbys, fsync, schema, may_make, closed, there = row
    asked = time.time()
    (now,) = connection.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
    ahead = now - (asked + time.time()) / 2
    tables = 0
    if there and "ledger_version" not in closed:
        (tables,) = connection.execute("select version from ledger_version").fetchone()
    return Survey(number, version, encoding, standby, standbys, fsync, schema, may_make, tuple(closed), ahead, tables)
