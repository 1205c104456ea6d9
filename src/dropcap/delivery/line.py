"""The line to one REDCap project: its client and what is known of its structure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from dropcap.config.model import Project
from dropcap.config.token_source import TokenError
from dropcap.delivery.identity import mismatch
from dropcap.delivery.possible import impossible
from dropcap.delivery.vacancy import Vacancies
from dropcap.ledger.outcome import Refused
from dropcap.reasons import Reason
from dropcap.redcap.client import Redcap, RedcapError
from dropcap.redcap.model import FieldInfo, ProjectInfo, Rights
from dropcap.redcap.structure import ProjectStructure
from dropcap.routing.target import Target
from dropcap.secret import Token

#: Seconds for which a project's structure is taken as known, and for which it is gone by where files are sent.
KNOWN_FOR, SURE_FOR = 3600.0, 60.0


@dataclass(frozen=True, slots=True)
class _Told:
    """A structure, when it was told (monotonic), and what nobody had doubted when it was asked for."""

    structure: ProjectStructure
    at: float
    undoubted: object


#: Is told whose a project's token is whenever REDCap tells it, or None if it does not. Raises RedcapError if it is another one's.
Identified: TypeAlias = Callable[[Project, ProjectInfo | None, Token], None]


def as_configured(project: Project, told: ProjectInfo | None, _token: Token) -> None:
    """Raises RedcapError if a token is not that of the project that the configuration names."""
    if told is not None and project.project_id not in (None, told.project_id):
        raise RedcapError(mismatch(project, None, told.project_id))


class ProjectLine:
    """One project's client, with its structure fetched when it is first needed. Only `structure` and `identify` wait for the
    server."""

    def __init__(self, project: Project, client: Redcap, identified: Identified = as_configured) -> None:
        self.project = project
        self.client = client
        self._identified = identified
        self._fetching = threading.Lock()
        self._told: _Told | None = None
        self._token: Token | None = None  # of which it was asked last whose it is
        self._undoubted = object()  # another one each time that what is known counts no more
        self._fields: dict[str, FieldInfo] = {}  # as they were told last
        self._untold = -SURE_FOR  # when REDCap refused to tell this token anything of its project (monotonic)
        self.rights: Rights | None = None  # of the token's user, if REDCap has told them

    @property
    def host(self) -> str:
        """The server, as it is limited."""
        return self.project.host

    @property
    def server(self) -> str:
        """The server by the way that leads there, as it is paused."""
        return self.project.server

    def structure(self, known_for: float = KNOWN_FOR, stop: threading.Event | None = None) -> ProjectStructure:
        """The project's fields, events and forms; from memory for so many seconds.

        Raises:
            RedcapError: REDCap did not answer, or the token is that of another project.
            Stopped: `stop` was set.
        """
        with self._fetching:
            told = self._known_now()
            if told is None or time.monotonic() - told.at > known_for:
                undoubted = self._undoubted
                structure = self._fetch(stop)
                self._fields = structure.fields
                self._told = told = _Told(structure, time.monotonic(), undoubted)
            return told.structure

    def _known_now(self) -> _Told | None:
        told = self._told if self.client.trusts else None
        return told if told is not None and told.undoubted is self._undoubted else None

    def _fetch(self, stop: threading.Event | None) -> ProjectStructure:
        try:
            return ProjectStructure.from_api(self.client, stop, self._ask_whose(stop))
        except RedcapError as error:
            if error.meaning.reason == Reason.RIGHTS:
                self._untold = time.monotonic()
            raise

    def identify(self, stop: threading.Event | None = None) -> None:
        """See to it that it is known whose the token is, as far as REDCap tells. Raises as `structure`."""
        with self._fetching:
            if not self.client.trusts:
                try:
                    self._ask_whose(stop)
                except RedcapError:
                    if not self.client.trusts:
                        raise

    def _ask_whose(self, stop: threading.Event | None) -> ProjectInfo:
        token = self.client.token()
        if token != self._token:  # what was told to another user may not be true of this one
            self._told, self.rights, self._untold = None, None, -SURE_FOR
        try:
            told = self.client.project(stop, token)
        except RedcapError as error:
            if error.meaning.reason == Reason.RIGHTS:
                self._admit(None, token)
            raise
        self._admit(told, token)
        return told

    def _admit(self, told: ProjectInfo | None, token: Token) -> None:
        self._identified(self.project, told, token)
        self._token = token
        self.client.trust(token)

    def group(self, stop: threading.Event | None = None) -> str:
        """The data access group of the token's user, empty if there is none or REDCap does not tell; asked for if need be.

        Raises RedcapError and, if `stop` is set, Stopped.
        """
        if self.rights is None:
            self.rights = self.client.rights(stop)
        return self.rights.group if self.rights is not None else ""

    def exported(self, field: str, vacancies: Vacancies) -> None:
        """REDCap has given out a file of this field."""
        info = self._info(field)
        if info is not None and info.identifier and (token := self._revealed()):
            vacancies.exported(self.project.name, field, token)

    def may_hide(self, field: str, vacancies: Vacancies) -> bool:
        """Whether files of this field may be hidden from the token, and from its look-ups as well: de-identified rights can."""
        info = self._info(field)
        if info is None or not info.identifier:
            return info is None
        rights = self.rights
        if rights is not None and rights.has_full_data(info.form):
            return False
        token = self._revealed()
        return not (token and vacancies.has_exported(self.project.name, field, token))

    def _revealed(self) -> str:
        try:
            return self.project.token_source.read().reveal()
        except TokenError:
            return ""

    def _info(self, field: str) -> FieldInfo | None:
        return self._fields.get(field)  # also while another thread has the structure fetched anew

    def token_stamp(self) -> int | None:
        """Something that changes when the token does, and tells nothing of it; None while it cannot be read."""
        try:
            return hash(self.project.token_source.read())
        except TokenError:
            return None

    def known(self) -> bool:
        """Whether the structure is in memory."""
        return self._known_now() is not None

    def surely_takes(self, target: Target) -> bool:
        """Whether a file can go there by what was told lately, or REDCap has said lately that this token is told nothing."""
        now, told = time.monotonic(), self._known_now()
        if told is not None and now - told.at <= SURE_FOR:
            return impossible(told.structure, target) is None
        return self.client.trusts and now - self._untold <= SURE_FOR

    def forget(self) -> None:
        """Fetch the structure anew when it is next needed: a field, event or right was not as expected. Waits for nobody who
        is fetching it now, and what he is told counts no more then."""
        self._undoubted = object()

    def doubt(self) -> None:
        """A rule does not agree with what is known of the project."""

    def refuses(self, size: int, upload_as: str) -> Refused | None:
        """Why a file is not worth sending: it is empty, larger than the server takes, or of a kind that REDCap refuses."""
        if size == 0:
            return Refused(Reason.EMPTY_FILE, "the file is empty", "drop the file again, with its content")
        if size > self.project.max_size:
            most = self.project.max_size / 1024**2
            message = f"the file is {size / 1024**2:,.1f} MiB, and max_size allows {most:,.1f} MiB"
            return Refused(
                Reason.TOO_LARGE, message, "make the file smaller, or let REDCap's administrator raise the limit, then max_size"
            )
        extension = upload_as.rpartition(".")[2].lower() if "." in upload_as else ""
        if extension in self.project.blocked_extensions:
            message = f"REDCap refuses files that end in `.{extension}`"
            return Refused(Reason.BLOCKED_EXTENSION, message, "zip or convert the file, then drop that")
        return None
