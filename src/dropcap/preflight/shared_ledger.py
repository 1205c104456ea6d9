"""The database of a shared ledger: can it be reached and worked with, and what are the other hosts like?"""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dropcap import __version__
from dropcap.config.model import Config, Folder, PostgresLedger
from dropcap.config.secrets import SecretError
from dropcap.display import shown
from dropcap.ledger.database import DatabaseError
from dropcap.ledger.postgres.wire import Connector, Wire, WireConnection
from dropcap.ledger.query import Query
from dropcap.ledger.reports import HostAtWork, HostsNow
from dropcap.ledger.schema import VERSION
from dropcap.preflight.remark import Level, Remark, of_secret, on_machine, place_of

_LEDGER, _HOSTS = on_machine("ledger"), on_machine("hosts")
_OLDEST, _OLDEST_NAME = 140000, "14"
#: Seconds by which clocks may differ: times in the ledger are the hosts', leases go by the database's alone.
_DIFFER = 5.0
#: How long after its lease has lapsed a folder is taken over at the latest (seconds).
_TAKEN_WITHIN = 5.0


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
    """What was found of a database. `clock`: seconds by which the server's clock is ahead of this machine's."""

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


def survey(connector: Connector) -> Survey:
    """Look at a database. Raises DatabaseError."""
    wire = Wire(connector)
    try:
        with wire.asking() as connection:
            return _look(connection)
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


def database_remarks(ledger: PostgresLedger) -> Iterator[Remark]:
    """What kind of database it is, by asking it. Changes nothing. An error that is `later`: it does not answer."""
    from dropcap.ledger.postgres.connection import LedgerConnector  # it needs psycopg

    try:
        found = survey(LedgerConnector(ledger, "dropcap check"))
    except DatabaseError as error:
        message = f"the database {ledger} does not answer, or does not let this host in ({error})"
        remedy = "see whether PostgreSQL runs, is reached from here, and lets this user in (pg_hba.conf, ledger_password_file)"
        yield Remark("error", _LEDGER, message, remedy, later=True)
        return
    yield from _server(found)
    yield _durable(found)
    yield _tables(found)
    ahead = "ahead of" if found.clock > 0 else "behind"
    if abs(found.clock) > _DIFFER:
        message = f"the database's clock is {abs(found.clock):,.0f} s {ahead} this host's"
        yield Remark("warning", _LEDGER, message, "let both keep time by NTP: what is waited for would come too late or too soon")
    else:
        yield Remark("ok", _LEDGER, f"the clocks of the database and of this host agree within {_DIFFER:g} s")
    lost = f"the folders of a host that is lost are taken over within {ledger.lease + _TAKEN_WITHIN:g} s (lease)"
    yield Remark("ok", _LEDGER, lost)


def _server(found: Survey) -> Iterator[Remark]:
    if found.number < _OLDEST:
        yield Remark("error", _LEDGER, f"the server is PostgreSQL {found.version}", f"use {_OLDEST_NAME} or newer")
    else:
        yield Remark("ok", _LEDGER, f"PostgreSQL {found.version}")
    if found.encoding != "UTF8":
        remedy = "make one with encoding UTF8 for the ledger"
        yield Remark("error", _LEDGER, f"the database's encoding is {found.encoding}", remedy)
    if found.standby:
        remedy = "name the primary; with several hosts in the URL it is found by itself"
        yield Remark("error", _LEDGER, "the server is a standby, which takes no writes", remedy)


def _durable(found: Survey) -> Remark:
    """What a commit is worth."""
    if not found.fsync:
        return Remark("warning", _LEDGER, "fsync is off: a crash of the server may lose or damage the ledger", "set fsync to on")
    if not found.standbys:
        said = "synchronous_commit is on: a crash of the server loses nothing. There is no synchronous standby: a fail-over may"
        return Remark("ok", _LEDGER, f"{said} lose the last commits, and files are read back in REDCap then")
    return Remark(
        "ok", _LEDGER, f"commits wait for a synchronous standby ({shown(found.standbys)}): a fail-over to it loses none"
    )


def _tables(found: Survey) -> Remark:
    schema = shown(found.schema) or "of its search_path"
    if found.closed:
        some = ", ".join(found.closed[:3]) + (" and more" if len(found.closed) > 3 else "")
        remedy = "grant select, insert, update and delete on all of the ledger's tables to it"
        return Remark("error", _LEDGER, f"the role may not read and write {some}", remedy)
    if found.tables > VERSION:
        message = f"a newer dropcap has written the ledger: its tables are of version {found.tables}, this one knows {VERSION}"
        return Remark("error", _LEDGER, message, "install the newer dropcap on this host too")
    if found.tables == VERSION:
        return Remark("ok", _LEDGER, f"its tables are there, of version {VERSION}")
    if not found.may_make:
        remedy = f"let it: grant create on schema {schema}; or give it a database of its own"
        return Remark("error", _LEDGER, f"the role may make no tables in the schema {schema}", remedy)
    if found.tables:
        message = f"its tables are of version {found.tables}; the next start brings them to {VERSION}"
        return Remark("warning", _LEDGER, message, "stop an older dropcap on the other hosts first")
    return Remark("ok", _LEDGER, "it has no tables yet: dropcap makes them when it starts")


def host_remarks(config: Config, folders: Sequence[Folder], query: Query) -> Iterator[Remark]:
    """What differs between this host and those that work with the same ledger now."""
    for folder in folders:
        known = query.known_folder(folder.name)
        if known is not None and known.path != str(folder.path):
            message = f"path: the other hosts have the folder at {shown(known.path)}"
            yield Remark("warning", place_of(folder), message, "give it the same path on all hosts, by mounting its share there")
    hosts = query.hosts()
    if hosts is None or not hosts.alive:
        return
    names = ", ".join(shown(hosts.called(host)) for host in hosts.alive)
    yield Remark("ok", _HOSTS, f"{names} {'works' if len(hosts.alive) == 1 else 'work'} with the ledger")
    for host in hosts.alive:
        yield from _host(config, folders, hosts, host)


def _host(config: Config, folders: Sequence[Folder], hosts: HostsNow, host: HostAtWork) -> Iterator[Remark]:
    name = shown(hosts.called(host))
    if host.version != __version__:
        message = f"{name} runs dropcap {host.version}, this one is {__version__}"
        yield Remark("warning", _HOSTS, message, "bring all hosts to one version")
    if host.configuration != config.digest:
        here = host.name == socket.gethostname()
        remedy = "give all hosts the same files, then run dropcap reload on each"
        message = f"{name} works by another configuration than this"
        yield Remark("warning", _HOSTS, message, "dropcap reload takes it up" if here else remedy)
    lacks = sorted({folder.name for folder in folders} & set(host.lacks))
    if lacks:
        level: Level = "error" if all(set(lacks) <= set(other.lacks) for other in hosts.alive) else "warning"
        message = f"{name} lacks {'the folder' if len(lacks) == 1 else 'the folders'} {', '.join(map(shown, lacks))}"
        yield Remark(level, _HOSTS, message, "mount it there, or leave it to the hosts that have it")


_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile")
#: Files that libpq does not take if others may read them.
_PRIVATE = {"sslkey": "it is refused", "passfile": "it is passed over"}


def ledger_files(ledger: PostgresLedger) -> Iterator[tuple[str, Path]]:
    """The files that are named for it, by their keys."""
    if ledger.secret is not None and ledger.secret.file is not None:
        yield "ledger_password_file", Path(ledger.secret.file)
    for key in _FILES:
        if key in ledger.options and ledger.options[key] != "system":
            yield key, Path(ledger.options[key])


def ledger_remarks(config: Config) -> Iterator[Remark]:
    """Whether the library is here, the password can be read, and the files that the URL names."""
    ledger = config.ledger
    if not isinstance(ledger, PostgresLedger):
        return
    if importlib.util.find_spec("psycopg") is None:
        how = "pip install 'dropcap-redcap[postgres]', or with the Debian package apt install python3-psycopg"
        yield Remark("error", _LEDGER, "psycopg is not installed", f"install it: {how}")
    if ledger.secret is not None:
        try:
            ledger.password()
        except SecretError as error:
            yield of_secret(_LEDGER, error, credential=ledger.secret.credential is not None)
        else:
            yield Remark("ok", _LEDGER, f"{ledger.secret} can be read")
    for key, path in ledger_files(ledger):
        if key != "ledger_password_file":
            yield from _file(key, path)


def _file(key: str, path: Path) -> Iterator[Remark]:
    name = shown(str(path))
    if not os.access(path, os.R_OK):
        said = "cannot be read" if path.exists() else "is not there"
        yield Remark("error", _LEDGER, f"{key}: {name} {said}", "correct the path, or let dropcap's user read it")
    elif key in _PRIVATE and _others_may_read(path):
        yield Remark("error", _LEDGER, f"{key}: others may read {name}, so {_PRIVATE[key]}", f"run chmod 0600 {name}")
    else:
        yield Remark("ok", _LEDGER, f"{key}: {name} can be read")


def _others_may_read(path: Path) -> bool:
    """As libpq looks at it: root's key may be for a group."""
    status = path.stat()
    return bool(status.st_mode & (0o037 if status.st_uid == 0 else 0o077))
