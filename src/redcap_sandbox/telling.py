"""What is told of an exchange: who asked for what kind of thing, and what the answer looked like. `recording` is the gate."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from redcap_sandbox.multipart import Post
from redcap_sandbox.passing import LOOKED_AT, Answer, Passing
from redcap_sandbox.shape import shape_of
from redcap_sandbox.upstream import Upstream
from redcap_sandbox.vocabulary import (
    CHARSETS,
    CHOICES,
    CODINGS,
    CONTENTS,
    EXTENSIONS,
    HEADERS,
    MEDIA,
    METHODS,
    PARAMETERS,
    PROTOCOL,
    SERVERS,
)

#: A wait that is told is told as the least of these that it does not exceed.
_WAITS = (1, 10, 60, 300, 900, 3600, 86400)
_OTHER = "other"
#: So many words of names of records are kept from being told.
_REMEMBERED = 100_000


class Teller:
    """Tells exchanges of one run. Files and places are known again, by numbers that begin with 1. Safe for threads."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._places: dict[tuple[str, ...], int] = {}
        self._sent: set[str] = set()
        self._records: set[str] = set()  # words of the names of records that were asked about in this run

    def told(self, passing: Passing) -> dict[str, Any]:
        """The entry for an exchange that is over."""
        entry: dict[str, Any] = {"asked": self._asked(passing)}
        if passing.answer is not None:
            entry["answered"] = self._answered(passing, passing.answer)
        if passing.failed:
            entry["failed"] = passing.failed
        return entry

    def _asked(self, passing: Passing) -> dict[str, Any]:
        exchange, post = passing.exchange, passing.post
        names = {*post.fields, *post.files}
        told: dict[str, Any] = {
            "method": _one_of(exchange.method, METHODS),
            "content": _one_of(post.text("content"), CONTENTS),
            "action": _one_of(post.text("action"), CHOICES),
            "format": _one_of(post.text("format"), CHOICES),
            "return_format": _one_of(post.text("returnFormat"), CHOICES),
            "parameters": sorted(names & PARAMETERS),
            "other_parameters": len(names - PARAMETERS),
            **_headers(name for name, _ in exchange.headers()),
            "media": _one_of(exchange.content_type.partition(";")[0].strip().lower(), MEDIA),
            "framing": "chunked" if exchange.length is None else "length",
            "body": exchange.body.size,
            "sent": passing.sent,
        }
        if exchange.query:
            told["query"] = True
        for posted in list(post.files.values())[:1]:
            _, dot, extension = posted.name.rpartition(".")
            told["file"] = {"length": posted.upload.size, "extension": _one_of(extension.lower() if dot else "none", EXTENSIONS)}
            with self._lock:
                self._sent.add(posted.upload.sha256)
        if place := self._place(post):
            told["place"] = place
        return told

    def _place(self, post: Post) -> int:
        place = tuple(post.text(name) for name in ("record", "event", "field", "repeat_instance"))
        if not any(place):
            return 0
        with self._lock:
            return self._places.setdefault(place, len(self._places) + 1)

    def _answered(self, passing: Passing, answer: Answer) -> dict[str, Any]:
        media = answer.header("content-type")
        charset = re.search(r"charset\s*=\s*[\"']?([\w-]{1,20})", media, re.IGNORECASE)
        told: dict[str, Any] = {
            "status": answer.status if answer.status in _STATUSES else _OTHER,
            "protocol": {10: "HTTP/1.0", 11: "HTTP/1.1"}.get(answer.protocol, _OTHER),
            "seconds": round(answer.seconds, 2),
            **_headers(name for name, _ in answer.headers),
            "media": _one_of(media.partition(";")[0].strip().lower(), MEDIA),
            "charset": _one_of(charset[1].lower() if charset else "none", CHARSETS),
            "framing": "chunked" if answer.chunked else "close" if answer.announced is None else "length",
            "length": answer.length,
            "complete": answer.complete,
            "own_header": bool(answer.header("redcap-random-text")),
        }
        if "name=" in media.lower() or "filename" in answer.header("content-disposition").lower():
            told["names_a_file"] = True
        if server := answer.header("server"):
            told["server"] = _one_of(re.split(r"[/ ]", server.lower())[0], SERVERS)
        if wait := answer.header("retry-after"):
            told["retry_after"] = _wait(wait)
        if location := answer.header("location"):
            told["location"] = self._where(location)
        if coding := answer.header("content-encoding"):
            told["coding"] = _one_of(coding.lower(), CODINGS)
        told["shape"] = self._shape(passing.post, answer)
        return told

    def _shape(self, post: Post, answer: Answer) -> dict[str, Any]:
        """The shape of the answer; of a file that was exported only whether it is one that was sent in this run."""
        if post.text("content") == "file" and post.text("action") == "export" and answer.status == HTTPStatus.OK:
            with self._lock:
                return {"kind": "file", "same_as_sent": answer.sha256 in self._sent}
        body = _decoded(bytes(answer.head), answer.header("content-encoding").lower())
        if body is None or answer.length > LOOKED_AT or not answer.complete:
            return {"kind": "unread"}
        form = post.text("format").lower() or "xml"
        with self._lock:
            if len(self._records) < _REMEMBERED:
                self._records.update(_record_words(post))
            hidden = {*_private(post), *self._records}
        return shape_of(body, post.text("content"), form, hidden)

    def _where(self, location: str) -> str:
        parts = urlsplit(location)
        if not parts.netloc:
            return "relative"
        host = "same-host" if parts.hostname == self._upstream.host else "other-host"
        return host + (" plain-http" if parts.scheme == "http" else "")


_STATUSES = {status.value for status in HTTPStatus} | set(range(520, 531))


def _one_of(value: str, known: Iterable[str]) -> str:
    return value if value in known else _OTHER if value else "none"


def _headers(names: Iterable[str]) -> dict[str, Any]:
    found = [name.lower() for name in names]
    return {"headers": sorted(set(found) & HEADERS), "other_headers": sum(name not in HEADERS for name in found)}


def _wait(text: str) -> int | str:
    if not re.fullmatch(r"[0-9]{1,6}", text.strip(), re.ASCII):
        return _OTHER
    return next((step for step in _WAITS if int(text) <= step), _WAITS[-1])


def _decoded(body: bytes, coding: str) -> bytes | None:
    """The body without its coding, at most as much as is looked at; None if that cannot be had."""
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "deflate"):
        return None
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, LOOKED_AT)
    except zlib.error:
        return None


def _record_words(post: Post) -> Iterator[str]:
    """The words that names of records are made of: they may be names of people."""
    for name in [*post.array("records"), post.text("record")]:
        yield from re.findall(r"[^\W_]+", name[:1000])


def _private(post: Post) -> Iterator[str]:
    """The words of all that a request says of its own: names, values, the file's name."""
    for name, value in post.fields.items():
        if name in PROTOCOL:
            continue
        for text in value.values() if isinstance(value, dict) else (value,):
            yield from re.findall(r"[\w-]+", text[:100_000])
    for posted in post.files.values():
        yield from re.findall(r"[^\W_]+", posted.name)
