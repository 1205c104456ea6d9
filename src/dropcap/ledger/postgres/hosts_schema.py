"""The tables of the hosts that share one ledger."""

from __future__ import annotations

#: `turn`: its one row is locked by whoever writes the ledger; `timeline` is the database's, as the last writer has found it.
#: `host.commits`: how many of a host's writes there are, by which it finds that a fail-over has lost some. `lease`: the host that
#: works a folder; `until` is the epoch where nobody does, and stands in no index, so that a beat touches none. (folder, fence) is
#: unique so that a take-over waits for writers that have locked the lease `for key share`. `slot`: when requests were made of a
#: server. `late_send`: jobs that another host was sending when it was lost, and when their places are looked at once more.
HOSTS = """
create table turn (
  one boolean primary key default true check (one),
  n bigint not null,
  timeline text
);
insert into turn (n) values (0);

create table host (
  id text primary key,
  name text not null,
  pid integer not null,
  version text not null,
  configuration text not null,
  started timestamptz not null default clock_timestamp(),
  until timestamptz not null,
  beat bigint not null default 0,
  commits bigint not null default 0,
  lacks text[] not null default '{}'
);

create table lease (
  folder text primary key,
  fence bigint not null,
  holder text,
  until timestamptz not null,
  beat bigint not null default 0,
  unique (folder, fence)
);

create table late_send (
  job bigint primary key,
  folder text not null,
  due double precision not null
);

create table slot (
  server text,
  n integer,
  at timestamptz not null,
  primary key (server, n)
);
"""
