"""Reads the sections that say who is told: `notify`, `metrics`, `dashboard`, and a folder's `expect`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dropcap.config.document import Node, Section, absolute
from dropcap.config.telling import Dashboard, Expect, Metrics, Notify, Recipient, SecretPlace, clock_time, weekdays
from dropcap.config.values import (
    DAY,
    BadValueError,
    boolean,
    choice,
    credential,
    did_you_mean,
    duration,
    is_loopback,
    place,
    plain,
    quote,
)
from dropcap.config.values import name as name_of
from dropcap.reasons import Told

_WEEK = 7 * DAY
#: All addresses of this machine.
_EVERYWHERE = ("0.0.0.0", "::")


def read_notify(main: Section, projects: Collection[str], folders: Collection[str]) -> Notify | None:
    """The section `notify`; None if there is none, or, reported, nobody to tell."""
    node = main.get("notify")
    if node is None or node.is_null:
        return None
    section = node.section()
    section.only(("to", "after", "digest"))
    to = section.get("to")
    if to is None:
        node.problem("says nobody", "name somebody in `to`, such as desk: {url_file: /etc/dropcap/desk.url}")
        return None
    read = [_recipient(name, entry, projects, folders) for name, entry in to.section()]
    return Notify(
        tuple(one for one in read if one is not None),
        after=section.read("after", duration(0, DAY), 120.0),
        digest=section.read("digest", duration(0.1, _WEEK), 900.0),
    )


def _recipient(name: str, node: Node, projects: Collection[str], folders: Collection[str]) -> Recipient | None:
    try:
        name_of(name)
    except BadValueError as error:
        node.problem(error.message, error.remedy)
    section = node.section()
    section.only(("url_file", "url_credential", "events", "projects", "folders", "names"))
    url = _secret(section, "url", "notification address")
    if url is None:
        return None
    events = _listed(section, "events", choice(Told))
    return Recipient(
        name,
        url,
        frozenset(Told) if events is None else frozenset(events),
        _some_of(section, "projects", projects),
        _some_of(section, "folders", folders),
        section.read("names", boolean, False),
    )


def read_metrics(main: Section) -> Metrics | None:
    """The section `metrics`."""
    node = main.get("metrics")
    if node is None or node.is_null:
        return None
    section = node.section()
    section.only(("textfile",))
    if "textfile" not in section:
        node.problem(
            "says no textfile", "name one in node_exporter's directory, such as textfile: /var/lib/node_exporter/dropcap.prom"
        )
    path = section.read("textfile", _prom, "")
    return Metrics(Path(absolute(path, section.entries["textfile"]))) if path else None


def _prom(text: str) -> str:
    if not place(text).endswith(".prom"):
        raise BadValueError(f"{quote(text)} does not end with .prom", "node_exporter reads no other files: name it dropcap.prom")
    return text


def read_dashboard(main: Section) -> Dashboard | None:
    """The section `dashboard`."""
    node = main.get("dashboard")
    if node is None or node.is_null:
        return None
    section = node.section()
    section.only(("listen", "secret_file", "secret_credential", "cert_file", "key_file", "origin"))
    host, port = section.read("listen", _listen, ("127.0.0.1", 8750))
    secret = _secret(section, "secret", "secret")
    files: dict[str, Any] = {}
    for key in ("cert_file", "key_file"):
        path = section.read_or_null(key, place)
        if path is not None:
            files[key] = Path(absolute(path, section.entries[key]))
    if "key_file" in files and "cert_file" not in files:
        section.entries["key_file"].problem("is a key without its certificate", "name that in cert_file")
    origin = section.read_or_null("origin", _origin)
    if not is_loopback(host) and "cert_file" not in files:
        section.entries["listen"].problem(
            "the page shows names of files and records, and would cross the network in clear text",
            "listen on 127.0.0.1 behind a proxy with TLS, or name a certificate in cert_file",
        )
    if host in _EVERYWHERE and origin is None:
        section.entries["listen"].problem(
            "the page has to know the address that people type", "name it in origin, such as https://dropcap.example.org:8750"
        )
    return Dashboard(host, port, secret, origin=origin, **files) if secret is not None else None


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


def read_expect(node: Node) -> Expect | None:
    """A folder's `expect`."""
    if node.is_null:
        return None
    section = node.section()
    section.only(("every", "days", "by"))
    every = section.read("every", duration(60, 366 * DAY), DAY)
    days = _listed(section, "days", _weekdays)
    by = section.read_or_null("by", _clock_time)
    return Expect(every, frozenset().union(*days) if days else frozenset(range(7)), by)


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


def _listed(section: Section, key: str, parse: Callable[[str], Any]) -> list[Any] | None:
    node = section.get(key)
    if node is None:
        return None
    entries = node.items() if isinstance(node.raw.value, list) else [node]
    return [value for entry in entries if (value := entry.value(parse)) is not None]


def _some_of(section: Section, key: str, known: Collection[str]) -> frozenset[str]:
    def one(text: str) -> str:
        if plain(text) not in known:
            raise BadValueError(
                f"there is no {key.removesuffix('s')} {quote(text)}",
                did_you_mean(text, known, "name one of: " + ", ".join(known)),
            )
        return text

    return frozenset(_listed(section, key, one) or ())
