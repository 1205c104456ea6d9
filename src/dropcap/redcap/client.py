"""The REDCap API client: one project, one token, and the project's structure."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from dropcap.reasons import Reason
from dropcap.redcap.parsing import file_name, readable
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.request import (
    MAX_JSON,
    MAX_WORDS,
    Body,
    FileBody,
    NoFile,
    Readable,
    RedcapError,
    Requester,
    TooMuch,
    form,
    not_the_api,
    safe_name,
)
from dropcap.secret import Token, mentions_token, without_tokens


@dataclass(frozen=True, slots=True)
class FileTarget:
    """One file field of one record: `event` only in longitudinal projects, `instance` only where it repeats."""

    record: str
    field: str
    event: str | None = None
    instance: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted import: the SHA-256 (hex) and size in bytes of what went out, and how many seconds it took.

    `proven` is False if the reply named neither a length nor chunks (PHP's own server, HTTP/1.0): it may have been cut off
    before an error that it was to tell.
    """

    sha256: str
    size: int
    seconds: float
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Exported:
    """A file as REDCap gave it out.

    `proven_whole` is False if the reply named neither a length nor chunks, so that a cut could not be noticed.
    """

    name: str
    size: int
    sha256: str
    proven_whole: bool = True


@dataclass(frozen=True, slots=True)
class ProjectInfo:
    """The project that the token belongs to."""

    project_id: int
    title: str
    longitudinal: bool = False
    repeating: bool = False
    in_production: bool = False  # also where REDCap does not tell
    missing_codes: frozenset[str] = frozenset()  # what stands in any field whose value is marked as missing


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of the data dictionary."""

    name: str
    form: str
    type: str
    validation: str = ""
    label: str = ""
    identifier: bool = False


@dataclass(frozen=True, slots=True)
class EventInfo:
    """One event of a longitudinal project; `name` is the unique one, as in `month_6_arm_1`."""

    name: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Mapping:
    """`form` is designated for `event`."""

    event: str
    form: str


@dataclass(frozen=True, slots=True)
class Repeating:
    """What repeats: a form (in `event`, if the project is longitudinal), or, with an empty `form`, a whole event."""

    event: str
    form: str


#: The column, no field of the project, that tells a record's data access group by its unique name. REDCap shows it to those who
#: are in no group themselves, where the project has any.
GROUP_COLUMN = "redcap_data_access_group"

#: Data export rights as REDCap numbers them.
NO_ACCESS, FULL_DATA, DE_IDENTIFIED, NO_IDENTIFIERS = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Rights:
    """What the token's user may do. Export levels: 0 nothing, 1 full data, 2 de-identified, 3 no identifiers.

    `export_told`: REDCap has named `export`, which else is only assumed. `group` is the data access group that confines the
    user, empty for none. `hidden` and `read_only` name the forms that the user may not see, or only look at, as far as REDCap
    tells.
    """

    username: str
    api_import: bool
    api_export: bool
    export: int = FULL_DATA
    forms_export: dict[str, int] = field(default_factory=dict)
    export_told: bool = True
    group: str = ""
    hidden: frozenset[str] = frozenset()
    read_only: frozenset[str] = frozenset()

    def export_of(self, form: str) -> int:
        """The export level for `form`: its own if REDCap names one, else the project's."""
        return self.forms_export.get(form, self.export)

    def has_full_data(self, form: str) -> bool:
        """Whether REDCap has said that everything of `form` may be exported."""
        return self.export_of(form) == FULL_DATA and (self.export_told or form in self.forms_export)


Row = dict[str, Any]

_LEVELS = ("0", "1", "2", "3")
_LONGEST_ID = 15
#: In place of a name that holds a token.
_NO_NAME = "hidden"


def project(row: Row) -> ProjectInfo | None:
    """None if the row is none of `content=project`."""
    number = _text(row, "project_id")
    if not (number.isascii() and number.isdigit() and len(number) <= _LONGEST_ID):
        return None
    return ProjectInfo(
        project_id=int(number),
        title=without_tokens(_text(row, "project_title")),
        longitudinal=_flag(row, "is_longitudinal"),
        repeating=_flag(row, "has_repeating_instruments_or_events"),
        in_production=_text(row, "in_production").lower() not in ("0", "false", "no"),
        missing_codes=frozenset(
            code for one in _text(row, "missing_data_codes").split("|") if (code := one.partition(",")[0].strip())
        ),
    )


def field_info(row: Row) -> FieldInfo:
    return FieldInfo(
        name=_name(row, "field_name"),
        form=_name(row, "form_name"),
        type=_text(row, "field_type"),
        validation=_text(row, "text_validation_type_or_show_slider_number"),
        label=without_tokens(_text(row, "field_label")),
        identifier=_text(row, "identifier").lower() in ("y", "1"),
    )


def event_info(row: Row) -> EventInfo:
    return EventInfo(_name(row, "unique_event_name"), without_tokens(_text(row, "event_name")))


def mapping(row: Row) -> Mapping:
    return Mapping(_name(row, "unique_event_name"), _name(row, "form"))


def repeating(row: Row) -> Repeating:
    return Repeating(_name(row, "event_name"), _name(row, "form_name"))


def rights(row: Row) -> Rights:
    by_form = row.get("forms_export")
    return Rights(
        username=without_tokens(_text(row, "username")),
        api_import=_flag(row, "api_import"),
        api_export=_flag(row, "api_export"),
        export=_level(_text(row, "data_export")),
        forms_export=_levels(by_form) if isinstance(by_form, dict) else {},
        export_told=_text(row, "data_export") in _LEVELS,
        group=_text(row, "data_access_group").strip(),
        hidden=_forms(row, 0, 128),
        read_only=_forms(row, 2, 129),
    )


def _forms(row: Row, plain: int, bits: int) -> frozenset[str]:
    """The forms for which the user has the right `plain`, or `bits` as REDCap 15.6 and later number the same.

    There 128 is no access, 129 read only and 130 edit; 8 is added for survey responses and 16 for deleting, which neither opens
    a form nor lets it be edited (redcapAPI, issues 463 and 469).
    """
    by_form = row.get("forms")
    if not isinstance(by_form, dict):
        return frozenset()
    levels = {str(form): int(level) for form, level in by_form.items() if str(level).isdecimal()}
    return frozenset(form for form, level in levels.items() if (level & ~(8 | 16) if level >= 128 else level) in (plain, bits))


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return "" if value is None else str(value)


def _name(row: Row, key: str) -> str:
    """A name that is compared, and shown beside others; none of REDCap's holds a token."""
    name = _text(row, key)
    return _NO_NAME if mentions_token(name) else name


def _flag(row: Row, key: str) -> bool:
    return _text(row, key).lower() in ("1", "true", "yes")


def _level(text: str) -> int:
    return int(text) if text in _LEVELS else FULL_DATA


def _levels(by_form: dict[str, Any]) -> dict[str, int]:
    return {form: int(str(level)) for form, level in by_form.items() if str(level) in _LEVELS}


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
        info = project(row) if isinstance(row, dict) else None
        if info is None:
            raise RedcapError(not_the_api("the server returned something other than the project"))
        return info

    def metadata(self, stop: threading.Event | None = None) -> list[FieldInfo]:
        """The data dictionary; the first field is the record id, which every project has."""
        return [field_info(row) for row in self._some_rows({"content": "metadata"}, stop)]

    def events(self, stop: threading.Event | None = None) -> list[EventInfo]:
        """The events of a longitudinal project; a classic project answers with an error."""
        return [event_info(row) for row in self._some_rows({"content": "event"}, stop)]

    def mappings(self, stop: threading.Event | None = None) -> list[Mapping]:
        """Which form is designated for which event; a classic project answers with an error."""
        return [mapping(row) for row in self._rows({"content": "formEventMapping"}, stop)]

    def repeating(self, stop: threading.Event | None = None) -> list[Repeating]:
        """What repeats; a project in which nothing does answers with an error."""
        return [repeating(row) for row in self._rows({"content": "repeatingFormsEvents"}, stop)]

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
        users = [user for row in rows if (user := rights(row)).api_import or user.api_export]
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


@dataclass(frozen=True, slots=True)
class ProjectStructure:
    """What the data dictionary and the event set-up say. Events are unique event names.

    `told_designated` and `told_repeating` are False where REDCap did not tell (a right is missing): nothing is concluded then.
    """

    project: ProjectInfo
    fields: dict[str, FieldInfo]
    record_id_field: str
    events: tuple[str, ...] = ()
    designated: frozenset[tuple[str, str]] = field(default=frozenset())  # (event, form)
    repeating_forms: frozenset[tuple[str, str]] = field(default=frozenset())  # (event or "", form)
    repeating_events: frozenset[str] = field(default=frozenset())
    told_designated: bool = True
    told_repeating: bool = True

    @classmethod
    def from_api(cls, client: Redcap, stop: threading.Event | None = None, project: ProjectInfo | None = None) -> Self:
        """Ask REDCap: two requests, up to three more where there are events or repeats. Raises `RedcapError` and, if `stop` is
        set, `Stopped`. `project` is what it has told of it just now.

        What repeats is told to those with Design rights only, and may be unknown.
        """
        project = project or client.project(stop)
        fields = client.metadata(stop)
        events = client.events(stop) if project.longitudinal else []
        mappings: list[Mapping] | None = None
        with _unless_refused():
            mappings = client.mappings(stop) if project.longitudinal else []
        repeating: list[Repeating] | None = None
        with _unless_refused():
            repeating = client.repeating(stop) if project.repeating else []
        return cls.of(project, fields, events, mappings, repeating)

    @classmethod
    def of(
        cls,
        project: ProjectInfo,
        fields: list[FieldInfo],
        events: list[EventInfo],
        mappings: list[Mapping] | None,
        repeating: list[Repeating] | None,
    ) -> Self:
        """The structure from the API's lists; None for one that REDCap does not tell."""
        return cls(
            project=project,
            fields={one.name: one for one in fields},
            record_id_field=fields[0].name if fields else "record_id",
            events=tuple(event.name for event in events),
            designated=frozenset((mapping.event, mapping.form) for mapping in mappings or ()),
            repeating_forms=frozenset((one.event, one.form) for one in repeating or () if one.form),
            repeating_events=frozenset(one.event for one in repeating or () if not one.form),
            told_designated=bool(mappings) or not project.longitudinal,
            told_repeating=bool(repeating) or not project.repeating,
        )

    @property
    def longitudinal(self) -> bool:
        return self.project.longitudinal

    def file_fields(self) -> list[str]:
        """The fields that files can be imported into."""
        return [one.name for one in self.fields.values() if one.type == "file" and one.validation != "signature"]

    def knows(self, name: str) -> bool:
        """Whether a record's export can be asked for the values of that name: a field's, or the record's group."""
        return name in self.fields or name in self.states() or name == GROUP_COLUMN

    def states(self) -> set[str]:
        """The fields that REDCap adds to each form: is it complete?"""
        return {f"{one.form}_complete" for one in self.fields.values()}

    def is_designated(self, event: str, form: str) -> bool:
        """Whether `form` is collected at `event`."""
        return (event, form) in self.designated

    def form_repeats(self, event: str | None, form: str) -> bool:
        """Whether `form` repeats by itself at `event` (None in a classic project)."""
        return (event or "", form) in self.repeating_forms

    def event_repeats(self, event: str | None) -> bool:
        """Whether `event` repeats as a whole."""
        return event is not None and event in self.repeating_events

    def repeats(self, event: str | None, form: str) -> bool:
        """Whether a field of `form` at `event` has repeat instances."""
        return self.form_repeats(event, form) or self.event_repeats(event)


@contextmanager
def _unless_refused() -> Iterator[None]:
    """Go on if this token is not told something. Raises `RedcapError` for every other trouble."""
    try:
        yield
    except RedcapError as error:
        if error.meaning.verdict is not Verdict.REFUSED and not error.meaning.of_rights:
            raise
