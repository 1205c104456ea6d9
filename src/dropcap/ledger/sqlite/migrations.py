"""The tables in SQLite, their version and how an older ledger becomes a newer one."""

from __future__ import annotations

import time
import uuid

from dropcap.ledger.act import Deed, Means, Who, enter, heads
from dropcap.ledger.chain import Sealer
from dropcap.ledger.database import Connection, NewerLedger
from dropcap.ledger.schema import OPEN_STATES, VERSION

# Names are blobs: a file's name is bytes, and not all of them are UTF-8.
_VERSION_1 = f"""
create table meta (key text primary key, value text not null) without rowid;
create table folder (
    folder text primary key, path text not null, marker text not null, mount text not null, first_seen real not null
) without rowid;
create table job (
    id integer primary key,
    folder text not null, name blob not null, state text not null,
    project text not null, rule text not null, record text not null, event text, field text not null, instance integer,
    key text,
    size integer not null, mtime_ns integer not null, inode integer not null, sha256 text,
    attempts integer not null default 0, faults integer not null default 0, lookups integer not null default 0,
    due real not null default 0,
    reason text, message text, remedy text, result text, confirmed text,
    filed_as blob, preserved_as blob, preserved_sha256 text,
    again_of integer references job (id), tried_again integer references job (id),
    claimed_at real not null, changed_at real not null, ended_at real, seconds real
);
create unique index job_one_open on job (folder, name) where state in {OPEN_STATES};
create unique index job_one_sending on job (key) where state in ('sending', 'unknown') and key is not null;
create index job_order on job (key, id) where state in {OPEN_STATES} and key is not null;
create index job_due on job (folder, due, id) where state in ('waiting', 'unknown');
create index job_size on job (folder, size) where state in ('waiting', 'unknown');
create index job_open on job (state, folder) where state in {OPEN_STATES};
create index job_failed on job (folder) where state = 'failed' and tried_again is null;
create index job_ended on job (ended_at) where ended_at is not null;
create index job_name on job (name);
create table history (job integer not null, at real not null, state text not null, note text not null default '');
create index history_job on history (job);
create table pause (
    scope text not null, name text not null, reason text not null, message text not null, remedy text not null,
    since real not null, until_resume integer not null,
    primary key (scope, name)
) without rowid;
create table created (
    folder text not null, day text not null, number integer not null, primary key (folder, day)
) without rowid;
"""

# What orders files to the same place; what REDCap has told that is true for longer than one file.
_VERSION_2 = f"""
alter table job add column takes_next integer not null default 0;
update job set takes_next = 1 where state in {OPEN_STATES} and substr(cast(key as blob), -5) = x'006e657874';
create index job_sent_to on job (key, id) where attempts > 0 and key is not null;
create table learned (
    project text not null, kind text not null, what text not null, until real not null, primary key (project, kind, what)
) without rowid
"""

# What was sent, so that it is known again when a person moves it back; where a copy to another file system stands.
_VERSION_3 = f"""
alter table job add column sent_sha256 text;
alter table job add column sent_ctime_ns integer;
alter table job add column may_have_arrived integer not null default 0;
alter table job add column back_of integer references job (id);
alter table job add column read_back real;
alter table job add column found text;
alter table job add column copy_temporary blob;
alter table job add column copy_final blob;
create index job_gone on job (size, ended_at)
    where (state = 'withdrawn' and may_have_arrived) or (state = 'done' and filed_as is null);
create index job_sent on job (size) where state in {OPEN_STATES} and (attempts > 0 or state = 'unknown');
create index job_back_of on job (back_of) where back_of is not null;
create index job_read_back on job (read_back) where read_back is not null;
create index job_found on job (ended_at) where found is not null;
update job set may_have_arrived = 1 where state = 'withdrawn' and 'unknown' =
    (select state from history where job = job.id and state <> 'withdrawn' order by rowid desc limit 1);
"""

#: What is known of the content of files in drop folders, see `Mark`.
_VERSION_4 = """
create table mark (
    folder text not null, name blob not null, kind text not null,
    size integer not null, mtime_ns integer not null, ctime_ns integer not null, inode integer not null, since real not null,
    primary key (folder, name, kind)
) without rowid;
"""

# For which record a job has asked REDCap, and which one REDCap says that it has created. Until now only a sentence said so.
_VERSION_5 = f"""
alter table job add column create_asked text;
alter table job add column created text;
update job set create_asked = record, created = case message when 'its record was created' then record end
    where state in {OPEN_STATES}
    and exists (select 1 from history where job = job.id and note = 'asks REDCap to create record ' || record);
"""

# When names of a folder's files did not agree with a record, for as long as it counts.
_VERSION_6 = """
create table mismatch (folder text not null, record text not null, at real not null);
create index mismatch_of on mismatch (folder, record, at);
"""

# Up to which job a person has said that this one is to go over what was sent later; what was sent where, however it is ordered.
_VERSION_7 = """
alter table job add column sent_over integer not null default 0;
create index job_sent_of on job (record, id) where attempts > 0 and record <> '';
"""

# Who dropped it, under which rule and configuration; who had dropcap do what; and the chains that both are in. History's numbers
# must outlast a VACUUM and are never used again, so it is made anew.
_WITH_CHAINS = """
alter table job add column dropped_by integer;
alter table job add column dropped_by_name text;
alter table job add column origin text;
create table document (sha256 text primary key, what text not null) without rowid;
create table chain (id integer primary key, name text not null unique, n integer not null, head blob not null);
create table seal (
    entry integer primary key, chain integer not null, n integer not null, established text not null, hash blob not null,
    pruned integer
);
create table act (
    n integer primary key, at real not null, uid integer, login integer, name text not null, way text not null,
    what text not null, told text not null, hash blob not null
);
alter table history rename to history_before;
create table history (
    id integer primary key autoincrement, job integer not null, at real not null, state text not null,
    note text not null default ''
);
insert into history (id, job, at, state, note) select rowid, job, at, state, note from history_before order by rowid;
drop table history_before;
create index history_job on history (job);
"""

#: One script a version; a ledger of version N is brought up by the scripts after the Nth.
MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6, _VERSION_7, _WITH_CHAINS)
assert len(MIGRATIONS) == VERSION

#: The version from which on a job may be marked as sent by another ledger.
KNOWS_ARRIVALS = MIGRATIONS.index(_VERSION_3) + 1
#: The version that seals what it finds, and from which on every upgrade is an act.
CHAINED = MIGRATIONS.index(_WITH_CHAINS) + 1


def migrate(connection: Connection) -> None:
    """Bring the ledger to this version, all or nothing.

    Raises:
        NewerLedger: it was written by a newer dropcap.
    """
    version = int(connection.execute("pragma user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise NewerLedger(
            f"the ledger is of version {version}, this dropcap knows up to {len(MIGRATIONS)}: "
            "install the newer dropcap again, or give state_dir another place"
        )
    for number in range(version, len(MIGRATIONS)):
        statements = [s for s in MIGRATIONS[number].split(";") if s.strip()]
        connection.execute("begin immediate")
        for statement in statements:
            connection.execute(statement)
        if number == 0:
            connection.execute("insert into meta values ('installation', ?)", (uuid.uuid4().hex,))
        if number + 1 == CHAINED:
            connection.execute("insert into meta values ('chain_seed', ?)", (uuid.uuid4().hex,))
            Sealer().seal(connection)
        if number + 1 == len(MIGRATIONS):
            _entered(connection, version, number + 1)
        connection.execute(f"pragma user_version = {number + 1}")
        connection.execute("commit")


def _entered(connection: Connection, before: int, now: int) -> None:
    """The upgrade is an act, with what every chain ends with now. The first one vouches for nothing that was there before."""
    found = {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in ("job", "history")}
    told = {"from": before, "to": now, **found, "heads": [str(head) for head in heads(connection)]}
    enter(connection, time.time(), Who.me(Means.ITSELF), Deed.MIGRATED if before else Deed.CREATED, told)
