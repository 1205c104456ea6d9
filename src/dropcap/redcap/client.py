"""The REDCap API client: one project, one token."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode

from dropcap import __version__
from dropcap.reasons import Reason
from dropcap.redcap import answers
from dropcap.redcap.dialect import Dialect
from dropcap.redcap.failure import ExchangeFailed
from dropcap.redcap.filename import safe_name
from dropcap.redcap.model import (
    GROUP_COLUMN,
    EventInfo,
    Exported,
    FieldInfo,
    FileTarget,
    Mapping,
    ProjectInfo,
    Repeating,
    Rights,
    Sent,
)
from dropcap.redcap.multipart import FileBody, Readable
from dropcap.redcap.parsing import file_name, readable
from dropcap.redcap.reply import Asked, Meaning, Verdict, no_reply, read_reply
from dropcap.redcap.transport import Reply, Transport
from dropcap.redcap.way import DIRECT, Way
from dropcap.redcap.window import Allowance, Stopped
from dropcap.secret import Token, without_tokens

#: Up to this size a file's request is built as one piece, so that it goes out in as few system calls as possible.
SMALL = 256 * 1024
_MAX_WORDS = 64 * 1024
#: A larger answer than this is not read. One about 100 records has some kilobytes, a list of very many records some megabytes.
MAX_JSON = 32 * 1024**2
_FORM = "application/x-www-form-urlencoded"


class RedcapError(Exception):
    """A request that did not do what was asked; `meaning` says what it proves."""

    def __init__(self, meaning: Meaning) -> None:
        super().__init__(meaning.message)
        self.meaning = meaning


class NoFile(RedcapError):  # noqa: N818 - a state of the field, often no error at all
    """REDCap says that the field holds no file."""


class TooMuch(RedcapError):  # noqa: N818 - the question's fault
    """The answer is larger than `MAX_JSON`."""


class Redcap:
    """May be shared by threads. Times are in seconds.

    `timeout` is the longest silence while a request is under way, `deadline` the longest that it may take in all.
    Every method raises `RedcapError` (where an answer is too large, `TooMuch`), `window.Stopped` where a stop can be given, and
    whatever `token` raises.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], Token],
        window: Allowance,
        *,
        connect_timeout: float = 10.0,
        timeout: float = 120.0,
        deadline: float = 3600.0,
        way: Way = DIRECT,
        pool: int = 8,
        user_agent: str = f"dropcap/{__version__}",
    ) -> None:
        self._token = token
        self._window = window
        self.heard: float | None = None  # when the server (or somebody before it) answered last, since the epoch
        self.dialect = Dialect()
        self._transport = Transport(
            url,
            connect_timeout=connect_timeout,
            timeout=timeout,
            deadline=deadline,
            way=way,
            pool=pool,
            user_agent=user_agent,
        )

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

    def version(self, stop: threading.Event | None = None) -> str:
        """REDCap's version, as in `14.5.2`: the cheapest question, so it also serves as the probe of a paused server."""
        text = readable(self._ask({"content": "version"}, stop)[:_MAX_WORDS].decode("utf-8", "replace"))
        if not text or not text[0].isdigit() or len(text) > 40:
            raise RedcapError(_not_the_api(f"the server does not tell REDCap's version, but answers {text[:80]!r}"))
        return text

    def provoke(self, stop: threading.Event | None = None) -> None:
        """Ask for what no REDCap has, so that it answers with an error: `dialect` tells in which format it did."""
        with contextlib.suppress(RedcapError):
            self._ask({"content": "dropcap"}, stop)

    def project(self) -> ProjectInfo:
        """The project that the token belongs to."""
        row = self._json({"content": "project"})
        info = answers.project(row) if isinstance(row, dict) else None
        if info is None:
            raise RedcapError(_not_the_api("the server returned something other than the project"))
        return info

    def metadata(self) -> list[FieldInfo]:
        """The data dictionary; the first field is the record id, which every project has."""
        return [answers.field(row) for row in self._some_rows({"content": "metadata"})]

    def events(self) -> list[EventInfo]:
        """The events of a longitudinal project; a classic project answers with an error."""
        return [answers.event(row) for row in self._some_rows({"content": "event"})]

    def mappings(self) -> list[Mapping]:
        """Which form is designated for which event; a classic project answers with an error."""
        return [answers.mapping(row) for row in self._rows({"content": "formEventMapping"})]

    def repeating(self) -> list[Repeating]:
        """What repeats; a project in which nothing does answers with an error."""
        return [answers.repeating(row) for row in self._rows({"content": "repeatingFormsEvents"})]

    def rights(self) -> Rights | None:
        """The rights of the token's user, or None if REDCap does not say.

        REDCap lists the project's users to those who may see them, and never says which one is asking. Only a project
        with a single user who has any API right tells whose token it is.
        """
        try:
            rows = self._rows({"content": "user"})
        except RedcapError as error:
            if error.meaning.verdict in (Verdict.PROJECT, Verdict.REFUSED):
                return None
            raise
        users = [user for row in rows if (user := answers.rights(row)).api_import or user.api_export]
        return users[0] if len(users) == 1 else None

    def records(
        self,
        records: Iterable[str] = (),
        fields: Iterable[str] = (),
        events: Iterable[str] = (),
        filter_logic: str | None = None,
        stop: threading.Event | None = None,
    ) -> list[dict[str, str]]:
        """Rows of data, raw values, one per record, event and repeat instance; of all records if none is named.

        `model.GROUP_COLUMN` among the fields asks for the records' groups.
        """
        fields = list(fields)
        groups = "true" if GROUP_COLUMN in fields else "false"
        fields = [name for name in fields if name != GROUP_COLUMN]
        asked = {"content": "record", "type": "flat", "rawOrLabel": "raw", "exportDataAccessGroups": groups}
        for key, values in (("records", records), ("fields", fields), ("events", events)):
            asked |= {f"{key}[{index}]": value for index, value in enumerate(values)}
        if filter_logic is not None:
            asked["filterLogic"] = filter_logic
        return [{key: str(value) for key, value in row.items()} for row in self._rows(asked, stop)]

    def create_record(self, record: str, record_field: str, event: str | None = None) -> None:
        """Create `record` with nothing but its id. A record that exists already stays as it is."""
        row = {record_field: record} | ({"redcap_event_name": event} if event else {})
        answer = self._json(
            {
                "content": "record",
                "action": "import",
                "type": "flat",
                "overwriteBehavior": "normal",
                "returnContent": "ids",
                "data": json.dumps([row]),
            }
        )
        if not isinstance(answer, list) or record not in [str(given) for given in answer]:
            raise RedcapError(
                Meaning(
                    Verdict.REFUSED,
                    Reason.REFUSED,
                    f"REDCap did not create the record, but answered {readable(str(answer))[:200]}",
                    "create the record in REDCap, then drop the file again",
                )
            )

    def import_file(
        self,
        target: FileTarget,
        source: Readable | int,
        size: int,
        name: str,
        stop: threading.Event | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Sent:
        """Store a file of exactly `size` bytes from `source` (see `multipart.FileBody`) under `name`.

        `progress` is given the number of the file's bytes sent so far. Raises also `multipart.SourceChanged` and
        `multipart.SourceUnreadable`, after which nothing is stored.
        """
        began = time.monotonic()
        sent: FileBody | None = None

        def body() -> tuple[bytes | Iterable[bytes | memoryview], int, str]:
            nonlocal sent
            fields = self._file_fields("import", target)
            sent = FileBody(fields, source, size, safe_name(name), progress)
            return sent.whole() if size <= SMALL else sent, sent.length, sent.content_type

        with self._exchange(body, "import", stop, rewindable=isinstance(source, int)) as reply:
            words, ended = reply.read(_MAX_WORDS)
            self._judge(reply, words, "import", ended, (*_values(target), *_names(name), *_names(safe_name(name))))
            proven = reply.framed
        assert sent is not None
        return Sent(sent.sha256, size, time.monotonic() - began, proven)

    def export_file(
        self, target: FileTarget, sink: Callable[[bytes], None] | None = None, stop: threading.Event | None = None
    ) -> Exported:
        """The file in a field, given to `sink` piece by piece. Raises `NoFile` if there is none.

        What `sink` was given before an error is raised is no file.
        """
        fields = self._file_fields("export", target)
        with self._exchange(lambda: self._form(fields), "export", stop) as reply:
            name = file_name(reply.headers)
            if reply.status != 200 or name is None:
                words, ended = reply.read(_MAX_WORDS)
                self._judge(reply, words, "export", ended and reply.framed, _values(target))
            digest, size = hashlib.sha256(), 0
            for chunk in reply.chunks():
                digest.update(chunk)
                size += len(chunk)
                if sink is not None:
                    sink(chunk)
            if not size:  # REDCap takes no empty files, so hardly that is what it holds
                self._judge(reply, b"", "export", complete=True)
            return Exported(without_tokens(name or ""), size, digest.hexdigest(), reply.framed)

    # ------------------------------------------------------------------------------------------------------------------

    def _file_fields(self, action: str, target: FileTarget) -> list[tuple[str, str]]:
        fields = [
            ("token", self._token().reveal()),
            ("content", "file"),
            ("action", action),
            ("record", target.record),
            ("field", target.field),
        ]
        if target.event:
            fields.append(("event", target.event))
        if target.instance is not None:
            fields.append(("repeat_instance", str(target.instance)))
        fields.append(("returnFormat", "json"))
        return fields

    @staticmethod
    def _form(fields: list[tuple[str, str]]) -> tuple[bytes, int, str]:
        body = urlencode(fields).encode()
        return body, len(body), _FORM

    def _rows(self, asked: dict[str, str], stop: threading.Event | None = None) -> list[dict[str, Any]]:
        rows = self._json(asked, stop)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RedcapError(_not_the_api(f"the server returned something other than the {asked['content']}"))
        return rows

    def _some_rows(self, asked: dict[str, str]) -> list[dict[str, Any]]:
        rows = self._rows(asked)
        if not rows:  # believed, it would refuse every file for want of its field or event
            raise RedcapError(
                no_reply(for_="json", request_began=True, reason=Reason.SERVER_ERROR, message=_nothing(asked["content"]))
            )
        return rows

    def _json(self, asked: dict[str, str], stop: threading.Event | None = None) -> Any:
        words = self._ask(asked | {"format": "json"}, stop)
        try:
            return json.loads(words)
        except (ValueError, RecursionError):
            beginning = readable(words[:_MAX_WORDS].decode("utf-8", "replace"))[:200]
            raise RedcapError(
                _not_the_api(f"the server returned the {asked['content']} in something other than JSON: {beginning}")
            ) from None

    def _ask(self, asked: dict[str, str], stop: threading.Event | None) -> bytes:
        def body() -> tuple[bytes, int, str]:
            fields = [("token", self._token().reveal()), *asked.items(), ("returnFormat", "json")]
            return self._form(fields)

        with self._exchange(body, "json", stop) as reply:
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
        body: Callable[[], tuple[bytes | Iterable[bytes | memoryview], int, str]],
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


def _values(target: FileTarget) -> tuple[str, ...]:
    return target.record, target.field, target.event or "", str(target.instance or "")


def _names(name: str) -> tuple[str, ...]:
    """A file's name as it may be repeated: without its folder, without its extension."""
    last = name.rpartition("/")[2]
    return name, last, last.rpartition(".")[0]


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


def _not_the_api(message: str) -> Meaning:
    return Meaning(Verdict.NOT_THE_API, Reason.NOT_THE_API, message, "correct the project's `url`")
