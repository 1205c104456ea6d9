"""What may be told of a reply: its shape, lengths, and the known words of messages. Never a value or a name."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from redcap_sandbox.vocabulary import (
    CAPITALISED,
    CHARSETS,
    CHOICES,
    CODINGS,
    COLUMNS,
    CONTENTS,
    EXTENSIONS,
    HEADERS,
    MEDIA,
    METHODS,
    PARAMETERS,
    PROTOCOLS,
    SERVERS,
    TAGS,
    UNKNOWN,
    WORDS,
)

#: What a report is made of, beside what is known of HTTP and REDCap.
_OWN = """
n after asked answered failed method content action parameters others other_parameters other_headers
format return_format type headers body framing file
length extension place path query status seconds protocol media charset names_a_file server retry_after location shape decoded
complete coding same_as_sent kind form words unread columns rows tags names then password numbers bom own_header sent
api other multipart urlencoded none chunked close same-host other-host relative plain-http
empty blank version error object text broken page binary csv json xml null true false flag flag-text number digits list
document unread name refused certificate proxy tls timed-out reset cut no-http unreachable client-gone
"""
ALLOWED = frozenset(_OWN.split()) | METHODS | PARAMETERS | CONTENTS | CHOICES | HEADERS | MEDIA | CHARSETS | SERVERS | CODINGS
ALLOWED |= EXTENSIONS | PROTOCOLS | COLUMNS | TAGS | WORDS | {UNKNOWN}

#: So many words of a message or page are told.
MOST_WORDS = 60
#: A word with what may stand within one. Underscores and digits belong to names.
_WORD = re.compile(r"[\w-]+")
_VERSION = re.compile(r"\s*([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{1,2})\s*", re.ASCII)
_HTML = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|br|b|p|h1|title)\b", re.IGNORECASE | re.DOTALL)
_ERROR = re.compile(r"\s*ERROR:", re.ASCII)

Shape = dict[str, Any]


def shape_of(body: bytes, asked: str, form: str, hidden: Collection[str]) -> Shape:
    """The shape of a reply to `content=asked` in the format `form`. `hidden`: words of the request's own values, not told.

    What stands in an error, a page or a text is told by its known words alone; of data only of what kind it is.
    """
    bom = body.startswith(b"\xef\xbb\xbf")
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    found = _shape(text, asked, form, frozenset(word.lower() for word in hidden))
    return {"bom": True, **found} if bom else found


def _shape(text: str, asked: str, form: str, hidden: frozenset[str]) -> Shape:
    if not text.strip():
        return {"kind": "blank" if text else "empty"}
    if asked == "version" and (numbers := _VERSION.fullmatch(text)):
        return {"kind": "version", "numbers": [int(number) for number in numbers.groups()]}
    if text.lstrip()[0] in "{[":
        return _json(text, hidden)
    if _HTML.match(text):
        return _page(text, form, hidden)
    if text.lstrip().startswith("<"):
        return _xml(text, hidden)
    if _ERROR.match(text):
        return {"kind": "error", "form": "csv", "words": known_words(text.partition(":")[2], hidden)}
    if form == "csv":
        return _csv(text)
    return {"kind": "text", "words": known_words(text, hidden)}


def known_words(text: str, hidden: Collection[str]) -> str:
    """The known words of a text in lower case, in their order, with `…` for one or more others."""
    told: list[str] = []
    for found in _WORD.finditer(text):
        word = found[0].strip("-")
        known = word.lower() in WORDS and word.lower() not in hidden and (word.islower() or word in CAPITALISED)
        if known or told[-1:] != [UNKNOWN]:
            told.append(word.lower() if known else UNKNOWN)
        if len(told) > MOST_WORDS:
            break
    return " ".join(told[:MOST_WORDS])


def _json(text: str, hidden: frozenset[str]) -> Shape:
    try:
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return {"kind": "broken", "form": "json"}
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        return {"kind": "error", "form": "json", "words": known_words(value["error"], hidden), "columns": _columns([value])}
    if isinstance(value, dict):
        shape: Shape = {"kind": "object", "form": "json", "columns": _columns([value])}
        if isinstance(value.get("message"), str):
            shape["words"] = known_words(value["message"], hidden)
        return shape
    rows = [row for row in value if isinstance(row, dict)]
    return {"kind": "rows", "form": "json", "rows": len(value), "others": len(value) - len(rows), "columns": _columns(rows)}


def _columns(rows: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """The kinds of value under each name of REDCap's own; all other names together, as `…`."""
    kinds: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            kinds.setdefault(name if name in COLUMNS else UNKNOWN, set()).add(_kind(value))
    return {name: sorted(found) for name, found in kinds.items()}


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return "flag" if value in (0, 1) else "number"
    if isinstance(value, str):
        if value in ("", "0", "1", "[document]"):
            return {"": "blank", "[document]": "document"}.get(value, "flag-text")
        return "digits" if re.fullmatch(r"[0-9]+", value, re.ASCII) else "text"
    return "list" if isinstance(value, list) else "object"


def _xml(text: str, hidden: frozenset[str]) -> Shape:
    try:
        root = ElementTree.fromstring(text.strip().encode())
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return {"kind": "broken", "form": "xml"}
    names = sorted({element.tag if element.tag in TAGS | COLUMNS else UNKNOWN for element in root.iter()})
    error = root.find("error") if root.tag != "error" else root
    if error is not None:
        return {"kind": "error", "form": "xml", "words": known_words("".join(error.itertext()), hidden), "tags": names}
    return {"kind": "rows", "form": "xml", "rows": len(root), "tags": names}


def _csv(text: str) -> Shape:
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return {"kind": "broken", "form": "csv"}
    names = [name if name in COLUMNS else UNKNOWN for name in rows[0]]
    return {"kind": "rows", "form": "csv", "rows": len(rows) - 1, "names": list(dict.fromkeys(names))}


def _page(text: str, form: str, hidden: frozenset[str]) -> Shape:
    """A page, or a warning before something else: data, perhaps, of which no word is told."""
    text = re.sub(r"(?is)<(script|style)\b.*?(?:</\1\s*>|$)", r" <\1> ", text)
    if form == "csv" and not text.rstrip().lower().endswith("</html>"):
        return {"kind": "page", "then": {"kind": "unread"}}
    begins = [found.start() for found in re.finditer(r'<\?xml|[{\[]\s*["{]', text)]
    page, rest = (text[: begins[0]], text[begins[0] :]) if begins else (text, "")
    visible = html.unescape(re.sub(r"<[^>]*>", " ", page))
    tags = {name.lower() for name in re.findall(r"<([A-Za-z][A-Za-z0-9]{0,9})\b", page)}
    shape: Shape = {"kind": "page", "tags": sorted(tags & TAGS), "words": known_words(visible, hidden)}
    if re.search(r"(?i)<input[^>]{0,300}type\s*=\s*[\"']?password", page):
        shape["password"] = True
    if rest:
        shape["then"] = _shape(rest, "", form, hidden)
    return shape


def gate(value: Any) -> Any:
    """What may be written of a value: numbers, yes and no, and texts by their known words. Everything else is `…`."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return " ".join(word if word in ALLOWED else UNKNOWN for word in value.split(" ")) if value else value
    if isinstance(value, Mapping):
        return {gate(str(name)): gate(inner) for name, inner in value.items()}
    return [gate(inner) for inner in value]
