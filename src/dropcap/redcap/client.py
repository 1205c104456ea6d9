"""The REDCap API client: one project, one token."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable

from dropcap.reasons import Reason
from dropcap.redcap import answers
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
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.request import MAX_JSON, MAX_WORDS, Body, NoFile, RedcapError, Requester, TooMuch, form, not_the_api
from dropcap.secret import Token, without_tokens

#: What callers of the client need.
__all__ = ["MAX_JSON", "SMALL", "NoFile", "Redcap", "RedcapError", "TooMuch"]

#: Up to this size a file's request is built as one piece, so that it goes out in as few system calls as possible.
SMALL = 256 * 1024


class Redcap(Requester):
    """What REDCap's API is asked for; errors as those of a `Requester`. May be shared by threads."""

    def version(self, stop: threading.Event | None = None) -> str:
        """REDCap's version, as in `14.5.2`: the cheapest question, so it also serves as the probe of a paused server."""
        text = readable(self._ask({"content": "version"}, stop, self.token())[:MAX_WORDS].decode("utf-8", "replace"))
        if not text or not text[0].isdigit() or len(text) > 40:
            raise RedcapError(not_the_api(f"the server does not tell REDCap's version, but answers {text[:80]!r}"))
        return text

    def provoke(self, stop: threading.Event | None = None) -> None:
        """Ask for what no REDCap has, so that it answers with an error: `dialect` tells in which format it did."""
        with contextlib.suppress(RedcapError):
            self._ask({"content": "dropcap"}, stop, self.token())

    def project(self, stop: threading.Event | None = None, token: Token | None = None) -> ProjectInfo:
        """The project that the token belongs to; or that one."""
        row = self._json({"content": "project"}, stop, token or self.token())
        info = answers.project(row) if isinstance(row, dict) else None
        if info is None:
            raise RedcapError(not_the_api("the server returned something other than the project"))
        return info

    def metadata(self, stop: threading.Event | None = None) -> list[FieldInfo]:
        """The data dictionary; the first field is the record id, which every project has."""
        return [answers.field(row) for row in self._some_rows({"content": "metadata"}, stop)]

    def events(self, stop: threading.Event | None = None) -> list[EventInfo]:
        """The events of a longitudinal project; a classic project answers with an error."""
        return [answers.event(row) for row in self._some_rows({"content": "event"}, stop)]

    def mappings(self, stop: threading.Event | None = None) -> list[Mapping]:
        """Which form is designated for which event; a classic project answers with an error."""
        return [answers.mapping(row) for row in self._rows({"content": "formEventMapping"}, stop)]

    def repeating(self, stop: threading.Event | None = None) -> list[Repeating]:
        """What repeats; a project in which nothing does answers with an error."""
        return [answers.repeating(row) for row in self._rows({"content": "repeatingFormsEvents"}, stop)]

    def rights(self, stop: threading.Event | None = None) -> Rights | None:
        """The rights of the token's user, or None if REDCap does not say.

        REDCap lists the project's users to those who may see them, and never says which one is asking. Only a project
        with a single user who has any API right tells whose token it is.
        """
        try:
            rows = self._rows({"content": "user"}, stop)
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

    def create_record(
        self, record: str, record_field: str, event: str | None = None, stop: threading.Event | None = None
    ) -> None:
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
            },
            stop,
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

        def body() -> Body:
            nonlocal sent
            fields = self._file_fields("import", target)
            sent = FileBody(fields, source, size, safe_name(name), progress)
            return sent.whole() if size <= SMALL else sent, sent.length, sent.content_type

        with self._exchange(body, "import", stop, rewindable=isinstance(source, int)) as reply:
            words, ended = reply.read(MAX_WORDS)
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
        with self._exchange(lambda: form(fields), "export", stop) as reply:
            name = file_name(reply.headers)
            if reply.status != 200 or name is None:
                words, ended = reply.read(MAX_WORDS)
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
            ("content", "file"),
            ("action", action),
            ("record", target.record),
            ("field", target.field),
        ]
        if target.event:
            fields.append(("event", target.event))
        if target.instance is not None:
            fields.append(("repeat_instance", str(target.instance)))
        return self._with_token(fields)


def _values(target: FileTarget) -> tuple[str, ...]:
    return target.record, target.field, target.event or "", str(target.instance or "")


def _names(name: str) -> tuple[str, ...]:
    """A file's name as it may be repeated: without its folder, without its extension."""
    last = name.rpartition("/")[2]
    return name, last, last.rpartition(".")[0]
