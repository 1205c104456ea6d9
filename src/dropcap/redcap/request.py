"""One request to REDCap's API: within the limit, with the token, its body streamed, and its reply judged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol
from urllib.parse import urlencode

from dropcap.reasons import Reason
from dropcap.redcap.connect import DIRECT, ConnectionSettings
from dropcap.redcap.parsing import readable
from dropcap.redcap.reply import Asked, Dialect, Meaning, Verdict, no_reply, read_reply
from dropcap.redcap.transport import ExchangeFailed, Reply, Timeouts, Transport
from dropcap.redcap.window import Allowance, Stopped
from dropcap.secret import Token, without_tokens
from dropcap.threads import begin

#: More of an answer than this that is no data is not read.
MAX_WORDS = 64 * 1024
#: A larger answer than this is not read. One about 100 records has some kilobytes, a list of very many records some megabytes.
MAX_JSON = 32 * 1024**2
_FORM = "application/x-www-form-urlencoded"

#: What is sent: as one piece or in several, its length, and its content type.
Body = tuple[bytes | Iterable[bytes | memoryview], int, str]


class RedcapError(Exception):
    """A request that did not do what was asked; `meaning` says what it proves."""

    def __init__(self, meaning: Meaning) -> None:
        super().__init__(meaning.message)
        self.meaning = meaning


class NoFile(RedcapError):  # noqa: N818 - a state of the field, often no error at all
    """REDCap says that the field holds no file."""


class TooMuch(RedcapError):  # noqa: N818 - the question's fault
    """The answer is larger than `MAX_JSON`."""


class OtherToken(Stopped):
    """The token is another one than that of which it is known whose it is: nothing was asked with it."""

    said = "the project has another token now: REDCap is asked first whose it is"


class Requester:
    """Makes requests to one address with one token. May be shared by threads.

    Once it is known whose a token is (`trust`), nothing is asked of records, files and fields with another one: `OtherToken`.

    Every method that asks raises `RedcapError` (where an answer is too large, `TooMuch`), `window.Stopped` where a stop can be
    given, and whatever `token` raises.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], Token],
        window: Allowance,
        *,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - it is frozen
        connection: ConnectionSettings = DIRECT,
        pool: int = 8,
    ) -> None:
        self.token = token  # as it is now
        self._trusted: Token | None = None
        self.trusts = False  # whether it is known whose the token is, as far as anybody has noticed
        self._window = window
        self.heard: float | None = None  # when the server (or somebody before it) answered last, since the epoch
        self.ahead: float | None = None  # by how much our clock was ahead of that one's then; None if it did not tell the time
        self.dialect = Dialect()
        self._transport = Transport(url, timeouts, connection, pool)

    @property
    def waiting(self) -> frozenset[int]:
        """The threads that wait for the request limit."""
        return frozenset(self._window.waiting.copy())

    @property
    def room_at(self) -> float | None:
        """When the request limit lets the next request go (seconds since the epoch); None while nobody waits for it."""
        return self._window.room_at if self._window.waiting else None

    def used(self) -> tuple[int, int]:
        """How many requests the host has had within the last minute, and how many it may have (0: no limit)."""
        return self._window.used(), self._window.per_minute

    def close(self) -> None:
        """Close all idle connections."""
        self._transport.close()

    def trust(self, token: Token) -> None:
        """It is known whose that is."""
        self._trusted, self.trusts = token, True

    def _trusted_token(self) -> Token:
        token = self.token()
        if self._trusted not in (None, token):
            self.trusts = False
            raise OtherToken(OtherToken.said)
        return token

    def _with_token(self, fields: Iterable[tuple[str, str]], token: Token | None = None) -> list[tuple[str, str]]:
        """All fields of a request: the token's, these, and the one that says how REDCap is to answer."""
        return [("token", (token or self._trusted_token()).reveal()), *fields, ("returnFormat", "json")]

    def _rows(self, asked: dict[str, str], stop: threading.Event | None = None) -> list[dict[str, Any]]:
        rows = self._json(asked, stop)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RedcapError(not_the_api(f"the server returned something other than the {asked['content']}"))
        return rows

    def _some_rows(self, asked: dict[str, str], stop: threading.Event | None = None) -> list[dict[str, Any]]:
        rows = self._rows(asked, stop)
        if not rows:  # believed, it would refuse every file for want of its field or event
            raise RedcapError(
                no_reply(for_="json", request_began=True, reason=Reason.SERVER_ERROR, message=_nothing(asked["content"]))
            )
        return rows

    def _json(self, asked: dict[str, str], stop: threading.Event | None = None, token: Token | None = None) -> Any:
        words = self._ask(asked | {"format": "json"}, stop, token)
        try:
            return json.loads(words)
        except (ValueError, RecursionError):
            beginning = readable(words[:MAX_WORDS].decode("utf-8", "replace"))[:200]
            raise RedcapError(
                not_the_api(f"the server returned the {asked['content']} in something other than JSON: {beginning}")
            ) from None

    def _ask(self, asked: dict[str, str], stop: threading.Event | None, token: Token | None = None) -> bytes:
        """`token`: not only the one that is trusted."""
        with self._exchange(lambda: form(self._with_token(asked.items(), token)), "json", stop) as reply:
            words, ended = reply.read(MAX_JSON)
            if len(words) == MAX_JSON and reply.status == 200 and not ended:
                raise TooMuch(_too_much(asked["content"]))
            # Without a length or chunks (an old proxy) the end of the connection is the end of the reply: data that is
            # whole by its own grammar is whole.
            self._judge(reply, words, "json", ended if reply.framed else _is_whole(words), _data_values(asked))
            return words

    @contextmanager
    def _exchange(
        self,
        body: Callable[[], Body],
        for_: Asked,
        stop: threading.Event | None,
        *,
        rewindable: bool = True,
    ) -> Iterator[Reply]:
        """Make the request within the limit; once more if only an idle connection had been closed by the server.

        An import is made again only if none of its bytes had left.
        """
        for attempt in (1, 2):
            self._wait_for_room(stop, for_)
            answered = False
            try:
                with self._transport.post(*body(), stop=stop, ready=partial(self._about_to_begin, stop, for_)) as reply:
                    answered = True
                    self.heard = time.time()
                    self.ahead = _ahead(self.heard, reply.headers.get("Date"))
                    yield reply
                return
            except ExchangeFailed as failed:
                if failed.stopped:
                    raise Stopped("stopped while a request was under way", failed.began and for_ == "import") from None
                harmless = not failed.began or for_ != "import"
                if attempt == 1 and failed.again and not answered and harmless and rewindable:
                    continue
                meaning = no_reply(
                    for_=for_,
                    request_began=failed.began,
                    reason=failed.reason,
                    message=without_tokens(str(failed)),
                    remedy=failed.remedy,
                )
                raise RedcapError(meaning) from failed

    def _wait_for_room(self, stop: threading.Event | None, for_: Asked) -> None:
        try:
            self._window.acquire(stop)
        except OSError as error:
            message = f"the request limit cannot be kept: its file in state_dir cannot be written ({error.strerror or error})"
            remedy = "make room on the disk of state_dir, or let dropcap's user write there; dropcap goes on by itself"
            raise RedcapError(
                no_reply(for_=for_, request_began=False, reason=Reason.NO_SPACE, message=message, remedy=remedy)
            ) from error

    def _about_to_begin(self, stop: threading.Event | None, for_: Asked) -> None:
        """Between the grant and the first byte this process may have connected for long, or been stopped."""
        if stop is not None and stop.is_set():
            raise Stopped("stopped before the request began")
        if not self._window.fresh():
            self._wait_for_room(stop, for_)

    def _judge(self, reply: Reply, words: bytes, for_: Asked, complete: bool, asked_with: Iterable[str] = ()) -> None:
        meaning = read_reply(
            reply.status,
            reply.headers,
            words,
            for_=for_,
            body_complete=complete,
            request_complete=reply.request_complete,
            asked_with=asked_with,
        )
        self.dialect.heard(meaning, for_)
        if meaning.verdict is Verdict.ACCEPTED and not reply.request_complete:
            raise RedcapError(
                no_reply(
                    for_=for_,
                    request_began=True,
                    reason=Reason.NOT_CONFIRMED,
                    message="the server answered before it had the whole file",
                )
            )
        if meaning.reason == Reason.NO_FILE:
            raise NoFile(meaning)
        if meaning.verdict is not Verdict.ACCEPTED:
            raise RedcapError(meaning)


def _ahead(now: float, date: str | None) -> float | None:
    """By how many seconds `now` is ahead of the time that a server tells."""
    try:
        told = parsedate_to_datetime(date or "")
        return now - (told if told.tzinfo is not None else told.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def form(fields: list[tuple[str, str]]) -> Body:
    """The fields as a form's body."""
    body = urlencode(fields).encode()
    return body, len(body), _FORM


def _data_values(asked: dict[str, str]) -> list[str]:
    """Whatever of a question comes from names of files or from records."""
    values = [value for key, value in asked.items() if key.startswith(("records[", "fields[", "events["))]
    for quoted in re.findall(r"'([^']*)'|\"([^\"]*)\"", asked.get("filterLogic", "")):
        values += quoted
    for row in json.loads(asked.get("data", "[]")):
        values += row.values()
    return values


def _is_whole(words: bytes) -> bool:
    try:
        return isinstance(json.loads(words), list | dict) or words[:1].isdigit()
    except (ValueError, RecursionError):
        return words[:1].isdigit()  # REDCap's version


def _too_much(content: str) -> Meaning:
    return Meaning(
        Verdict.REFUSED,
        Reason.REFUSED,
        f"REDCap's answer about the {content} is larger than {MAX_JSON // 1024**2} MiB, and was not read",
        "look in REDCap which fields or repeat instances hold so much; a rule that needs less of a record asks for less",
    )


def _nothing(content: str) -> str:
    return f"REDCap returned no {content} for this project, and every such project has some"


def not_the_api(message: str) -> Meaning:
    return Meaning(Verdict.NOT_THE_API, Reason.NOT_THE_API, message, "correct the project's `url`")


#: Bytes per read and send. Large enough to keep system calls few, small enough that progress and stops come quickly.
CHUNK = 512 * 1024
#: Chunks of one body in memory.
BUFFERS = 4


class Readable(Protocol):
    """A file object that reads into a given buffer."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read at most as much as fits; how much it was, 0 at the end."""


class SourceChanged(Exception):  # noqa: N818 - names what the file did
    """The file became shorter or longer than it was while it was being sent; the request was broken off."""


class SourceUnreadable(Exception):  # noqa: N818
    """The file could not be read to its end; the request was broken off. The cause is the operating system's error."""


class FileBody:
    """The bytes of a `multipart/form-data` body with `fields` first and the file last: `whole`, or piece by piece.

    `source` is a file descriptor (read from its beginning, its offset left alone) or a file object (read from where it
    stands). Exactly `size` bytes are read. A source that holds fewer or more raises `SourceChanged` before the closing
    boundary is given out, so that the server sees a body that breaks off and stores nothing.
    """

    def __init__(
        self,
        fields: list[tuple[str, str]],
        source: Readable | int,
        size: int,
        name: str,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        boundary = f"dropcap-{secrets.token_hex(16)}"
        self._head = (
            b"".join(
                f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
                for key, value in fields
            )
            + (
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
        )
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._source = source
        self._size = size
        self._progress = progress
        self._digest = hashlib.sha256()
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.length = len(self._head) + size + len(self._tail)

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of the file's bytes given out so far, once the last piece was asked for."""
        return self._digest.hexdigest()

    def whole(self) -> bytes:
        """The body in one piece, for a file that is small enough."""
        content = bytearray(self._size)
        position = 0
        while position < self._size:
            position += self._read(memoryview(content)[position:], position)
        self._digest.update(content)
        self._end()
        self._report(self._size)
        return b"".join((self._head, content, self._tail))

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """The pieces. Each is good until the next one is asked for.

        What was read is hashed from the buffer that it is sent from, in another thread meanwhile: on a quick network
        hashing takes as long as sending. A few buffers take turns, so that neither waits for the other's every step.
        """
        yield self._head
        free: SimpleQueue[memoryview] = SimpleQueue()
        filled: SimpleQueue[tuple[memoryview, memoryview] | None] = SimpleQueue()
        for _ in range(BUFFERS):
            free.put(memoryview(bytearray(CHUNK)))

        def hash_what_is_sent() -> None:
            while (work := filled.get()) is not None:
                self._digest.update(work[1])
                free.put(work[0])

        hasher = begin(hash_what_is_sent, "sha256")
        position = 0
        piece = memoryview(b"")
        try:
            while position < self._size:
                buffer = free.get()
                piece = buffer[: self._size - position]
                piece = piece[: self._read(piece, position)]
                position += len(piece)
                filled.put((buffer, piece))
                if position < self._size:
                    yield piece
                    self._report(position)
        finally:
            filled.put(None)
        hasher.join()
        # The last bytes go out only together with the end, and the end only if the file ends here too.
        self._end()
        yield b"".join((piece, self._tail))
        self._report(self._size)

    def _read(self, buffer: memoryview, position: int) -> int:
        """Fill the beginning of `buffer` with what follows `position`, which must be something."""
        count = self._readinto(buffer, position)
        if not count:
            raise SourceChanged(f"the file ended after {position} of {self._size} bytes")
        return count

    def _end(self) -> None:
        if self._readinto(memoryview(bytearray(1)), self._size):
            raise SourceChanged(f"the file has more than its {self._size} bytes")

    def _readinto(self, buffer: memoryview, position: int) -> int:
        try:
            if isinstance(self._source, int):
                return os.preadv(self._source, [buffer], position)
            return self._source.readinto(buffer) or 0
        except (OSError, ValueError) as error:
            raise SourceUnreadable(f"the file could not be read: {error}") from error

    def _report(self, position: int) -> None:
        if self._progress is not None:
            self._progress(position)


#: REDCap keeps the name in a short column; longer names come back cut, and lose their extension.
MAX_CHARACTERS = 100
MAX_BYTES = 255

# A quote or a backslash ends or changes the name in PHP's parser; "/" and ":" are taken for folders and drives.
_STRUCTURAL = set("\"'\\/:")
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def safe_name(name: str) -> str:
    """The last part of `name`, NFC, with all that could mislead a parser or a reader as `_`.

    At most 100 characters and 255 bytes of UTF-8 with the extension kept, never empty, never beginning with a dot.
    """
    last = unicodedata.normalize("NFC", name.rsplit("/", 1)[-1])
    if not (last.isascii() and last.isprintable() and _STRUCTURAL.isdisjoint(last)):  # few names; the rest takes longer
        last = "".join("_" if c in _STRUCTURAL or unicodedata.category(c) in _HIDDEN else c for c in last)
    cleaned = last.strip()
    if cleaned.startswith("."):
        cleaned = "_" + cleaned[1:]
    return _shortened(cleaned) or "_"


def _shortened(name: str) -> str:
    if len(name) <= MAX_CHARACTERS and len(name.encode()) <= MAX_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or len(extension) > 20 or len(extension.encode()) > 40:
        stem, extension = name, ""
    tail = dot + extension if extension else ""
    stem = stem[: MAX_CHARACTERS - len(tail)]
    room = MAX_BYTES - len(tail.encode())
    return stem.encode()[:room].decode(errors="ignore").rstrip() + tail
