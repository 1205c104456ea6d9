"""The client of one project, and what is known of the project: structure, whose its token is, its words for an empty field."""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from dropcap.config.model import Config, Project
from dropcap.config.secrets import ProxyCredentials, SecretError
from dropcap.delivery.order import Order
from dropcap.delivery.plan import Facts, impossible
from dropcap.ledger.job import Refused
from dropcap.ledger.store import Lead, Ledger
from dropcap.reasons import Reason
from dropcap.redcap.client import FieldInfo, FileTarget, ProjectInfo, ProjectStructure, Redcap, RedcapError, Rights
from dropcap.redcap.connect import ConnectError, ConnectionSettings, Proxy
from dropcap.redcap.parsing import blanked
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.redcap.transport import Timeouts
from dropcap.redcap.window import Allowance, RequestWindow
from dropcap.routing.rule import Target
from dropcap.secret import Secret, Token

# Whose token an entry has. It belongs to one project for good; another token may be another project's, and then nothing goes
# there unless the configuration says so.


def stamp(ledger: Ledger, token: str) -> str:
    """Stands for a token where it is kept; the token cannot be told from it."""
    return hashlib.sha256(f"{ledger.installation} {token}".encode()).hexdigest()[:16]


def wrong_project(project: Project, kept: Lead | None, told: int | None) -> Meaning:
    """Why nothing goes to the project that REDCap has told of a token (None: it tells none)."""
    name, before = project.name, kept.number if kept is not None else None
    if project.project_id is not None:
        message = f"the token of `{name}` belongs to REDCap project {told}, the configuration says {project.project_id}"
        return _meaning(message, "use the token of the right project, or correct project_id")
    if told is None:
        led = f", and files of it went to project {before} so far" if before is not None else ""
        message = f"`{name}` has another token than before, and REDCap does not tell whose it is{led}"
        means = f"set `project_id` for `{name}` to the project that they are to go to"
        remedy = f"put the old token back; or give the token's user API Export, so that REDCap tells it; or {means}, and reload"
        return _meaning(message, f"{remedy} dropcap. The files wait")
    led = "REDCap did not tell whose the old one was" if before is None else f"files of it went to project {before} so far"
    message = f"the token of `{name}` is another one than before and belongs to REDCap project {told}; {led}"
    means = f"if files are to go to project {told} from now on, set `project_id: {told}` for `{name}` and reload dropcap"
    return _meaning(message, f"put the old token back; or, {means}. The files wait")


def _meaning(message: str, remedy: str) -> Meaning:
    return Meaning(Verdict.PROJECT, Reason.PROJECT_MISMATCH, message, remedy)


class Identities:
    """What the ledger keeps of that, also over a start and for all hosts. Safe for threads."""

    def __init__(self, ledger: Ledger, order: Order) -> None:
        self._ledger = ledger
        self._order = order
        self._tokens: dict[str, Token] = {}  # by entry, as it was admitted last

    def admit(self, project: Project, told: ProjectInfo | None, token: Token) -> None:
        """REDCap has told whose a token is (None: it does not tell). Durable on return. Raises RedcapError if that is not the
        project to which the entry leads.
        """
        number = told.project_id if told is not None else None
        kept, admitted = self._ledger.lead(project.name, Lead(number, stamp(self._ledger, token.reveal())), project.project_id)
        if not admitted:
            raise RedcapError(wrong_project(project, kept, number))
        if self._tokens.get(project.name) not in (None, token):
            self._order.origins.is_used_by(project.name, "")
        self._tokens[project.name] = token
        if told is not None:
            self._order.learn(project.name, told)
            entered = self._ledger.query.keys_without_project(project.name)
            self._ledger.order([(job, key, self._order.completed(project.name, key)) for job, key in entered])
        else:
            self._order.hides(project.name)


_WORDS, _EXPORTED = "no_file", "exported"
#: Seconds for which words count as "no file"; and for which it is known that a token may export a field.
_DAY = 86400.0
FOR_GOOD = 100 * 365 * _DAY


class FieldContent(Enum):
    """What is concluded from an export that was refused."""

    EMPTY = "there is no file"
    LOOK = "the record is to be looked up anew"
    TAKEN = "there is a file, which REDCap does not give out"
    HIDDEN = "there may be a file that this token may not see"


@dataclass(frozen=True, slots=True)
class RefusedExport:
    """An export that REDCap refused with the words `said`; `of_rights`: they speak of rights, as far as they are known."""

    project: str
    job: int
    place: FileTarget
    said: str
    of_rights: bool

    @property
    def words(self) -> str:
        """The words without what was asked for, which is another in each question."""
        place = self.place
        return blanked(self.said, [place.record, place.field, place.event or "", str(place.instance or "")])


class EmptyFieldDetection:
    """What refused exports have told so far, of all projects. Safe for threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._learned = ledger.query.learned(time.time())  # and until when
        self._refused: dict[int, float] = {}  # jobs whose export was refused, and when (monotonic)

    def conclude(self, refused: RefusedExport, facts: Facts, looked: float, *, hideable: bool) -> FieldContent:
        """What a refusal means, given the `facts` of a look-up that began at `looked` (monotonic).

        `hideable`: the field's files may be hidden from this token, and from its look-ups too.
        """
        told = facts.known and facts.record is not None
        empty = told and not facts.shows and refused.place.field not in facts.untold
        if empty and not hideable and self._knows(refused.project, _WORDS, refused.words, _DAY):
            return FieldContent.EMPTY
        with self._lock:
            before = self._refused.get(refused.job)
            if before is None or not told or looked < before:
                self._refused[refused.job] = time.monotonic()
                return FieldContent.LOOK
            del self._refused[refused.job]
        if facts.shows:
            return FieldContent.TAKEN
        if hideable or refused.of_rights or not empty:
            return FieldContent.HIDDEN
        self._learn(refused.project, _WORDS, refused.words, _DAY)
        return FieldContent.EMPTY

    def exported(self, project: str, field: str, token: str) -> None:
        """This token has been given a file of this field."""
        if not self.has_exported(project, field, token):
            self._learn(project, _EXPORTED, f"{stamp(self._ledger, token)} {field}", FOR_GOOD)

    def has_exported(self, project: str, field: str, token: str) -> bool:
        """Whether this token was ever given a file of this field."""
        return self._knows(project, _EXPORTED, f"{stamp(self._ledger, token)} {field}", FOR_GOOD)

    def _knows(self, project: str, kind: str, what: str, seconds: float) -> bool:
        """Whether it was learned within so many `seconds`, and not by a clock that was ahead."""
        now = time.time()
        with self._lock:
            return now < self._learned.get((project, kind, what), 0.0) <= now + seconds + 1.0

    def _learn(self, project: str, kind: str, what: str, seconds: float) -> None:
        until = time.time() + seconds
        with self._lock:
            self._learned[project, kind, what] = until
        self._ledger.learn(project, kind, what, until)


#: Seconds for which a project's structure is taken as known, and for which it is gone by where files are sent.
KNOWN_FOR, SURE_FOR = 3600.0, 60.0


@dataclass(frozen=True, slots=True)
class _Told:
    """A structure, when it was told (monotonic), and what nobody had doubted when it was asked for."""

    structure: ProjectStructure
    at: float
    undoubted: object


class ProjectClient:
    """One project's client, with its structure fetched when it is first needed. Only `structure` and `identify` wait for the
    server."""

    def __init__(self, project: Project, redcap: Redcap) -> None:
        self.project = project
        self.redcap = redcap
        self._fetching = threading.Lock()
        self._told: _Told | None = None
        self._token: Token | None = None  # of which it was asked last whose it is
        self._undoubted = object()  # another one each time that what is known counts no more
        self._fields: dict[str, FieldInfo] = {}  # as they were told last
        self._untold = -SURE_FOR  # when REDCap refused to tell this token anything of its project (monotonic)
        self.rights: Rights | None = None  # of the token's user, if REDCap has told them
        self.known_records: Sequence[str] = ()  # some that look-ups with this token have shown

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
        told = self._told if self.redcap.trusts else None
        return told if told is not None and told.undoubted is self._undoubted else None

    def _fetch(self, stop: threading.Event | None) -> ProjectStructure:
        try:
            return ProjectStructure.from_api(self.redcap, stop, self._ask_whose(stop))
        except RedcapError as error:
            if error.meaning.of_rights:
                self._untold = time.monotonic()
            raise

    def identify(self, stop: threading.Event | None = None) -> None:
        """See to it that it is known whose the token is, as far as REDCap tells. Raises as `structure`."""
        with self._fetching:
            if not self.redcap.trusts:
                try:
                    self._ask_whose(stop)
                except RedcapError:
                    if not self.redcap.trusts:
                        raise

    def _ask_whose(self, stop: threading.Event | None) -> ProjectInfo:
        token = self.redcap.token()
        if token != self._token:  # what was told to another user may not be true of this one
            self._told, self.rights, self._untold, self.known_records = None, None, -SURE_FOR, ()
        try:
            told = self.redcap.project(stop, token)
        except RedcapError as error:
            if error.meaning.of_rights:
                self._admit(None, token)
            raise
        self._admit(told, token)
        return told

    def _admit(self, told: ProjectInfo | None, token: Token) -> None:
        self.identified(told, token)
        self._token = token
        self.redcap.trust(token)

    def identified(self, told: ProjectInfo | None, token: Token) -> None:
        """REDCap has told whose the token is, or (None) does not. Raises RedcapError if that is not the configured project."""
        if told is not None and self.project.project_id not in (None, told.project_id):
            raise RedcapError(wrong_project(self.project, None, told.project_id))

    def group(self, stop: threading.Event | None = None) -> str:
        """The data access group of the token's user, empty if there is none or REDCap does not tell; asked for if need be.

        Raises RedcapError and, if `stop` is set, Stopped.
        """
        if self.rights is None:
            self.rights = self.redcap.rights(stop)
        return self.rights.group if self.rights is not None else ""

    def exported(self, field: str, empty_fields: EmptyFieldDetection) -> None:
        """REDCap has given out a file of this field."""
        info = self._info(field)
        if info is not None and info.identifier and (token := self._revealed()):
            empty_fields.exported(self.project.name, field, token)

    def may_hide(self, field: str, empty_fields: EmptyFieldDetection) -> bool:
        """Whether files of this field may be hidden from the token, and from its look-ups as well: de-identified rights can."""
        info = self._info(field)
        if info is None or not info.identifier:
            return info is None
        rights = self.rights
        if rights is not None and rights.has_full_data(info.form):
            return False
        token = self._revealed()
        return not (token and empty_fields.has_exported(self.project.name, field, token))

    def _revealed(self) -> str:
        try:
            return self.project.token_source.read().reveal()
        except SecretError:
            return ""

    def _info(self, field: str) -> FieldInfo | None:
        return self._fields.get(field)  # also while another thread has the structure fetched anew

    def token_stamp(self) -> int | None:
        """Something that changes when the token does, and tells nothing of it; None while it cannot be read."""
        try:
            return hash(self.project.token_source.read())
        except SecretError:
            return None

    def known(self, within: float = math.inf) -> bool:
        """Whether the structure is in memory, and was told within so many seconds."""
        told = self._known_now()
        return told is not None and time.monotonic() - told.at <= within

    def surely_takes(self, target: Target) -> bool:
        """Whether a file can go there by what was told lately, or REDCap has said lately that this token is told nothing."""
        now, told = time.monotonic(), self._known_now()
        if told is not None and now - told.at <= SURE_FOR:
            return impossible(told.structure, target) is None
        return self.redcap.trusts and now - self._untold <= SURE_FOR

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


def token_of(project: Project) -> Callable[[], Token]:
    """Reads the project's token whenever it is needed; one that cannot be had pauses the project, not the daemon."""

    def read() -> Token:
        try:
            return project.token_source.read()
        except SecretError as error:
            raise RedcapError(Meaning(Verdict.PROJECT, Reason.TOKEN, error.message, error.remedy)) from None

    return read


def connection_of(project: Project) -> ConnectionSettings:
    """How the project's server is reached."""
    proxy = None
    if project.proxy is not None:
        proxy = Proxy(project.proxy.host, project.proxy.port, credentials_from(project.proxy_credentials))
    return ConnectionSettings(project.ca_file, project.client_cert_file, project.client_key_file, proxy)


def credentials_from(source: ProxyCredentials | None) -> Callable[[], Secret] | None:
    """Reads user and password for a proxy whenever they are needed; what cannot be had pauses the way, not the daemon."""
    if source is None:
        return None

    def read() -> Secret:
        try:
            return source.read()
        except SecretError as error:
            raise ConnectError(Reason.PROXY, error.message, error.remedy) from None

    return read


def window_of(config: Config, project: Project) -> RequestWindow:
    """The request window of the project's host, shared with every other dropcap process."""
    place = config.state_dir / "windows" / project.host.replace(":", "_").replace("/", "_")
    return RequestWindow(place, config.limit_of(project.host))


#: Makes the request limit of a project's server.
MakeWindow: TypeAlias = Callable[[Config, Project], Allowance]


def redcap_for(config: Config, project: Project, window: MakeWindow = window_of, kind: type[Redcap] = Redcap) -> Redcap:
    """REDCap's API for a project, with the limits that the configuration sets. `kind`: for an observer of what is answered."""
    with contextlib.suppress(SecretError):  # told with the first request
        project.token_source.read()  # from now on the gate knows it, whichever server says it
    return kind(
        project.url,
        token_of(project),
        window(config, project),
        timeouts=Timeouts(project.connect_timeout, project.timeout, project.deadline),
        connection=connection_of(project),
        pool=config.uploads_at_once + 4,
    )


def client_for(config: Config, project: Project, window: MakeWindow = window_of) -> ProjectClient:
    """The client of a project, with the limits that the configuration sets."""
    return ProjectClient(project, redcap_for(config, project, window))
