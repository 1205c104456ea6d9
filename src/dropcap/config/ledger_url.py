"""Reads `ledger`, its password's place and `lease`: every mistake is told, and nothing that may be a password is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from urllib.parse import unquote

from dropcap.config.document import Node, Section, absolute
from dropcap.config.model import LEASE, PORT, LedgerAt, PostgresLedger, Problem, SecretPlace, SqliteLedger
from dropcap.config.values import BadValueError, credential, did_you_mean, duration, place, quote
from dropcap.routing.rule import ExistingFile, Rule

KEYS = ("ledger", "ledger_password_file", "ledger_password_credential", "lease")
SCHEMES = ("postgresql://", "postgres://")
_FORM = "write it as postgresql://dropcap@db.example.org:5432/dropcap"
_PASSWORD = "write the password into a file with mode 0600, and name that in ledger_password_file"
_SHORTEST_LEASE, _LONGEST_LEASE = 15.0, 600.0

#: Parameters of libpq that may stand in the URL, and the values that are possible where not all are.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "application_name": (),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "host": (),
    "krbsrvname": (),
    "load_balance_hosts": ("disable", "random"),
    "passfile": (),
    "require_auth": (),
    "requirepeer": (),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "sslcert": (),
    "sslcertmode": ("disable", "allow", "require"),
    "sslcrl": (),
    "sslcrldir": (),
    "sslkey": (),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "sslrootcert": (),
    "sslsni": ("0", "1"),
    "target_session_attrs": ("any", "read-write", "primary"),  # dropcap writes: no other server will do
}
_PATHS = frozenset({"passfile", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert"})
_SECRETS = frozenset({"password", "sslpassword"})
#: What dropcap sets itself, so that a dead database is noticed in time, or what the rest of the URL says.
_OURS = frozenset({
    *("client_encoding", "connect_timeout", "dbname", "fallback_application_name", "hostaddr", "keepalives"),
    *("keepalives_count", "keepalives_idle", "keepalives_interval", "options", "port", "replication", "service"),
    *("servicefile", "sslcompression", "tcp_user_timeout", "user"),
})  # fmt: skip
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:]*))(?::([0-9]*))?", re.ASCII)


def read_ledger(main: Section) -> LedgerAt:
    """The keys that say where the ledger is; the default where they cannot be."""
    node = main.get("ledger")
    found = None if node is None or node.is_null else node.value(_parsed)
    secret = _password(main)
    lease = main.read("lease", duration(_SHORTEST_LEASE, _LONGEST_LEASE), LEASE)
    if node is not None and isinstance(found, PostgresLedger):
        options = {key: absolute(value, node) if _is_path(key, value) else value for key, value in found.options.items()}
        if secret is not None and "passfile" in found.options:
            given = next(key for key in KEYS if key in main and key.startswith("ledger_password"))
            main.entries[given].problem("the URL of the ledger names a passfile as well", "keep one of them")
        return PostgresLedger(found.hosts, found.user, found.database, MappingProxyType(options), secret, lease)
    if secret is not None and (node is None or node.is_null or found is not None):
        key = "ledger_password_file" if secret.file is not None else "ledger_password_credential"
        main.entries[key].problem("the ledger is SQLite's, which asks for no password", f"name a database in ledger: {_FORM}")
    return SqliteLedger()


def doubtful_ledger(main: Section, ledger: LedgerAt) -> Iterator[Problem]:
    """What is probably not meant: a database that nobody verifies, a lease that nobody takes."""
    if isinstance(ledger, PostgresLedger):
        if not ledger.verified:
            node = main.entries["ledger"]
            message = "whoever stands between dropcap and the database could pass for it, and read and change what is told"
            remedy = "add ?sslmode=verify-full&sslrootcert=FILE to the URL (FILE: who has signed the database's certificate)"
            yield Problem(node.file, node.line, node.key, message, remedy, level="warning")
    elif (lease := main.get("lease")) is not None and not any(one.key == "ledger" for one in lease.problems):
        message, remedy = "the ledger is SQLite's, for one host: no folder is leased", "take it out, or name a database in ledger"
        yield Problem(lease.file, lease.line, lease.key, message, remedy, level="warning")


def keeps_copies(rules: Iterable[Rule]) -> bool:
    """Whether one of the rules ever keeps a copy of what REDCap held."""
    return any(rule.settings.existing_file is ExistingFile.PRESERVE for rule in rules)


def copies_are_not_shared(node: Node) -> None:
    """Report a folder that keeps copies where the other hosts do not see them."""
    node.problem(
        "copies of what REDCap held would lie on one host alone: with a ledger on PostgreSQL all hosts must share them",
        "name a directory that every host has in preserve_in (of the folder or of `defaults`), or set existing_file to replace "
        "or refuse",
    )


def _password(main: Section) -> SecretPlace | None:
    given = [key for key in ("ledger_password_file", "ledger_password_credential") if key in main]
    if len(given) > 1:
        main.entries[given[1]].problem("names a second place for the password", f"give one of {given[0]} and {given[1]}")
    if not given or main.entries[given[0]].is_null:
        return None
    node = main.entries[given[0]]
    if given[0].endswith("_credential"):
        name = node.value(credential)
        return None if name is None else SecretPlace("ledger password file", None, name)
    path = node.value(place)
    return None if path is None else SecretPlace("ledger password file", absolute(path, node), None)


def _parsed(text: str) -> LedgerAt:
    """The reader of `ledger`. It shows no part of the text in which a password may stand."""
    word = text.strip()
    if word == "sqlite":
        return SqliteLedger()
    scheme = next((one for one in SCHEMES if word.startswith(one)), None)
    if scheme is None:
        shown = quote(word) if re.fullmatch(r"[\w-]{1,20}", word, re.ASCII) else "this"
        raise BadValueError(f"{shown} is neither sqlite nor the URL of a PostgreSQL database", f"write sqlite, or {_FORM[12:]}")
    authority, slash, rest = word.removeprefix(scheme).partition("/")
    path, _, query = rest.partition("?")
    if "?" in authority:
        authority, path, query, slash = authority.partition("?")[0], "", "", ""
    before, at, servers = authority.rpartition("@")
    if ":" in before:
        raise BadValueError("the URL holds a password", f"{_PASSWORD}; choose another one if others can read this file")
    if "#" in word or re.search(r"[\s\\]", word) or "@" in before or "@" in rest.partition("?")[0]:
        raise BadValueError("this is not the URL of a database", f"{_FORM}; write other characters as %XX")
    user, database = _plain(before, "user"), _plain(path, "database")
    if not at or not user:
        raise BadValueError("the URL says no user", _FORM)
    if not slash or not database or "/" in path:
        raise BadValueError("the URL says no database", _FORM)
    options = _options(query)
    return PostgresLedger(_hosts(servers, options.pop("host", None)), user, database, options)


def _hosts(text: str, directory: str | None) -> tuple[tuple[str, int], ...]:
    found = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        port = PORT if match is None or not match[3] else int(match[3][:6])
        host = "" if match is None else (match[1] or _plain(match[2] or "", "host"))
        if match is None or "," in host or (not host and "," in text):
            raise BadValueError(f"{quote(part)} is not a database's host and port", _FORM)
        if not 0 < port < 65536:
            raise BadValueError(f"{port} is not a port", _FORM)
        found.append((host if host.startswith("/") else host.lower(), port))
    if directory is not None:
        if found != [("", found[0][1])]:
            raise BadValueError("the URL names the host twice", "take it out on one side of the `?`")
        if not directory.startswith("/") or "," in directory:
            raise BadValueError(f"host={quote(directory)} is not the directory of a socket", "write the host before the database")
        found = [(directory, found[0][1])]
    if not found[0][0]:
        raise BadValueError("the URL says no host", f"{_FORM}, or add ?host=/run/postgresql for a database on this machine")
    return tuple(found)


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&") if query else ():
        key, equals, text = part.partition("=")
        if key in _SECRETS:
            raise BadValueError("the URL holds a password", f"take `{key}` out, and {_PASSWORD}")
        if key in _OURS:
            raise BadValueError(f"`{key}` is not for the URL", "take it out: dropcap sets it itself")
        if key not in _PARAMETERS:
            known = "what can stand there: " + ", ".join(_PARAMETERS)
            raise BadValueError(f"the URL has an unknown parameter {quote(key)}", did_you_mean(key, _PARAMETERS, known))
        value = _plain(text, key)
        if not equals or not value:
            raise BadValueError(f"`{key}` has no value", f"write {key}=…, or take it out")
        if key in options:
            raise BadValueError(f"`{key}` stands in the URL twice", "keep one of them")
        possible = _PARAMETERS[key]
        if possible and value not in possible:
            raise BadValueError(f"{key}={quote(value)} is not possible", "write " + " or ".join(possible))
        options[key] = value
    return options


def _is_path(key: str, value: str) -> bool:
    return key in _PATHS and value != "system"


def _plain(text: str, what: str) -> str:
    try:
        value = unquote(text, errors="strict")
    except UnicodeDecodeError:
        value = "\0"
    if not value.isprintable():
        raise BadValueError(f"the {what} in the URL has a control character", "take it out")
    return value
