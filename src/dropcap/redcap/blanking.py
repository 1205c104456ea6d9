"""What a server says, without the values that it was asked with: they are data, and may read like anything."""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

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
