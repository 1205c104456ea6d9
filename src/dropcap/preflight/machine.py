"""This machine: the state directory, tokens, certificates, limits, what people are told by, and the systemd unit's sandbox.

And the database of a shared ledger: can it be reached and worked with, and what are the other hosts like?
"""

from __future__ import annotations

import contextlib
import grp
import importlib.util
import os
import pwd
import re
import resource
import shlex
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dropcap import __version__
from dropcap.config.model import SHORTEST_SECRET, Config, Folder, PostgresLedger, Project, SecretPlace
from dropcap.config.secrets import SecretError
from dropcap.delivery.project_client import connection_of
from dropcap.display import many, shown
from dropcap.intake.mounts import Mounts
from dropcap.ledger.database import VERSION, DatabaseError
from dropcap.ledger.postgres.wire import Connector, Wire, WireConnection
from dropcap.ledger.query import Query
from dropcap.ledger.reports import HostAtWork, HostsNow
from dropcap.preflight.remark import Level, Place, Remark, group_called, of_secret, on_machine, place_of
from dropcap.redcap.connect import ConnectError, Trust
from dropcap.threads import REMEDY, needed

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


#: Room for the ledger below which it is worth a word, in bytes: it grows by about 1 KiB a file.
_LITTLE = 100 * 1024**2
_INOTIFY = Path("/proc/sys/fs/inotify")
_CGROUPS = Path("/sys/fs/cgroup")


def state_dir_remarks(state_dir: Path, mounts: Mounts) -> Iterator[Remark]:
    """Whether the ledger can live there."""
    where = on_machine(f"state_dir {state_dir}")
    try:
        there = state_dir.exists()
        base = state_dir
        while not base.exists() and base != base.parent:
            base = base.parent
    except PermissionError as error:
        yield Remark("error", where, f"this user may not look at it ({error.strerror})", "run this check as dropcap's user")
        return
    if not base.is_dir():
        yield Remark("error", where, f"{base} is not a directory", "name another state_dir")
        return
    if not os.access(base, os.W_OK | os.X_OK):
        message = "it cannot be written" if there else f"it does not exist, and cannot be made in {base}"
        yield Remark("error", where, message, "make it and give it to dropcap's user, or run this check as that user")
        return
    mount = mounts.of(os.path.realpath(base), base.stat().st_dev)
    if not mount.local:
        message = f"it lies on {mount}: SQLite's locks cannot be trusted on a network file system"
        yield Remark("error", where, message, "name a directory on a disk of this machine")
        return
    free = os.statvfs(base)
    if free.f_bavail * free.f_frsize < _LITTLE:
        yield Remark("warning", where, "less than 100 MiB are free there", "make room for the ledger")
    yield Remark("ok", where, f"on {mount}" if there else f"dropcap makes it when it starts, on {mount}")
    owner = base.stat().st_uid
    if there and os.geteuid() == 0 and owner != 0:
        name = _user(owner)
        yield Remark(
            "warning",
            where,
            f"it belongs to {name}, and this check runs as root: it cannot tell what {name} may do",
            f"run this check as that user: sudo -u {name} dropcap check",
        )


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


def project_remarks(project: Project) -> Iterator[Remark]:
    """Whether a project's token and certificates can be had here."""
    where = place_of(project)
    try:
        project.token_source.read()
    except SecretError as error:
        yield of_secret(where, error, credential=project.token_source.kind == "credential")
    else:
        yield Remark("ok", where, f"{project.token_source} holds a token")
    yield from _way_remarks(project)


def _way_remarks(project: Project) -> Iterator[Remark]:
    """Whether the files can be used that the way to the server needs."""
    where = place_of(project)
    if project.proxy_credentials is not None:
        try:
            project.proxy_credentials.read()
        except SecretError as error:
            yield Remark("error", where, error.message, error.remedy)
    files = (project.ca_file, project.client_cert_file, project.client_key_file)
    named = [str(path) for path in files if path is not None]
    if not named:
        return
    try:
        Trust(connection_of(project)).context()
    except ConnectError as error:
        yield Remark("error", where, error.message, error.remedy)
        return
    yield Remark("ok", where, f"{' and '.join(dict.fromkeys(named))} can be used")
    key = project.client_key_file or project.client_cert_file
    if key is not None and key.stat().st_mode & stat.S_IRWXO:
        message = f"everybody on this machine can get at the key in {key}"
        yield Remark("warning", where, message, f"run chmod 0600 {key}, and have the key renewed if others may have read it")


def inotify_remarks(config: Config, directories: int, limits: Path = _INOTIFY) -> Iterator[Remark]:
    """Whether the kernel watches so many directories for one user."""
    try:
        watches = int((limits / "max_user_watches").read_text())
        instances = int((limits / "max_user_instances").read_text())
    except (OSError, ValueError):
        yield Remark(
            "unsure", on_machine("inotify"), "the kernel's limits cannot be read", "folders that it does not watch are walked"
        )
        return
    folders = len(config.folders)
    short = [
        f"fs.inotify.{name} is {limit}, and {need} are needed"
        for name, limit, need in (
            ("max_user_watches", watches, directories),
            ("max_user_instances", instances, folders),
        )
        if limit < need
    ]
    if short:
        remedy = "raise it with sysctl; until then folders are walked every few seconds instead"
        yield Remark("warning", on_machine("inotify"), " and ".join(short), remedy)
    else:
        message = f"{many(directories, 'directory')} to watch of {watches}, {many(folders, 'folder')} of {instances}"
        yield Remark("ok", on_machine("inotify"), message)


def thread_remarks(config: Config, unit: ServiceUnit | None, cgroups: Path = _CGROUPS) -> Iterator[Remark]:
    """Whether the system gives so many threads, as far as its limits can be known: without them the daemon does not start."""
    limits = {"TasksMax=": unit.last("TasksMax"), "LimitNPROC=": unit.last("LimitNPROC").partition(":")[0]} if unit else {}
    own = unit.path.name if unit else NAME
    for where in (cgroups / "system.slice" / own / "pids.max", cgroups / "pids.max"):  # a container has the latter
        with contextlib.suppress(OSError):
            limits[str(where)] = where.read_text().strip()
    if os.geteuid() != 0:
        limits["ulimit -u"] = str(resource.getrlimit(resource.RLIMIT_NPROC)[0])
    need = needed(len(config.folders), config.uploads_at_once)
    short = [f"{name} is {limit}" for name, limit in limits.items() if limit.isdigit() and int(limit) < need]
    if short:
        message = f"{' and '.join(short)}, and dropcap may need {need} threads and processes"
        yield Remark("warning", on_machine("threads"), message, REMEDY)


_LIBRARIES = {
    "notify": ("apprise",),
    "metrics": ("prometheus_client",),
    "dashboard": ("starlette", "uvicorn", "jinja2", "prometheus_client"),
}
_EXTRAS = {"notify": "notify", "metrics": "metrics", "dashboard": "web"}


def watcher_remarks(config: Config) -> Iterator[Remark]:
    """Whether notifications, metrics and the page can be had here. What is wrong with them stops no file."""
    for section, libraries in _LIBRARIES.items():
        missing = [name for name in libraries if importlib.util.find_spec(name) is None]
        needed = getattr(config, section) is not None and (
            section != "notify" or config.notify is None or config.notify.recipients
        )
        if needed and missing:
            remedy = f"install it: pip install 'dropcap-redcap[{_EXTRAS[section]}]'"
            yield Remark(
                "error", on_machine(section), f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed", remedy
            )
    for one in config.notify.recipients if config.notify is not None else ():
        yield from _secret(on_machine(f"notify.to.{one.name}"), one.url, "try it with: dropcap notify --test")
    if config.notify is not None and config.notify.heartbeat is not None:
        yield from _secret(on_machine("notify.heartbeat"), config.notify.heartbeat.url, "")
    if config.metrics is not None:
        directory = config.metrics.textfile.parent
        if not os.access(directory, os.W_OK | os.X_OK):
            remedy = (
                "make it, and let dropcap's user write there (ReadWritePaths= of the unit too), or run this check as that user"
            )
            yield Remark("error", on_machine("metrics.textfile"), f"{directory} cannot be written", remedy)
        else:
            yield Remark("ok", on_machine("metrics.textfile"), f"{directory} can be written")
    if config.dashboard is not None:
        yield from _secret(on_machine("dashboard"), config.dashboard.secret, "", SHORTEST_SECRET)


def _secret(where: Place, place: SecretPlace, then: str, shortest: int = 1) -> Iterator[Remark]:
    try:
        secret = place.read()
    except SecretError as error:
        yield of_secret(where, error, credential=place.credential is not None)
        return
    if len(secret.reveal()) < shortest:
        yield Remark(
            "error", where, f"{place} has fewer than {shortest} characters", "write a longer one: openssl rand -base64 24"
        )
    else:
        yield Remark("ok", where, f"{place} can be read" + (f"; {then}" if then else ""))


NAME = "dropcap.service"
#: The group of the people who drop files (deploy/dropcap.sysusers).
DROPPERS = "redcap-drop"
#: Where units lie, the nearest first.
PLACES = tuple(Path(place, "systemd/system") for place in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")
_YES = frozenset({"yes", "true", "on", "1", "y", "t"})


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """The [Service] section as it is in force: what each setting was given, in order. An empty value has begun it anew."""

    path: Path
    settings: dict[str, list[str]]

    @classmethod
    def installed(cls, name: str = NAME, places: tuple[Path, ...] = PLACES) -> ServiceUnit | None:
        """The unit of that name on this machine, or in the file `name`; None if there is none, or it may not be read."""
        path = Path(name) if "/" in name else next((p / name for p in places if (p / name).is_file()), None)
        if path is None:
            return None
        dropins: dict[str, Path] = {}
        for place in reversed(places if "/" not in name else ()):
            dropins.update({one.name: one for one in (place / f"{name}.d").glob("*.conf")})
        settings: dict[str, list[str]] = {}
        try:
            for file in (path, *(dropins[one] for one in sorted(dropins))):
                _read(file.read_text(encoding="utf-8", errors="replace"), settings)
        except OSError:
            return None
        return cls(path, settings)

    def last(self, key: str, otherwise: str = "") -> str:
        """A setting that has one value."""
        return (self.settings.get(key) or [otherwise])[-1]

    def words(self, key: str) -> list[str]:
        """A setting that has a list of words."""
        return [word.strip('"') for value in self.settings.get(key, ()) for word in value.split()]

    @property
    def writable(self) -> list[str]:
        """The directories that it may write although all else is read-only."""
        made = [
            f"{base}/{word.partition(':')[0]}"
            for key, base in (("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run"), ("CacheDirectory", "/var/cache"))
            for word in self.words(key)
        ]
        bound = [word.lstrip("-").partition(":")[2].partition(":")[0] or word.lstrip("-") for word in self.words("BindPaths")]
        return made + bound + [word.lstrip("-+") for word in self.words("ReadWritePaths")]

    @property
    def may_chown(self) -> bool:
        """Whether its system calls let it give files to another group: what comes later in the list counts."""
        allowed = True
        for value in self.settings.get("SystemCallFilter", ()):
            names = {"@chown", "@privileged", "chown", "fchown", "fchownat"}
            if names & set(value.lstrip("~").split()):
                allowed = not value.startswith("~")
        return allowed

    @property
    def groups(self) -> set[int]:
        """The numbers of the groups in which the service is, as far as this machine knows them."""
        found = set()
        user = self.last("User", "root")
        with contextlib.suppress(KeyError):
            found |= set(os.getgrouplist(user, pwd.getpwnam(user).pw_gid))
        for name in (self.last("Group"), *self.words("SupplementaryGroups")):
            with contextlib.suppress(KeyError):
                found.add(int(name) if name.isdigit() else grp.getgrnam(name).gr_gid)
        return found


def _read(text: str, settings: dict[str, list[str]]) -> None:
    section = ""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and line[0] not in "#;":
            key, _, value = line.partition("=")
            if value.strip():
                settings.setdefault(key.strip(), []).append(value.strip())
            else:
                settings.pop(key.strip(), None)


def sandbox_remarks(config: Config, folder: Folder, unit: ServiceUnit) -> Iterator[Remark]:
    """What keeps the service from a folder, and from the place of its copies, that this machine would let it have."""
    where = place_of(folder)
    yield from _place(where, "path", folder.path, unit)
    if folder.preserve_in is not None:
        yield from _place(where, "preserve_in", config.keeps_in(folder), unit)
    yield from _group(where, folder, unit)


def machine_remarks(config: Config, unit: ServiceUnit) -> Iterator[Remark]:
    """The same for the state directory and the files that hold secrets."""
    yield from _place(on_machine(f"state_dir {config.state_dir}"), "state_dir", config.state_dir, unit)
    for key, path in ledger_files(config.ledger) if isinstance(config.ledger, PostgresLedger) else ():
        yield from _hidden(on_machine("ledger"), key, Path(os.path.realpath(path)), unit)
    for project in config.projects.values():
        if project.token_source.kind == "file":
            path = Path(project.token_source.where)
            yield from _hidden(place_of(project), "token_file", Path(os.path.realpath(path)), unit)


def _place(where: Place, key: str, path: Path, unit: ServiceUnit) -> Iterator[Remark]:
    real = Path(os.path.realpath(path))
    hidden = list(_hidden(where, key, real, unit))
    yield from hidden
    if not hidden and _read_only(real, unit):
        message = f"{key}: {unit.path.name} may not write in {real}: it is in no ReadWritePaths="
        yield Remark("error", where, message, _add(f"ReadWritePaths=-{real}"))


def _hidden(where: Place, key: str, real: Path, unit: ServiceUnit) -> Iterator[Remark]:
    bound = [word.lstrip("-").partition(":")[0] for word in (*unit.words("BindPaths"), *unit.words("BindReadOnlyPaths"))]
    if _beneath(real, bound):
        return
    home, temporary = unit.last("ProtectHome", "no"), unit.last("PrivateTmp", "no")
    if home.lower() != "no" and _beneath(real, _HOMES):
        message = f"{key}: {unit.path.name} sees nothing beneath {_above(real, _HOMES)} (ProtectHome={home})"
        yield Remark("error", where, message, _add("ProtectHome=tmpfs", f"BindPaths={real}") + "; or move it to /srv")
    elif temporary.lower() in {*_YES, "disconnected"} and _beneath(real, _TEMPORARY):
        message = f"{key}: {unit.path.name} has a {_above(real, _TEMPORARY)} of its own (PrivateTmp={temporary})"
        yield Remark("error", where, message, f"move it to /srv; or {_add(f'BindPaths={real}')}")


def _read_only(real: Path, unit: ServiceUnit) -> bool:
    match unit.last("ProtectSystem", "no").lower():
        case "strict":
            return not _beneath(real, unit.writable)
        case "full":
            return _beneath(real, ("/usr", "/boot", "/efi", "/etc")) and not _beneath(real, unit.writable)
        case "no" | "false" | "off" | "0":
            return False
        case _:
            return _beneath(real, ("/usr", "/boot", "/efi")) and not _beneath(real, unit.writable)


def _group(where: Place, folder: Folder, unit: ServiceUnit) -> Iterator[Remark]:
    """A folder that lets its group in, in which the service is not."""
    user = unit.last("User", "root")
    try:
        status, account = os.stat(folder.path), pwd.getpwnam(user)
    except (OSError, KeyError):
        return
    gives = folder.group is not None and folder.group not in (group_called(status.st_gid), str(status.st_gid))
    if (gives or not status.st_mode & stat.S_ISGID) and not unit.may_chown:
        message = f"group: {unit.path.name} may give files to no group (SystemCallFilter=)"
        if not gives:
            message = (
                f"path: {folder.path} has no setgid bit, and {unit.path.name} may give files to no group (SystemCallFilter=)"
            )
        remedy = f"run `chmod g+s {folder.path}`; or {_add('SystemCallFilter=@chown')}"
        yield Remark("error" if gives else "warning", where, message, _add("SystemCallFilter=@chown") if gives else remedy)
    everybody = status.st_mode & stat.S_IRWXO == stat.S_IRWXO
    if account.pw_uid in (0, status.st_uid) or status.st_gid in unit.groups or everybody:
        return
    if status.st_gid == 0:
        message = f"path: {folder.path} belongs to the group root, which lets the user {user} of {unit.path.name} not in"
        yield Remark("warning", where, message, f"run `{giving(folder.path, user)}`")
        return
    group = group_called(status.st_gid)
    message = f"path: {folder.path} belongs to the group {group}, in which the user {user} of {unit.path.name} is not"
    remedy = f"run `usermod -aG {group} {user}`, then `systemctl restart {unit.path.stem}`: a reload is not enough"
    yield Remark("warning", where, message, remedy)


def giving(folder: Path, user: str) -> str:
    """The commands that give a folder of root's, or of its group, to the service's `user` and to those who drop files."""
    account = pwd.getpwnam(user)
    groups = [group_called(number) for number in os.getgrouplist(user, account.pw_gid)]
    group = DROPPERS if DROPPERS in groups else group_called(account.pw_gid)
    path = shown(shlex.quote(str(folder)))
    give = f"chown {user}:{group}" if folder.stat().st_uid == 0 else f"chgrp {group}"
    return f"{give} {path}; chmod 2770 {path}; setfacl -d -m g:{group}:rwx {path}"


def _add(*lines: str) -> str:
    told = " and ".join(f"`{line}`" for line in lines)
    return f"add {told} to [Service] (`systemctl edit dropcap`), then `systemctl restart dropcap`"


def _beneath(path: Path, places: tuple[str, ...] | list[str]) -> bool:
    return any(path.is_relative_to(place) for place in places if place.startswith("/"))


def _above(path: Path, places: tuple[str, ...]) -> str:
    return next(place for place in places if path.is_relative_to(place))
