"""Reads the configuration, one file and those that it includes, and reports every problem at once.

So it reads `ledger`, its password's place and `lease`: nothing that may be a password is told.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import yaml

from dropcap.config.document import Node, Section, absolute, read_document
from dropcap.config.model import (
    LEASE,
    PORT,
    Config,
    LedgerAt,
    Log,
    PostgresLedger,
    Privacy,
    Problem,
    Project,
    Retention,
    SecretPlace,
    SqliteLedger,
)
from dropcap.config.sections import (
    FolderReader,
    check_nesting,
    folder_path,
    read_dashboard,
    read_metrics,
    read_notify,
    read_project,
    read_table,
)
from dropcap.config.values import (
    CLOSING_QUOTES,
    DAY,
    OPENING_QUOTES,
    TIB,
    BadValueError,
    age,
    choice,
    credential,
    did_you_mean,
    duration,
    masked,
    place,
    plain,
    quote,
    size,
    whole,
    word_of,
)
from dropcap.display import shown
from dropcap.language import Language
from dropcap.reasons import Scope
from dropcap.routing.pattern import normal
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
            message = "a machine between dropcap and the database could impersonate it, and read and change the traffic"
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


#: No-break spaces, and characters without width.
_UNSEEN = re.compile("[\u00a0\u2007\u202f\u200b\u2060\ufeff\u00ad]")
#: Typographic quotes that are no apostrophes.
_DOUBLE = "“”„‟«»"
#: Keys whose text people read, and nobody compares.
_FOR_PEOPLE = frozenset({"contact"})
#: Keys whose text may hold a password by mistake: it is not shown, and their own readers refuse what cannot be.
_NEVER_SHOWN = frozenset({"ledger"})
#: Keys whose text may stand in names of files as they are: cameras and screenshots write such blanks.
_OF_NAMES = frozenset({"pattern", "regex", "upload_as", "ignore", "path"})


def doubtful_texts(roots: Iterable[Node]) -> Iterator[Problem]:
    """Quotes and blanks in the values and keys of the files with these roots."""
    for root in roots:
        yield from _texts(root.raw, root.file, "", "", set())


def _texts(raw: yaml.Node, file: str, path: str, key: str, seen: set[int]) -> Iterator[Problem]:
    """`seen`: nodes that were looked at; an alias can make one contain itself."""
    if id(raw) in seen:
        return
    seen.add(id(raw))
    if isinstance(raw, yaml.MappingNode):
        for name, value in raw.value:
            if isinstance(name, yaml.ScalarNode):
                inner = masked(f"{path}.{name.value}" if path else str(name.value))
                yield from _text(name, file, inner, "", "key")
                yield from _texts(value, file, inner, str(name.value), seen)
    elif isinstance(raw, yaml.SequenceNode):
        for number, value in enumerate(raw.value, 1):
            yield from _texts(value, file, f"{path}[{number}]", key, seen)
    elif isinstance(raw, yaml.ScalarNode) and key not in _FOR_PEOPLE | _NEVER_SHOWN:
        yield from _text(raw, file, path, key, "value")


def _text(raw: yaml.ScalarNode, file: str, path: str, key: str, what: str) -> Iterator[Problem]:
    text, line = str(raw.value), raw.start_mark.line + 1
    bare = "" if raw.style in ("'", '"', "|", ">") else text.strip()
    if bare and bare[0] in OPENING_QUOTES and bare[-1] in CLOSING_QUOTES and len(bare) > 1:
        message = f"the {what} {quote(text)} stands in typographic quotes, which are a part of it"
        yield Problem(file, line, path, message, 'write straight quotes: "…"')
    elif any(mark in bare for mark in _DOUBLE):
        message = f"the {what} {quote(text)} has typographic quotes"
        remedy = "take them out, or put the whole in straight quotes if names have them"
        yield Problem(file, line, path, message, remedy, level="warning")
    unseen = _UNSEEN.search(text)
    if unseen:
        name = "a no-break space" if unseen[0].isspace() else "a character that nobody sees"
        message = f"the {what} {quote(text)} has {name} (character {unseen.start() + 1}, U+{ord(unseen[0]):04X})"
        remedy = "write it anew with a plain space, or without" + (
            ", unless the files' names have it" if key in _OF_NAMES else ""
        )
        yield Problem(file, line, path, message, remedy, level="warning" if key in _OF_NAMES else "error")


def doubtful_tables(tables: Mapping[str, Node], by_case: bool) -> Iterator[Problem]:
    """Words of a table that differ by their case only. `by_case`: some rule tells words apart by it."""
    for name, node in tables.items():
        if not isinstance(node.raw, yaml.MappingNode):
            continue
        first: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for word, value in node.raw.value:
            if not isinstance(word, yaml.ScalarNode):
                continue
            other, meant = first.setdefault(normal(str(word.value)).casefold(), (word, value))
            if other.value == word.value:  # itself; or twice, which is told as a mistake
                continue
            same = meant.value == value.value
            if same and by_case:
                continue
            message = f"differs from {quote(str(other.value))} in line {other.start_mark.line + 1} by its case only, "
            message += (
                "and says the same" if same else "and leads elsewhere: a slip of the shift key would send a file to another place"
            )
            key = masked(f"tables.{name}.{word.value}")
            remedy = "keep one of them: a word is found in any case"
            yield Problem(node.file, word.start_mark.line + 1, key, message, remedy, level="warning")


def doubtful_projects(projects: Sequence[Project]) -> Iterator[Problem]:
    """Entries that lead to one REDCap project, as far as the configuration tells."""
    for position, project in enumerate(projects):
        for other in projects[:position]:
            by_id = project.project_id is not None and project.project_id == other.project_id
            if project.api == other.api and (by_id or project.token_source == other.token_source):
                yield same_project(project, other)
                break


def same_project(project: Project, other: Project) -> Problem:
    """Two entries lead to one REDCap project."""
    message = f"is the same REDCap project as {quote(other.name)} in line {other.line}"
    remedy = "let the folders of both name one entry, unless the two tokens are of users with different rights on purpose"
    return Problem(project.file, project.line, f"projects.{project.name}", message, remedy, level="warning")


STATE_DIR = "/var/lib/dropcap"

_SHARED = ("projects", "folders", "tables")
_VALUES: dict[str, Callable[[str], Any]] = {
    "contact": plain,
    "uploads_at_once": whole(1, 64),
    "small_file": size(0, TIB),
    "stop_within": duration(0, DAY),
}
_LOG = {"format": word_of("json", "text"), "level": word_of("debug", "info", "warning", "error")}
_PRIVACY = {"names": word_of("clear", "mask")}
#: The shortest time for which each is kept. A file that is moved back out of done/ is known again for a week.
_KEEP = {"done": age(7 * DAY), "preserved": age(DAY), "history": age(7 * DAY), "empty_subfolders": age(DAY / 24)}
_KEYS = (
    *("state_dir", *KEYS),
    *(*_VALUES, "language", "log", "privacy", "keep", "notify", "metrics", "dashboard", "include", "defaults"),
    *_SHARED,
)


def load(path: Path) -> Config:
    """The configuration in `path`. Never raises for what the file holds, or if it is not there: see `Config.problems`."""
    problems: list[Problem] = []
    digests: dict[str, str] = {}
    root = read_document(os.fspath(path), problems, None, digests)
    if root is None:
        return Config(path, Path(STATE_DIR), problems=tuple(problems))
    main = root.section()
    main.only(_KEYS)
    sections = [main, *_included(main, path, digests)]
    state_dir = main.read("state_dir", place, "")
    state_dir = absolute(state_dir, root) if state_dir else STATE_DIR

    table_nodes = _merged(sections, "tables", None)
    tables = {name: read_table(name, node) for name, node in table_nodes.items()}
    projects = _projects(_merged(sections, "projects", Scope.PROJECT), problems)
    folder_nodes = _merged(sections, "folders", Scope.FOLDER)
    reader = FolderReader(main.get("defaults"), tables, projects, main.read("language", choice(Language), None))
    read = {name: reader.read(name, node) for name, node in folder_nodes.items()}
    check_nesting([(place_of, node) for node in folder_nodes.values() if (place_of := folder_path(node))], state_dir)
    ledger = read_ledger(main)
    for name, folder in read.items() if isinstance(ledger, PostgresLedger) else ():
        if folder is not None and folder.preserve_in is None and keeps_copies(folder.rules):
            copies_are_not_shared(folder_nodes[name])
    unsound = _unsound(problems)
    digest = _digest(digests)
    folders = {
        name: replace(folder, configuration=digest)
        for name, folder in read.items()
        if folder is not None and (Scope.FOLDER, name) not in unsound
    }
    if not folder_nodes:
        root.problem("there are no folders", "add one to `folders`: its path, its project and its rules")
    values = main.take(_VALUES)
    return Config(
        path=path,
        state_dir=Path(state_dir),
        ledger=ledger,
        log=Log(**_inner(main, "log", _LOG)),
        keep=Retention(**_inner(main, "keep", _KEEP)),
        privacy=Privacy(**_inner(main, "privacy", _PRIVACY)),
        projects={name: project for name, project in projects.items() if project is not None},
        folders=folders,
        tables=tables,
        notify=read_notify(main, list(projects), list(folder_nodes)),
        metrics=read_metrics(main),
        dashboard=read_dashboard(main),
        problems=_in_order(problems),
        digest=digest,
        broken=tuple(folder for folder in read.values() if folder is not None and folder.name not in folders),
        doubts=(
            *doubtful_ledger(main, ledger),
            *doubtful_texts(section.node for section in sections),
            *doubtful_tables(table_nodes, any(rule.settings.case_sensitive for f in read.values() if f for rule in f.rules)),
            *doubtful_projects([project for project in projects.values() if project is not None]),
        ),
        **values,
    )


def _digest(read: dict[str, str]) -> str:
    """The SHA-256 of the one file; of several, of what `sha256sum` prints of them, in the order in which they are read."""
    if len(read) == 1:
        return next(iter(read.values()))
    return hashlib.sha256(
        "".join(f"{digest}  {path}\n" for path, digest in read.items()).encode("utf-8", "surrogateescape")
    ).hexdigest()


def _included(main: Section, path: Path, read: dict[str, str]) -> list[Section]:
    """The sections of the files that `include` names, in the order of their names."""
    node = main.get("include")
    if node is None:
        return []
    entries = node.items() if isinstance(node.raw.value, list) else [] if node.is_null else [node]
    found: dict[str, None] = {os.path.abspath(path): None}
    sections: list[Section] = []
    for entry in entries:
        pattern = entry.value(place)
        if pattern is None:
            continue
        beside = os.path.dirname(os.path.abspath(path))  # not part of the glob: it may have brackets itself
        files = sorted(absolute(file, node) for file in glob.glob(pattern, root_dir=beside))
        if not files and not glob.has_magic(pattern):
            entry.problem(f"there is no file {shown(absolute(pattern, node))}", "correct the path, or take it out")
        for file in files:
            if file in found:
                continue
            found[file] = None
            root = read_document(file, node.problems, entry, read)
            if root is not None:
                section = root.section()
                section.only(_SHARED, "an included file holds only projects, folders and tables")
                sections.append(section)
    return sections


def _merged(sections: list[Section], key: str, scopes: Scope | None) -> dict[str, Node]:
    """The entries of `key` in all files. One that two files have is reported with both places."""
    merged: dict[str, Node] = {}
    for section in sections:
        node = section.get(key)
        if node is None:
            continue
        for name, entry in node.section(scopes):
            if name in merged:
                first = merged[name]
                entry.problem(f"is also in {first.file}:{first.line}", "keep one of them")
            else:
                merged[name] = entry
    return merged


def _projects(nodes: dict[str, Node], problems: list[Problem]) -> dict[str, Project | None]:
    """Every project that is named; None for those that are not sound."""
    projects = {name: read_project(name, node) for name, node in nodes.items()}
    unsound = _unsound(problems)
    return {name: None if (Scope.PROJECT, name) in unsound else project for name, project in projects.items()}


def _unsound(problems: list[Problem]) -> set[tuple[Scope, str]]:
    return {problem.scope for problem in problems if problem.scope is not None}


def _inner(main: Section, key: str, readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The values of a section that has nothing but those."""
    section = main.inner(key, readers)
    return {} if section is None else section.take(readers, nullable=("format",))


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    """Each problem once, by file (in the order of reading) and line."""
    files = dict.fromkeys(problem.file for problem in problems)
    by_line = sorted(dict.fromkeys(problems), key=attrgetter("line"))
    return tuple(problem for file in files for problem in by_line if problem.file == file)
