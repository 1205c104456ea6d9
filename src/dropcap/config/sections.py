"""The sections of the configuration: projects, folders, tables, and who is notified."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import time
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dropcap.config.document import Node, Section, absolute
from dropcap.config.model import (
    CalledAddress,
    Dashboard,
    Expect,
    Folder,
    Metrics,
    Notify,
    Project,
    Recipient,
    SecretPlace,
    clock_time,
    weekdays,
)
from dropcap.config.rules import SETTINGS, Settings, Tables, read_rules
from dropcap.config.secrets import ProxyCredentials, TokenSource, proxy_address
from dropcap.config.values import (
    DAY,
    TIB,
    BadValueError,
    api_url,
    boolean,
    choice,
    credential,
    did_you_mean,
    duration,
    extension,
    is_loopback,
    mode,
    place,
    plain,
    quote,
    size,
    variable,
    whole,
    word_of,
)
from dropcap.config.values import name as name_of
from dropcap.language import Language
from dropcap.reasons import NoticeKind
from dropcap.routing.pattern import TYPES, Table, normal
from dropcap.routing.rule import FILTERS

_WEEK = 7 * DAY
#: All addresses of this machine.
_EVERYWHERE = ("0.0.0.0", "::")


_NOTIFY_VALUES = {"after": duration(0, DAY), "digest": duration(0.1, _WEEK)}


def read_notify(main: Section, projects: Collection[str], folders: Collection[str]) -> Notify | None:
    """The section `notify`; None if there is none, or, reported, nobody to tell."""
    section = main.inner("notify", ("to", "heartbeat", *_NOTIFY_VALUES))
    if section is None:
        return None
    to, heartbeat = section.get("to"), _heartbeat(section)
    if to is None and "heartbeat" not in section:
        section.node.problem("says nobody", "name somebody in `to`, such as desk: {url_file: /etc/dropcap/desk.url}")
        return None
    read = [_recipient(name, entry, projects, folders) for name, entry in to.section()] if to is not None else []
    return Notify(tuple(one for one in read if one is not None), **section.take(_NOTIFY_VALUES), heartbeat=heartbeat)


def _heartbeat(notify: Section) -> CalledAddress | None:
    section = notify.inner("heartbeat", ("url_file", "url_credential", "every"))
    url = _secret(section, "url", "heartbeat address") if section is not None else None
    return (
        CalledAddress(url, section.read("every", duration(10, DAY), 300.0)) if section is not None and url is not None else None
    )


def _recipient(name: str, node: Node, projects: Collection[str], folders: Collection[str]) -> Recipient | None:
    _check_name(name, node)
    section = node.section()
    section.only(("url_file", "url_credential", "events", "projects", "folders", "names"))
    url = _secret(section, "url", "notification address")
    if url is None:
        return None
    events = section.get("events")
    return Recipient(
        name,
        url,
        frozenset(NoticeKind if events is None else events.values(choice(NoticeKind), or_one=True)),
        _some_of(section, "projects", projects),
        _some_of(section, "folders", folders),
        section.read("names", boolean, False),
    )


def read_metrics(main: Section) -> Metrics | None:
    """The section `metrics`."""
    section = main.inner("metrics", ("textfile",))
    if section is None:
        return None
    if "textfile" not in section:
        section.node.problem(
            "says no textfile", "name one in node_exporter's directory, such as textfile: /var/lib/node_exporter/dropcap.prom"
        )
    path = section.read("textfile", _prom, "")
    return Metrics(Path(absolute(path, section.entries["textfile"]))) if path else None


def _prom(text: str) -> str:
    if not place(text).endswith(".prom"):
        raise BadValueError(f"{quote(text)} does not end with .prom", "node_exporter reads no other files: name it dropcap.prom")
    return text


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]").lower()
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise BadValueError(f"{quote(text)} is not an address and a port", "write it as 127.0.0.1:8750")
    return host, int(port)


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text.strip())
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in text:
        raise BadValueError(f"{quote(text)} is not the address of a site", "write it as https://dropcap.example.org")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise BadValueError(f"{quote(text)} has no TLS", "write https://, and let the proxy have a certificate")
    default = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}"


_PAGE_VALUES = {"cert_file": None, "key_file": None, "origin": _origin}


def read_dashboard(main: Section) -> Dashboard | None:
    """The section `dashboard`."""
    section = main.inner("dashboard", ("listen", "secret_file", "secret_credential", *_PAGE_VALUES))
    if section is None:
        return None
    host, port = section.read("listen", _listen, ("127.0.0.1", 8750))
    secret = _secret(section, "secret", "secret")
    values = section.take(_PAGE_VALUES, nullable=_PAGE_VALUES)
    certificate = values.get("cert_file")
    if values.get("key_file") and not certificate:
        section.entries["key_file"].problem("is a key without its certificate", "name that in cert_file")
    if not is_loopback(host) and not certificate:
        section.entries["listen"].problem(
            "the page shows names of files and records, and would cross the network in clear text",
            "listen on 127.0.0.1 behind a proxy with TLS, or name a certificate in cert_file",
        )
    if host in _EVERYWHERE and values.get("origin") is None:
        section.entries["listen"].problem(
            "the page has to know the address that people type", "name it in origin, such as https://dropcap.example.org:8750"
        )
    return Dashboard(host, port, secret, **values) if secret is not None else None


def read_expect(node: Node) -> Expect | None:
    """A folder's `expect`."""
    if node.is_null:
        return None
    section = node.section()
    section.only(("every", "days", "by"))
    every = section.read("every", duration(60, 366 * DAY), DAY)
    named = section.get("days")
    days = [] if named is None else named.values(_weekdays, or_one=True)
    return Expect(every, frozenset().union(*days) if days else frozenset(range(7)), **section.take({"by": _clock_time}, ("by",)))


def _weekdays(text: str) -> frozenset[int]:
    found = weekdays(text)
    if found is None:
        raise BadValueError(f"{quote(text)} is no day of the week", "write mon, tue, wed, thu, fri, sat or sun, or mon-fri")
    return found


def _clock_time(text: str) -> time:
    found = clock_time(text)
    if found is None:
        raise BadValueError(f"{quote(text)} is no time of day", 'write it in quotes, such as "18:00"')
    return found


def _secret(section: Section, key: str, what: str) -> SecretPlace | None:
    keys = (f"{key}_file", f"{key}_credential")
    given = [one for one in keys if one in section]
    if len(given) != 1:
        section.node.problem(
            f"names more than one place for the {what}" if given else f"does not say where the {what} is",
            f"give one of {keys[0]} and {keys[1]}",
        )
        return None
    node = section.entries[given[0]]
    if given[0] == keys[1]:
        name = node.value(credential)
        return None if name is None else SecretPlace(f"{what} file", None, name)
    path = node.value(_no_address)
    return None if path is None else SecretPlace(f"{what} file", absolute(path, node), None)


def _no_address(text: str) -> str:
    if "://" in text:  # not shown: it may hold a password
        raise BadValueError("this looks like an address itself", "write it into a file with mode 0600 and name the file here")
    return place(text)


def _some_of(section: Section, key: str, known: Collection[str]) -> frozenset[str]:
    def one(text: str) -> str:
        if plain(text) not in known:
            raise BadValueError(
                f"there is no {key.removesuffix('s')} {quote(text)}",
                did_you_mean(text, known, "name one of: " + ", ".join(known)),
            )
        return text

    node = section.get(key)
    return frozenset() if node is None else frozenset(node.values(one, or_one=True))


_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)

_TOKEN_KEYS: dict[str, tuple[Literal["file", "credential", "env"], Callable[[str], str]]] = {
    "token_file": ("file", place),
    "token_credential": ("credential", credential),
    "token_env": ("env", variable),
}
#: The settings of a project and of a folder, each with its reader; None: it is a path.
_PROJECT_VALUES: dict[str, Callable[[str], Any] | None] = {
    "project_id": whole(1, 10**9),
    "requests_per_minute": whole(0, 1_000_000),
    "connect_timeout": duration(0.01, 3600),
    "timeout": duration(0.01, DAY),
    "deadline": duration(0.01, 7 * DAY),
    "max_size": size(1, TIB),
    "ca_file": None,
    "client_cert_file": None,
    "client_key_file": None,
    "proxy": proxy_address,
    "proxy_credentials_file": None,
}
_PROJECT_KEYS = ("url", "allow_http", *_TOKEN_KEYS, *_PROJECT_VALUES, "blocked_extensions")

_FOLDER_VALUES: dict[str, Callable[[str], Any] | None] = {
    "subfolders": boolean,
    "rescan": duration(0.01, DAY),
    "settle_closed": duration(0, DAY),
    "settle_quiet": duration(0.01, DAY),
    "first_start": word_of("take", "leave"),
    "min_free": size(0, 1024 * TIB),
    "preserve_in": None,
    "group": plain,
    "mode": mode,
    "language": choice(Language),
    "page_refresh": duration(5, DAY),
}
_NULLABLE = frozenset({
    *("preserve_in", "group", "mode"),
    *("project_id", "ca_file", "client_cert_file", "client_key_file", "proxy", "proxy_credentials_file"),
})  # fmt: skip
_FOLDER_SETTINGS = (*_FOLDER_VALUES, "ignore", "expect", *SETTINGS)
_FOLDER_KEYS = ("path", "project", "rules", *_FOLDER_SETTINGS)


def read_table(name: str, node: Node) -> Table:
    """One entry of `tables`."""
    if not _TABLE_NAME.fullmatch(name):
        node.problem(f"{quote(name)} cannot be the name of a table", "use letters, digits, `_` and `-`, a letter first")
    if name in TYPES or name in FILTERS:
        node.problem(f"`{name}` already has a meaning in patterns and templates", "give the table another name")
    words: dict[str, str] = {}
    for word, entry in node.section():
        if "/" in word:
            entry.problem("no file name can have a `/` in it", "take it out")
        if normal(word) in words and word not in words:
            entry.problem("stands here twice (composed and decomposed, which look the same)", "keep one of them")
        value = entry.value(plain)
        if value is not None:
            words[normal(word)] = value
    return Table(name, words)


def read_project(name: str, node: Node) -> Project | None:
    """One entry of `projects`; None, reported, if its address or token is not told."""
    _check_name(name, node)
    section = node.section()
    section.only(_PROJECT_KEYS)
    allow_http = section.read("allow_http", boolean, False)
    url = section.read("url", api_url(allow_http), "")
    if "url" not in section:
        node.problem("says no url", "add the address of REDCap's API, such as url: https://redcap.example.org/api/")
    source = _token_source(section)
    values = section.take(_PROJECT_VALUES, _NULLABLE)
    credentials = values.pop("proxy_credentials_file", None)
    if credentials is not None:
        values["proxy_credentials"] = ProxyCredentials(str(credentials))
    if (blocked := section.get("blocked_extensions")) is not None:
        values["blocked_extensions"] = frozenset(blocked.values(extension))
    _check_route(section, url, values)
    return Project(name, url, source, **values, file=node.file, line=node.line) if url and source else None


def _check_route(section: Section, url: str, values: Mapping[str, Any]) -> None:
    """What contradicts itself in how the server is reached."""
    certificate, proxy = values.get("client_cert_file"), values.get("proxy")
    if values.get("client_key_file") and not certificate:
        section.entries["client_key_file"].problem("is a key without its certificate", "name that in client_cert_file")
    if "proxy_credentials" in values and "proxy" not in section:
        section.entries["proxy_credentials_file"].problem("there is no proxy to show them to", "name it in proxy")
    if url.startswith("http://") and certificate:
        section.entries["client_cert_file"].problem("http:// shows no certificates", "use an https:// url")
    if url.startswith("http://") and proxy:
        section.entries["proxy"].problem(
            "the token and the files would cross the proxy in clear text", "use an https:// url, or take the proxy out"
        )


def _token_source(section: Section) -> TokenSource | None:
    given = [key for key in _TOKEN_KEYS if key in section]
    if len(given) != 1:
        if given or "token" not in section:
            message = "names more than one place for the token" if given else "does not say where the token is"
            section.node.problem(message, "give one of token_file, token_credential and token_env")
        return None
    kind, parse = _TOKEN_KEYS[given[0]]
    node = section.entries[given[0]]
    where = node.value(parse)
    if where is None:
        return None
    return TokenSource(kind, absolute(where, node) if kind == "file" else where)


class FolderReader:
    """Reads entries of `folders` under the same `defaults`, tables and projects."""

    def __init__(
        self, defaults: Node | None, tables: Tables, projects: Mapping[str, Project | None], language: Language | None = None
    ) -> None:
        """`language` is that of folders for which nothing else is said."""
        self._tables = tables
        self._projects = projects
        self._values: dict[str, Any] = {} if language is None else {"language": language}
        self._settings = Settings()
        if defaults is not None:
            section = defaults.section()
            section.only(_FOLDER_SETTINGS, "defaults take the settings of folders and rules: " + ", ".join(_FOLDER_SETTINGS))
            self._values |= _folder_values(section)
            self._settings = self._settings.refined(section, "defaults")

    def read(self, name: str, node: Node) -> Folder | None:
        """One entry of `folders`; None, reported, if its path, project or rules are missing."""
        _check_name(name, node)
        section = node.section()
        section.only(_FOLDER_KEYS)
        path = section.read("path", place, "")
        if "path" not in section:
            node.problem("says no path", "add the path of the folder into which files are dropped")
        project = self._project(section)
        values = {**self._values, **_folder_values(section)}
        settings = self._settings.refined(section, "folder")
        rules_node = section.get("rules")
        rules = read_rules(rules_node, self._tables, settings) if rules_node else ()
        if rules_node is None or rules_node.is_null or rules_node.raw.value == []:
            (rules_node or node).problem("there are no rules", "add at least one: which names, and where they go")
        if not path or project is None or not rules:
            return None
        where = Path(absolute(path, section.entries["path"]))
        return Folder(name, where, project, rules, **values, file=node.file, line=node.line)

    def _project(self, section: Section) -> str | None:
        node = section.get("project")
        if node is None:
            section.node.problem("says no project", "name one of: " + ", ".join(self._projects))
            return None
        name = node.value(plain)
        if name is None:
            return None
        if name not in self._projects:
            remedy = did_you_mean(name, self._projects, "name one of: " + ", ".join(self._projects))
            node.problem(f"there is no project {quote(name)}", remedy)
            return None
        if self._projects[name] is None:
            node.problem(f"the project {quote(name)} has problems of its own", "mend those first", echo=True)
            return None
        return name


def folder_path(node: Node) -> str | None:
    """The path of a folder, also of one that is not sound: it must not lie in another."""
    if not hasattr(node.raw, "value") or not isinstance(node.raw.value, list):
        return None
    quiet = Node(node.raw, node.file, node.line, node.key, [])
    entry = quiet.section().get("path")
    text = entry.value(place) if entry else None
    return absolute(text, entry) if entry and text else None


def check_nesting(paths: Sequence[tuple[str, Node]], state_dir: str) -> None:
    """Report folders that are the same or lie in each other, or that hold or lie in the state directory.

    Both are reported: which of them is meant cannot be known, and each would take the other's files.
    """
    # Links in state_dir are followed, it is local; not those of folders, whose share may be dead.
    states = {_parts(state_dir), _parts(os.path.realpath(state_dir))}
    outer: list[tuple[tuple[str, ...], Node]] = []
    for parts, path, node in sorted(((_parts(path), path, node) for path, node in paths), key=itemgetter(0)):
        if len(parts) == 1:
            node.problem("the path is `/`", "use a folder of its own")
        if any(parts[: len(state)] == state or state[: len(parts)] == parts for state in states):
            node.problem(f"the folder and state_dir ({state_dir}) overlap", "keep them apart")
        while outer and parts[: len(outer[-1][0])] != outer[-1][0]:
            outer.pop()
        if outer:
            other = outer[-1][1]
            relation = "the same folder as" if parts == outer[-1][0] else "inside the folder of"
            node.problem(f"{quote(path)} is {relation} `{other.key}` ({other.file}:{other.line})", "keep them apart")
            other.problem(f"`{node.key}` ({node.file}:{node.line}) is in this folder as well", "keep them apart", echo=True)
        outer.append((parts, node))


def _parts(path: str) -> tuple[str, ...]:
    return (os.sep, *(part for part in path.split(os.sep) if part))


def _folder_values(section: Section) -> dict[str, Any]:
    values = section.take(_FOLDER_VALUES, _NULLABLE)
    if (expect := section.get("expect")) is not None:
        values["expect"] = read_expect(expect)
    if (ignore := section.get("ignore")) is not None:
        values["ignore"] = tuple(ignore.values(plain))
    return values


def _check_name(name: str, node: Node) -> None:
    try:
        name_of(name)
    except BadValueError as error:
        node.problem(error.message, error.remedy)
