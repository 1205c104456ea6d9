"""One API call: its parameters, who makes it, and the reply."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO

from redcap_sandbox.formats import CONTENT_TYPES, FORMATS
from redcap_sandbox.multipart import Post
from redcap_sandbox.store import RowKey
from redcap_sandbox.structure import Rights, SandboxProject
from redcap_sandbox.wording import WORDING, ApiError


@dataclass(slots=True)
class Reply:
    """An HTTP reply. `stream` stands in for `body` where that is large; `size` is then its length in bytes."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: list[tuple[str, str]] = field(default_factory=list)
    stream: IO[bytes] | None = None
    size: int = 0

    @property
    def length(self) -> int:
        return self.size if self.stream is not None else len(self.body)


#: How a server answers an import of a file: without a word, as clients see it, or as REDCap's page documents it.
SUCCESSES = ("empty", "json")


@dataclass(slots=True)
class Call:
    """What the parts of the API work on."""

    project: SandboxProject
    rights: Rights
    post: Post
    note: Callable[[str, str, str], None]  # (action, record, details) for the project's log
    success: str = "empty"  # one of SUCCESSES

    def text(self, name: str) -> str:
        return self.post.text(name)

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise ApiError(400, "missing_parameter", name=name)
        return value

    @property
    def format(self) -> str:
        """The format of what is exported or imported; REDCap's default is xml."""
        value = self.text("format").lower() or "xml"
        if value not in FORMATS:
            raise ApiError(400, "bad_format", value=value)
        return value

    @property
    def return_format(self) -> str:
        return return_format(self.post)

    def imported(self) -> Reply:
        """The answer to a file that is stored."""
        if self.success == "empty":
            return Reply()
        said = WORDING["imported"].text
        if self.return_format != "json":
            return Reply(body=said.encode())
        return Reply(body=json.dumps({"success": True, "message": said}, indent=2).encode(), content_type=CONTENT_TYPES["json"])

    def reply(self, body: bytes, kind: str | None = None) -> Reply:
        return Reply(body=body, content_type=CONTENT_TYPES[kind or self.format])

    def need_export(self) -> None:
        if not self.rights.api_export:
            raise ApiError(403, "no_export")

    def need_import(self) -> None:
        if not self.rights.api_import:
            raise ApiError(403, "no_import")

    def need_writable(self) -> None:
        if self.project.archived:
            raise ApiError(400, "archived")

    def need_right(self, held: bool, right: str) -> None:
        """For methods that ask for another right beside API Export, as its name is in the user rights page."""
        if not (held and self.rights.api_export):
            raise ApiError(400, "insufficient", right=right)

    def need_unlocked(self, record: str, key: RowKey, form: str) -> None:
        if (record, key, form) in self.project.store.locked:
            raise ApiError(400, "locked")

    def array(self, name: str) -> list[str]:
        """A list that was sent as `name[0]=…`; or as one text, where the server still takes that."""
        if self.project.strict_arrays and self.text(name):
            raise ApiError(400, "not_an_array", name=name)
        return self.post.array(name)

    def visible(self, record: str) -> bool:
        """Whether the record exists and lies in the caller's data access group."""
        store = self.project.store
        return record in store.records and self.rights.dag in (None, store.dags.get(record))


def return_format(post: Post) -> str:
    """The format of messages: returnFormat, else format, else xml."""
    for name in ("returnFormat", "format"):
        value = post.text(name).lower()
        if value in FORMATS:
            return value
    return "xml"
