"""What stands in a reply's head and body. Pure; only a date in Retry-After needs the clock."""

from __future__ import annotations

import contextlib
import html
import json
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping
from email.message import Message
from email.utils import parsedate_to_datetime
from urllib.parse import quote, quote_plus

from dropcap.display import shown
from dropcap.secret import without_tokens

_CODE = re.compile(r"<(script|style)\b", re.IGNORECASE)
_CODE_ENDS = {kind: re.compile(rf"</{kind}\s*>", re.IGNORECASE) for kind in ("script", "style")}

#: More of what a server says is not read: people are shown a few hundred characters.
_READ_AT_MOST = 8192


def error_text(text: str) -> str | None:
    """REDCap's error message in a JSON, XML or CSV body; None if the body is none of REDCap's errors."""
    text = text.strip()
    if text.startswith("{"):
        try:
            parsed = json.loads(text, strict=False)  # REDCap leaves line breaks in its strings
        except (ValueError, RecursionError):
            return None
        error = parsed.get("error")
        return None if error is None else error if isinstance(error, str) else json.dumps(error)
    if found := re.match(r"(?:<\?xml[^>]*\?>)?\s*<hash>\s*<error>(.*?)</error>", text, re.DOTALL | re.IGNORECASE):
        inner = re.sub(r"^\s*<!\[CDATA\[(.*?)\]\]>\s*$", r"\1", found.group(1), flags=re.DOTALL)
        return html.unescape(inner)
    if text.startswith("ERROR:"):
        return text.removeprefix("ERROR:").strip()
    return None


def has_xml_error(text: str) -> bool:
    """Whether a body has an error of REDCap's in XML, perhaps behind PHP warnings."""
    return re.search(r"<hash>\s*<error>", text, re.IGNORECASE) is not None


def says_success(text: str) -> bool | None:
    """Whether a JSON body says that the call succeeded, as REDCap's page on Import File documents it; None if it says nothing
    of success. Said twice, or with an error beside it, it is none.
    """
    if not text.startswith("{"):
        return None
    try:
        pairs = json.loads(text, strict=False, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    said = [value for key, value in pairs if key == "success"]
    return (said == [True] and said[0] is True and all(key != "error" for key, _ in pairs)) if said else None


def file_name(headers: Mapping[str, str]) -> str | None:
    """The name that marks an export's reply as the file; None without one.

    It stands in `Content-Type: TYPE; name="NAME"`, or, where that has none, in `Content-Disposition: …; filename="NAME"`, which
    Vanderbilt's api-sync-module reads. HTTP libraries read headers as Latin-1; REDCap writes them in UTF-8.
    """
    for header, parameter in (("Content-Type", "name"), ("Content-Disposition", "filename")):
        value = headers.get(header) or ""
        with contextlib.suppress(UnicodeError):
            value = value.encode("latin-1").decode("utf-8")
        if found := re.search(rf';\s*{parameter}\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))', value, re.IGNORECASE):
            quoted, bare = found.groups()
            return re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else str(bare)
    return None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds that `Retry-After` asks for, given as a number or a date; None without a usable one."""
    value = (headers.get("Retry-After") or "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
        return max(0.0, when.timestamp() - (time.time() if now is None else now))
    except (ValueError, TypeError, OverflowError):
        return None


def readable(text: str) -> str:
    """The beginning of `text` on one line, without tokens and markup of entities, with control and bidi characters escaped."""
    if not text:  # as REDCap's reply to each import
        return ""
    return shown(" ".join(html.unescape(without_tokens(text[:_READ_AT_MOST])).split()))


def is_page(headers: Mapping[str, str], text: str) -> bool:
    """An HTML page, by what it says or by what it is. REDCap labels its own (empty) replies text/html too."""
    beginning = text[:1024].lower()
    if beginning.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in beginning:
        return True
    if not text.startswith("<"):
        return False
    kind = Message()
    kind["Content-Type"] = headers.get("Content-Type") or ""
    return kind.get_content_type() in ("text/html", "application/xhtml+xml")


def page_text(page: str) -> str:
    """What a person would read first in a page: its title and the beginning of its text."""
    page = re.sub(r"</title\s*>", ": ", _without_code(page), flags=re.IGNORECASE)
    end = page.rfind(">") + 1  # a tag that does not end is none; to look for the end of each one takes long
    return re.sub(r"<[^>]*>", " ", page[:end]) + page[end:]


def _without_code(page: str) -> str:
    """`page` without its scripts and styles, in linear time."""
    kept: list[str] = []
    at = 0
    unclosed: set[str] = set()
    for begin in _CODE.finditer(page):
        kind = begin[1].lower()
        if begin.start() < at or kind in unclosed:
            continue
        end = _CODE_ENDS[kind].search(page, begin.end())
        if end is None:
            unclosed.add(kind)
        else:
            kept += (page[at : begin.start()], " ")
            at = end.end()
    return "".join(kept) + page[at:]


#: Shorter values stand in ordinary words too (record `no`, instance 1): they are blanked only between quotes.
SHORT = 4
_BLANK = "…"
_QUOTES = "\"'`‘’“”„«»"


def blanked(said: str, values: Iterable[str]) -> str:
    """`said` in lower case and on one line, with `…` in the place of each of `values`, plain or escaped, where it stands as a
    word of its own."""
    text = " ".join(html.unescape(unicodedata.normalize("NFC", said)).split()).casefold()
    forms = {form for value in values if value.strip() for form in _forms(value)}
    for form in sorted(forms, key=len, reverse=True):
        if form not in text:
            continue
        if len(form) < SHORT:
            pattern = rf"(?<=[{_QUOTES}])\s*{re.escape(form)}\s*(?=[{_QUOTES}])"
        else:
            pattern = ("(?<!\\w)" if form[0].isalnum() else "") + re.escape(form) + ("(?!\\w)" if form[-1].isalnum() else "")
        text = re.sub(pattern, _BLANK, text)
    return text


def _forms(value: str) -> set[str]:
    """A value as servers repeat it: as JSON, in a URL, with entities taken for characters, with slashes before quotes."""
    plain = " ".join(unicodedata.normalize("NFC", value).split()).casefold()
    forms = {plain, " ".join(html.unescape(plain).split()), plain.replace("'", "\\'").replace('"', '\\"')}
    forms |= {json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1].replace("/", "\\/")}
    forms.add(re.sub(r"[^a-z0-9._-]", "_", plain))  # as REDCap writes the names of files
    forms |= {quote(plain, safe="").casefold(), quote_plus(plain).casefold()}
    return {form for form in forms if form}
