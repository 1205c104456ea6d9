"""Single values: the text of a YAML scalar -> what it means. The text, not YAML's reading of it: to YAML 1.1 `0660` is
432, `1:30` is 90 and `no` is false, and none of them would be what was meant."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

from dropcap.display import shown

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
_DURATION = re.compile(rf"{_NUMBER}\s*(ms|s|m|h|d)?", re.ASCII)
_SIZE = re.compile(rf"{_NUMBER}\s*([KMGT]i?B|B)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"[0-9]{1,15}", re.ASCII)
_MODE = re.compile(r"(?:0o?)?([0-7]{3})", re.ASCII)
_SECRET = re.compile(r"[0-9A-Fa-f]{32,}", re.ASCII)
_NAME = re.compile(r"\w(?:[\w .-]{0,62}[\w-])?")

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LONGEST_SHOWN = 60

#: What word processors write in the place of " and '.
OPENING_QUOTES = "“„‟«‘‚‹”’"
CLOSING_QUOTES = "”“»’‘›"

DAY = 86400.0
TIB = 1024**4

_Choice = TypeVar("_Choice", bound=StrEnum)


class BadValueError(ValueError):
    """A value that cannot be: what is wrong, and what to do. Holds no token."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message = message
        self.remedy = remedy


def quote(text: str) -> str:
    """`text` as it can stand in a message: short, escaped, and with nothing that looks like a token."""
    if _SECRET.search(text):
        return "(something that looks like a token)"
    short = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return f"`{shown(short)}`"


def masked(text: str) -> str:
    """`text`, escaped, and with stars in place of what looks like a token."""
    return _SECRET.sub("***", shown(text))


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy: the known word that is nearest, else `otherwise`."""
    near = get_close_matches(word, list(known), n=1)
    return f"did you mean `{near[0]}`?" if near else otherwise


def plain(text: str) -> str:
    """Text that is not empty."""
    if not text.strip():
        raise BadValueError("is empty", "write a value, or take the key out")
    return text


def duration(low: float, high: float) -> Callable[[str], float]:
    """A reader of durations, in seconds, from `low` to `high`."""

    def read(text: str) -> float:
        found = _DURATION.fullmatch(text.strip())
        if not found:
            raise BadValueError(f"{quote(text)} is not a duration", "write it as 500ms, 2s, 5m, 1h or 7d")
        seconds = float(found.group(1)) * _SECONDS[found.group(2) or "s"]
        if not low <= seconds <= high:
            raise BadValueError(f"{quote(text)} is out of range", f"it can be {_said(low)} to {_said(high)}")
        return seconds

    return read


def _said(seconds: float) -> str:
    """A duration as it is written in the configuration."""
    unit = next((unit for unit in ("d", "h", "m") if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds / _SECONDS[unit]:g}{unit}"


def age(low: float) -> Callable[[str], float | None]:
    """A reader of the time for which something is kept, in seconds, from `low` on; None: for ever."""
    read_duration = duration(low, 100 * 366 * DAY)

    def read(text: str) -> float | None:
        return None if text.strip() == "forever" else read_duration(text)

    return read


def size(low: int, high: int) -> Callable[[str], int]:
    """A reader of sizes, in bytes, from `low` to `high`. `kB` is 1000 bytes, `KiB` is 1024."""

    def read(text: str) -> int:
        found = _SIZE.fullmatch(text.strip())
        if not found:
            raise BadValueError(f"{quote(text)} is not a size", "write it as 10 KiB, 64MiB or 1GB")
        unit = (found.group(2) or "b").lower()
        factor: int = (1024 if "i" in unit else 1000) ** _POWERS[unit[0]]
        number = round(float(found.group(1)) * factor)
        if not low <= number <= high:
            raise BadValueError(f"{quote(text)} is out of range", f"it can be {low} to {high} bytes")
        return number

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        found = _WHOLE.fullmatch(text.strip())  # which takes more for blanks than `int` does
        number = int(found[0]) if found else -1
        if not low <= number <= high:
            raise BadValueError(f"{quote(text)} is not possible", f"write a whole number from {low} to {high}")
        return number

    return read


def boolean(text: str) -> bool:
    """`true` or `false`, and the other words that YAML 1.1 has for them."""
    word = text.strip().lower()
    if word in ("true", "yes", "on"):
        return True
    if word in ("false", "no", "off"):
        return False
    raise BadValueError(f"{quote(text)} is neither true nor false", "write true or false")


def word_of(*words: str) -> Callable[[str], str]:
    """A reader of one of `words`."""

    def read(text: str) -> str:
        if text.strip() in words:
            return text.strip()
        raise BadValueError(f"{quote(text)} is not possible", "write " + " or ".join(words))

    return read


def choice(kind: type[_Choice]) -> Callable[[str], _Choice]:
    """A reader of one of the words of `kind`."""
    read_word = word_of(*(member.value for member in kind))

    def read(text: str) -> _Choice:
        return kind(read_word(text))

    return read


def mode(text: str) -> int:
    """Permissions as chmod takes them, in octal: `0660` and `660` are the same."""
    found = _MODE.fullmatch(text.strip())
    if not found:
        raise BadValueError(f"{quote(text)} is not a file mode", 'write three octal digits, such as "0660"')
    bits = int(found.group(1), 8)
    if bits & 0o600 != 0o600:
        raise BadValueError(f"with mode {quote(text)} the owner could not read and write the file", 'use at least "0600"')
    return bits


def name(text: str) -> str:
    """The name of a project or folder, as it stands in the log and on command lines."""
    if not _NAME.fullmatch(text):
        raise BadValueError(
            f"{quote(text)} cannot be a name", "use up to 64 letters, digits, `_` `-` `.` and spaces, none at an end"
        )
    return text


def place(text: str) -> str:
    """A path, an environment variable or a credential: anything but a token itself."""
    if _SECRET.fullmatch(text.strip()):
        raise BadValueError("this looks like a token itself", "write it into a file with mode 0600 and name the file here")
    if text.startswith("~"):
        raise BadValueError(f"{quote(text)} begins with `~`, which only shells follow", "write the whole path")
    if "\0" in text or not text.isprintable():
        raise BadValueError(f"{quote(text)} has a control character", "take it out")
    return plain(text)


def credential(text: str) -> str:
    """The name of a systemd credential."""
    if "/" in text or text in (".", ".."):
        raise BadValueError(f"{quote(text)} is not the name of a credential", "name it as LoadCredential= does, no path")
    return place(text)


def variable(text: str) -> str:
    """The name of an environment variable."""
    place(text)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text, re.ASCII):
        raise BadValueError(f"{quote(text)} is not the name of an environment variable", "such as REDCAP_TOKEN")
    return text


def extension(text: str) -> str:
    """A file name extension, in lower case, without its dot."""
    word = text.strip().lower().removeprefix(".")
    if not word or "/" in word or "*" in word or " " in word:
        raise BadValueError(f"{quote(text)} is not an extension", "write it as exe")
    return word


def api_url(allow_http: bool) -> Callable[[str], str]:
    """A reader of the address of REDCap's API. A token goes there, so it is `https`, but for this very machine or
    with `allow_http`."""

    def read(text: str) -> str:
        url = text.strip()
        if "@" in url:  # not shown: it may hold a password
            raise BadValueError("the address holds a user or a password", "take everything before the `@` out")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
            (host or "").encode("idna")  # a part that is empty or too long is no name of a server
        except ValueError:
            parts, host = None, None
        if parts is None or not host or parts.scheme not in ("http", "https") or re.search(r"[\s\\]", url):
            raise BadValueError(f"{quote(url)} is not a web address", "write it as https://redcap.example.org/api/")
        if "?" in url or "#" in url:
            raise BadValueError("the address has a `?` or a `#`", "end it with /api/")
        if not parts.path.endswith(("/api", "/api/")):
            raise BadValueError(f"{quote(url)} is not the API", "the address of REDCap's API ends with /api/")
        if parts.scheme == "http" and not allow_http and not is_loopback(host):
            raise BadValueError(
                "the token and the files would cross the network in clear text",
                "use https://, or set allow_http: true if something else protects the connection",
            )
        return url if url.endswith("/") else url + "/"

    return read


def is_loopback(host: str) -> bool:
    """Whether the host is this very machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
