"""A PostgreSQL of the tests' own: made, restarted, killed, frozen, followed by a standby, and always ended.

It listens at a port of 127.0.0.1 and at a socket in its own temporary directory. By TCP come the role `dropcap`, which owns
every database that is made here, without a password, and the roles of `Cluster.role` with theirs (SCRAM). Its superuser
comes by the socket alone, whose directory is closed to others: `Cluster.admin`.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, LiteralString
from urllib.parse import quote, urlencode, urlsplit

import psycopg
from psycopg import sql

from tests import needs
from tests.postgres.place import Place
from tests.site import eventually

#: What PostgreSQL calls its ways to stop, and the signals that ask for them.
_STOPS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
Stop = Literal["smart", "fast", "immediate"]

#: Small, and nothing is put off that a test would wait for.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "256MB",
    "autovacuum_vacuum_cost_delay": "0",
    "wal_keep_size": "64MB",
    "dynamic_shared_memory_type": "mmap",
    "wal_retrieve_retry_interval": "100ms",
    "jit": "off",
    "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] %u@%d ",
}
_ACCESS = """\
local all         all                      trust
local replication all                      trust
host  all         postgres    127.0.0.1/32 reject
host  all         +guarded    127.0.0.1/32 scram-sha-256
host  all         all         127.0.0.1/32 trust
host  replication replication 127.0.0.1/32 trust
"""


class Cluster:
    """One running PostgreSQL. Make it with `cluster()`, or `standby()` of another."""

    def __init__(self, place: Place, settings: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._place = place
        self._environment = environment
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        # Bound and never listened at: nobody else is given this port while PostgreSQL is down.
        self._reserved = reserved_port()
        self.port: int = self._reserved.getsockname()[1]
        place.write("data/pg_hba.conf", _ACCESS)
        lines = {**_SETTINGS, "port": str(self.port), "unix_socket_directories": str(place.path), **settings}
        with (place.path / "data/postgresql.conf").open("a") as file:
            file.writelines("{} = '{}'\n".format(name, value.replace("'", "''")) for name, value in lines.items())

    # -- who connects

    def dsn(self, database: str, *, user: str = "dropcap", password: str = "", port: int | None = None, **more: str) -> str:
        """How to reach a database by TCP; `port`: that of a proxy. `more`: what libpq knows, as `sslmode`."""
        who = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
        words = f"?{urlencode(more)}" if more else ""
        return f"postgresql://{who}@127.0.0.1:{port or self.port}/{quote(database, safe='')}{words}"

    def create_database(self) -> str:
        """A fresh, empty database; its DSN."""
        name = f"t{next(self._numbers)}"
        self.admin(sql.SQL("create database {} template template0 owner dropcap").format(sql.Identifier(name)))
        return self.dsn(name)

    def drop_database(self, dsn: str) -> None:
        """Whoever uses it is thrown out."""
        name = urlsplit(dsn).path[1:]
        self.admin(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def role(self, name: str, password: str) -> None:
        """A role that needs its password by TCP."""
        words = sql.SQL("create role {} login password {} in role guarded")
        self.admin(words.format(sql.Identifier(name), sql.Literal(password)))

    def admin(self, statement: LiteralString | sql.Composed, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        """The rows of a statement of the superuser, committed at once."""
        way, port = str(self._place.path), self.port
        with psycopg.connect(host=way, port=port, user="postgres", dbname=database, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def configure(self, **settings: str) -> None:
        """Change settings of the running cluster."""
        for name, value in settings.items():
            self.admin(sql.SQL("alter system set {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        self.admin("select pg_reload_conf()")

    # -- what is done to it

    def start(self) -> None:
        """Start it, also after a crash; returns once it lets people in."""
        assert self._process is None, "it runs"
        data = self._place.path / "data"
        words = [str(needs.postgresql() / "postgres"), "-D", str(data), f"--cluster_name={self._place.name}"]
        with (self._place.path / "log").open("ab") as log:
            self._process = self._place.popen(words, stdout=log, stderr=log, env=self._environment)
        process, pid_file = self._process, data / "postmaster.pid"
        eventually(lambda: process.poll() is not None or _ready(pid_file, process.pid), 30)
        assert process.poll() is None, self.log()[-3000:]

    def stop(self, mode: Stop = "fast") -> None:
        """End it: `fast` breaks off transactions, `immediate` leaves a recovery to the next start."""
        assert self._process is not None
        self._process.send_signal(_STOPS[mode])
        self._process.wait(20)
        self._process = None

    def restart(self, mode: Stop = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """As the machine's death: every process at once, without a word to anybody but the kernel's. `start()` recovers."""
        assert self._process is not None
        self._process.kill()
        self._signal(signal.SIGKILL)
        self._process.wait(10)
        self._process = None
        eventually(lambda: not self.processes())

    def freeze(self, backend: int | None = None) -> None:
        """Stop all its processes, or one, where they are; connections stay open."""
        if backend is not None:
            os.kill(backend, signal.SIGSTOP)
            eventually(lambda: _stopped(backend))
            return
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)  # first: it starts the others
        while not all(_stopped(pid) for pid in self.processes()):
            self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Whatever was frozen goes on."""
        self._signal(signal.SIGCONT)

    def processes(self) -> list[int]:
        """The ids of all its processes."""
        marks = re.compile(rb"(?:^|\0)--cluster_name=%b\0|^postgres: %b: " % ((self._place.name.encode(),) * 2))
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended
                if marks.search(path.read_bytes()):
                    found.append(int(path.parent.name))
        return found

    def clock(self, ahead: float) -> None:
        """Set the clock of a cluster that was made with `clock=True` so many seconds ahead of everybody's, at once."""
        self._place.write("clock", f"{ahead:+}")

    def log(self) -> str:
        return (self._place.path / "log").read_text(errors="replace")

    # -- two of them

    @contextlib.contextmanager
    def standby(self, *, through: int | None = None) -> Iterator[Cluster]:
        """Another cluster that follows this one; `through`: the port of a proxy on the way. Nobody waits for it to follow,
        unless `synchronous_standby_names` of this one is set to `*`.
        """
        with contextlib.closing(Place()) as place:
            program = str(needs.postgresql() / "pg_basebackup")
            place.run([program, "-h", str(self._place.path), "-p", str(self.port), "-U", "postgres",
                       "-D", str(place.path / "data"), "-c", "fast", "-X", "stream", "--no-sync"])  # fmt: skip
            place.write("data/standby.signal", "")
            place.write("data/postgresql.auto.conf", "")
            primary = f"host=127.0.0.1 port={through or self.port} user=replication application_name=standby"
            with contextlib.closing(Cluster(place, {"primary_conninfo": primary}, self._environment)) as made:
                made.start()
                yield made

    def catch_up(self, primary: Cluster) -> None:
        """Wait until this standby has all that `primary` has committed by now."""
        ((wanted,),) = primary.admin("select pg_current_wal_flush_lsn()::text")
        eventually(lambda: self.admin("select pg_last_wal_replay_lsn() >= %s::pg_lsn", wanted)[0][0])

    def promote(self) -> None:
        """What has come to this standby becomes the truth: it takes writes from now on."""
        assert self.admin("select pg_promote(true, 20)") == [(True,)], self.log()[-3000:]

    # --

    def close(self) -> None:
        """End it in whatever state it is, and remove what it wrote."""
        self._place.close()
        if self._process is not None:
            self._process.wait(10)
        self._reserved.close()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def cluster(
    *,
    durable: bool = False,
    tls: Path | None = None,
    settings: Mapping[str, str] | None = None,
    clock: bool = False,
) -> Iterator[Cluster]:
    """A running cluster. `durable`: what is committed outlives a power cut, at the price of flushes. `tls`: the authority
    (`tests.tls.make_authority`) by whose `server.pem` it may be spoken to by TLS, under the name of localhost. `clock`: it can be
    set, see `Cluster.clock`.
    """
    wanted = {} if durable else {"fsync": "off", "full_page_writes": "off"}
    with contextlib.closing(Place()) as place:
        place.run(["cp", "-a", "--reflink=auto", str(_template().path / "data"), str(place.path)])
        if tls is not None:
            place.write("server.crt", (tls / "server.crt").read_text())
            place.write("server.key", (tls / "server.key").read_text())
            files = {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
            wanted |= {"ssl": "on"} | {name: str(place.path / file) for name, file in files.items()}
        environment = {}
        if clock:
            environment = {"LD_PRELOAD": needs.faketime(), "FAKETIME_TIMESTAMP_FILE": str(place.path / "clock")}
            environment |= {"FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
            place.write("clock", "+0")
        with contextlib.closing(Cluster(place, wanted | dict(settings or {}), environment)) as made:
            made.start()
            made.admin("create role dropcap login")
            made.admin("create role guarded")
            made.admin("create role replication login replication")
            yield made


def reserved_port() -> socket.socket:
    """A socket with a port of 127.0.0.1: who asks for it by number may listen at it, and nobody is given it by chance."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


def _ready(pid_file: Path, pid: int) -> bool:
    """Whether this process says, in the file that tells of it, that it lets people in."""
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _stopped(pid: int) -> bool:
    """Whether a process is stopped, or has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except OSError:
        return True


@functools.cache
def _template() -> Place:
    """Where an empty cluster lies, made once: a copy costs a fraction. It goes when this process ends."""
    programs = needs.postgresql()
    place = Place()
    # Small segments of the log, since all that lies there is copied.
    place.run([str(programs / "initdb"), "-D", str(place.path / "data"), "-U", "postgres", "-E", "UTF8", "--locale=C",
               "--auth=reject", "--wal-segsize=1", "--no-sync", "--no-instructions"])  # fmt: skip
    return place
