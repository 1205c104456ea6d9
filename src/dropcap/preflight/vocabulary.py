"""What of a server's answer may leave the house: known words, headers and shapes. Never a value or a name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from email.message import Message
from typing import Any

from dropcap.redcap.parsing import error_text, file_name, has_xml_error, is_page, page_text

#: Stands for one or more words that are not known.
UNKNOWN = "…"
#: So many words of a message or page are told.
_MOST_WORDS = 60


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HEADERS = _words(
    """
    accept-ranges access-control-allow-origin age cache-control cf-cache-status cf-ray connection content-disposition
    content-encoding content-language content-length content-security-policy content-type date etag expires keep-alive
    last-modified location mime-version p3p permissions-policy pragma redcap-random-text referrer-policy retry-after server
    set-cookie strict-transport-security transfer-encoding upgrade vary via warning www-authenticate x-cache
    x-content-type-options x-frame-options x-powered-by x-request-id x-ua-compatible x-xss-protection
    """
)
_MEDIA = _words(
    """
    text/html text/plain text/csv text/xml application/json application/xml application/octet-stream application/pdf
    application/zip image/jpeg image/png utf-8 iso-8859-1 windows-1252 gzip deflate br chunked identity close keep-alive
    attachment inline apache nginx microsoft-iis cloudflare haproxy envoy litespeed bigip awselb caddy php asp.net
    """
)
#: Headers of whose value the known words are told; of the others only that they were there.
_TOLD = frozenset(
    {"connection", "content-disposition", "content-encoding", "content-type", "server", "transfer-encoding", "x-powered-by"}
)
#: Names in REDCap's own answers about data.
_COLUMNS = _words("record_id redcap_event_name redcap_repeat_instrument redcap_repeat_instance redcap_data_access_group")
_KNOWN = _words(
    """
    an the this that these those it its is are was were be been being has have had do does did done not no none nor and or but if
    then else than as at by for from in into of off on onto out over to under until up with within without your an our you we
    us there here when where which while who why how what any all some each every other another more most less least one two
    first last next new only also already again still yet now never always both either same such too very can cannot could may
    might must shall should will would please sorry
    redcap api token tokens super project projects user users username account rights right privilege privileges permission
    permissions permitted role roles group groups access export import update delete create edit read write view upload uploaded
    uploading download file files document documents field fields form forms instrument instruments event events arm arms
    repeating repeat repeated instance instances record records name named names data dictionary value values valid invalid
    parameter parameters provided method implemented content format type types array string number integer text json csv xml
    signature survey surveys longitudinal classic designated mapping repository folder log logging report status production
    development analysis cleanup completed inactive archived deleted moved locked unlock exist exists existing found missing
    required contain contains empty blank larger large size maximum minimum limit limits exceed exceeds exceeded exceeding
    allowed blocked extension extensions successfully success successful failed failure fail unable insufficient restricted
    incorrect correct formatted specified unknown expired suspended disabled enabled active identifier changed unique version
    error errors warning notice fatal exception occurred happened internal server service temporarily unavailable maintenance
    offline online down crashed unexpected php mysql database connect connection host hostname password login timeout timed
    gateway proxy request requests response entity many rate banned address ip abuse suspected security firewall application
    support reference denied forbidden unauthorized authorized authentication permanently redirect page pages site website
    web browser tabs multiple opened post bytes later contact administrator administrators system undergoing scheduled upgrade
    back soon minutes hours message help process memory exhausted execution time seconds disk space full granted
    """
)
_CAPITALISED = _words(
    """
    The This That There These You Your An It Is No Not Please One To If In We Our Sorry Error Warning Notice Fatal Invalid
    Unknown Missing Insufficient Unable Forbidden Denied Access Unauthorized Found Bad Request Too Many Internal Server Service
    Temporarily Unavailable Gateway Timeout Moved Entity Method Allowed Data Delete Record Import Update Export Create Project
    Design User Rights File Repository Login Maintenance System Security Support Redirect API PHP IP CSV XML JSON POST REDCap
    """
)


def known_words(text: str, hidden: Collection[str] = ()) -> str:
    """The known words of a text in lower case, in their order, with `…` for one or more others; `hidden` are not known."""
    told: list[str] = []
    for found in re.finditer(r"[\w-]+", text):
        word = found[0].strip("-")
        known = word.lower() in _KNOWN and word.lower() not in hidden and (word.islower() or word in _CAPITALISED)
        if known or told[-1:] != [UNKNOWN]:
            told.append(word.lower() if known else UNKNOWN)
        if len(told) == _MOST_WORDS:
            break
    return " ".join(told)


def known_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The known headers, each with the known parts of its value or `…`; all others together as `…`."""
    told = {}
    for name, value in headers.items():
        known = name.lower() if name.lower() in _HEADERS else UNKNOWN
        parts = re.findall(r"[\w./-]+", value.lower())
        kept = [part for part in (re.split(r"/(?=\d)", one)[0] for one in parts) if part in _MEDIA] if known in _TOLD else []
        told[known] = " ".join(kept) or UNKNOWN
    if file_name(headers) is not None:
        kind = Message()
        kind["Content-Type"] = headers.get("Content-Type") or ""
        told["file name"] = "in content-type" if kind.get_param("name") else "in content-disposition"
    return told


def shape_of(headers: Mapping[str, str], body: bytes, hidden: Collection[str] = ()) -> dict[str, Any]:
    """What kind of answer a body is. Of an error, a page or a text its known words are told, of data the kinds of its values."""
    text = body.decode("utf-8", "replace").strip().removeprefix("\ufeff")
    hidden = {word for one in hidden for word in re.findall(r"[\w-]+", one.lower())}
    if not text:
        return {"kind": "blank" if body else "empty"}
    if (error := error_text(text)) is not None:
        form = "json" if text.startswith("{") else "xml" if has_xml_error(text) else "csv"
        return {"kind": "error", "form": form, "words": known_words(error, hidden)}
    if is_page(headers, text):
        return {"kind": "page", "words": known_words(page_text(text), hidden)}
    try:
        data = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return {"kind": "text", "words": known_words(text, hidden)}
    rows = [data] if isinstance(data, dict) else data if isinstance(data, list) else []
    columns: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items() if isinstance(row, dict) else ():
            columns.setdefault(name if name in _COLUMNS else UNKNOWN, set()).add(_kind(value))
    return {"kind": "data", "rows": len(rows), "columns": {name: sorted(kinds) for name, kinds in columns.items()}}


def _kind(value: object) -> str:
    if value == "":
        return "blank"
    if value == "[document]":
        return "document"
    return "text" if isinstance(value, str) else "list" if isinstance(value, list | dict) else "number"
