"""Fault attribution: is a failure the file's, the project's or the server's?"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic

from dropcap.delivery.circuit import backoff
from dropcap.delivery.project_client import ProjectClient
from dropcap.ledger.job import Held, Job, Later, Outcome, Refused
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import RedcapError
from dropcap.redcap.reply import MAY_LOSE_FORM, Meaning, Verdict
from dropcap.redcap.window import Stopped

#: The longest wait that a server may ask for with `Retry-After`, and the one if it asks for fewer requests without it (seconds).
LONGEST = 3600.0
RATE_LIMIT = 60.0
#: Troubles of a server, or of the way to it, that no file can have caused.
_CERTAIN = frozenset({Reason.UNREACHABLE, Reason.MAINTENANCE, Reason.CERTIFICATE, Reason.PROXY})
#: How long a server is left alone that answers 403 with a page: it may be a ban, in words that nobody knows (seconds).
SHUT_OUT = 900.0


def outcome_for(meaning: Meaning, sent: bool, final: bool = True) -> Outcome:
    """The outcome of a request that did not do what it should.

    `sent`: the file may already be in REDCap from before. `final`: a refusal is one of the file, for good.
    """
    unknown = sent or meaning.outcome_unknown or meaning.verdict is Verdict.UNKNOWN
    seconds = None if meaning.retry_after is None else min(max(meaning.retry_after, 1.0), LONGEST)
    match meaning.verdict:
        case Verdict.REFUSED if final and not sent:
            return Refused(meaning.reason, meaning.message, meaning.remedy, meaning.alike)
        case Verdict.PROJECT:
            scope, certain = Scope.PROJECT, True
        case Verdict.BANNED:
            return Later(meaning.reason, meaning.message, meaning.remedy, Scope.SERVER, unknown, until_resume=True, certain=True)
        case Verdict.RATE_LIMITED:
            scope, certain, seconds = Scope.SERVER, True, seconds or RATE_LIMIT
            if meaning.worded:  # the server rests first: a probe that comes at once may be one request too many
                later = Later(meaning.reason, meaning.message, meaning.remedy, scope, unknown, max(seconds, RATE_LIMIT))
                return replace(later, certain=True, worded=True)
        case Verdict.NOT_THE_API:
            scope, certain = Scope.SERVER, True
            seconds = SHUT_OUT if meaning.shut_out else seconds
        case Verdict.UNCLEAR | Verdict.REFUSED:  # the refusal of a question: of this file's, and nobody else's trouble
            later = Later(meaning.reason, meaning.message, meaning.remedy, Scope.FILE, unknown, seconds)
            return replace(later, own_fault=True)
        case Verdict.SERVER:
            scope, certain = Scope.SERVER, meaning.reason in _CERTAIN
        case _:
            scope, certain = Scope.SERVER, False
    return Later(meaning.reason, meaning.message, meaning.remedy, scope, unknown, seconds, certain=certain)


KIND = "too_large"
_DAY = 86400.0
#: No server that takes files has a limit below this: what refuses smaller ones for their size has another trouble (bytes).
LEAST = 512 * 1024
#: Files that must have been refused, and sends of one file that must have broken off.
_FILES, _BREAKS = 2, 3


@dataclass(frozen=True, slots=True)
class Limit:
    """Files of `size` bytes and more are refused: `files` of them were."""

    size: int
    files: int

    def __str__(self) -> str:
        return f"the server has lately refused {self.files} files for their size, one of them of {self.size:,} bytes"


def limit_of(refused: Iterable[str]) -> Limit | None:
    """The limit that refused files (`SIZE MARK …`) tell of, None if they are too few. Those with a mark in common are one file:
    what is dropped again under its name, or the same bytes under another."""
    files = sorted((int(size), marks.split()) for size, _, marks in (one.partition(" ") for one in refused) if size.isdecimal())
    sizes: list[int] = []
    seen: set[str] = set()
    for size, marks in files:
        if marks and seen.isdisjoint(marks):
            sizes.append(size)
        seen.update(marks)
    return Limit(sizes[_FILES - 1], len(sizes)) if len(sizes) >= _FILES else None


def known_limits(learned: Mapping[tuple[str, str, str], float]) -> dict[str, Limit]:
    """The limits of all projects, of what the ledger has learned and not forgotten."""
    projects = {project for project, kind, _ in learned if kind == KIND}
    found = {name: limit_of(what for project, kind, what in learned if (project, kind) == (name, KIND)) for name in projects}
    return {name: limit for name, limit in found.items() if limit is not None}


class Limits:
    """What was learned of the limits of all projects' servers. Safe for threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        learned = ledger.query.learned(time.time())
        self._refused = {(project, what): until for (project, kind, what), until in learned.items() if kind == KIND}
        self._breaks: Counter[int] = Counter()
        self._smallest: dict[str, int] = {}  # the sizes of the smallest and the largest file that has arrived, by project
        self._largest: dict[str, int] = {}

    def refused(self, job: Job, sha256: str) -> None:
        """The server has refused a file of these bytes for its size. It tells of no limit if one as large has arrived; nor is one
        that a person has tried again another file.
        """
        if job.again_of is not None or job.size < LEAST or job.size <= self._largest.get(job.project, 0):
            return
        until = time.time() + _DAY
        name = hashlib.sha256(f"{job.folder}/{job.name}".encode("utf-8", "surrogatepass")).hexdigest()
        what = f"{job.size} {name[:32]} {sha256[:32] or job.id}"
        with self._lock:
            self._refused[job.project, what] = until
        self._ledger.learn(job.project, KIND, what, until)

    def stored(self, job: Job) -> None:
        """A file has arrived: what was refused and is no larger was refused for another reason, or the limit was raised."""
        with self._lock:
            self._breaks.pop(job.id, None)
            self._smallest[job.project] = min(job.size, self._smallest.get(job.project, job.size))
            self._largest[job.project] = max(job.size, self._largest.get(job.project, job.size))
            over = [key for key in self._refused if key[0] == job.project and int(key[1].partition(" ")[0]) <= job.size]
            for key in over:
                del self._refused[key]
        for project, what in over:
            self._ledger.learn(project, KIND, what, 0.0)

    def broke_off(self, job: Job) -> None:
        """The connection broke off while a file was sent, or before there was an answer."""
        with self._lock:
            self._breaks[job.id] += 1

    def forbids(self, job: Job) -> Refused | None:
        """Why a file that was never sent is not worth sending."""
        if job.attempts or job.again_of is not None:
            return None
        now = time.time()
        with self._lock:
            limit = limit_of(what for (project, what), until in self._refused.items() if project == job.project and now < until)
        if limit is None or job.size < limit.size:
            return None
        return Refused(
            Reason.TOO_LARGE,
            f"the file is {job.size:,} bytes, and {limit}: it was not sent",
            "make the file smaller, or have the server's limit raised; `dropcap retry` sends it all the same",
        )

    def gives_up(self, job: Job) -> Held | None:
        """Why a file is not sent once more: its sends break off, and smaller files arrive."""
        with self._lock:
            breaks = self._breaks[job.id]
            if breaks < _BREAKS or self._smallest.get(job.project, job.size) >= job.size:
                return None
            del self._breaks[job.id]  # `retry` begins anew
        message = (
            f"the connection broke off {breaks} times while this file of {job.size:,} bytes was sent, and smaller files arrive"
        )
        return Held(
            Reason.TOO_LARGE,
            f"{message}: perhaps it is too large for the server, or something on the way dislikes it",
            "ask REDCap's administrator how large a file may be; then `dropcap retry`, or take it out of in_progress/",
        )


#: Different files that REDCap refuses alike, with none stored in between, before it counts as the project's trouble.
IN_A_ROW = 3
_TAKES_NONE = (
    "see in REDCap whether the project and its forms take files; dropcap tries one file at a time, and goes on by itself once "
    "one is taken. If these files are at fault, take them out of in_progress/"
)
#: Seconds for which the answer to a probe serves all who would ask again.
SERVES = 60.0
#: Different files that are turned away in a row, by a server that is well, before nobody counts it against them.
_IN_A_ROW = 2
_MOST_REMEMBERED = 10_000
#: Tries of a file that may be turned away as all others are, up to which it waits for the next probe and no longer.
_AFTER_A_PROBE = 3
_WELL = "the server is well when it is asked; this came in answer to this file"
_DISLIKED = (
    "dropcap tries again by itself, and holds the file in the end; ask REDCap's administrator whether a firewall on the way "
    "dislikes what is in the file, or its name"
)
_STOPPED = Reason.STOPPED, "dropcap was stopped"
_MAY_IMPORT = "give the token's user the right to import files (API Import/Update) and to edit the form (User Rights page)"
_MAY_EXPORT = "give the token's user the right to export (API Export, Full Data Set) and to see the form (User Rights page)"


@dataclass(slots=True)
class _Project:
    """What is known of one project since a file was stored there. A file is a folder and a name: one that is dropped again and
    again is one."""

    forbidden: set[tuple[str, str]] = field(default_factory=set)
    words: str = ""  # in which REDCap refuses files, and which
    refused: set[tuple[str, str]] = field(default_factory=set)
    takes_none: bool = False  # that counts as the project's trouble


@dataclass(slots=True)
class _Server:
    """What is known of one server. `asking` is held while it is asked: the others wait for its answer."""

    asking: threading.Lock = field(default_factory=threading.Lock)
    at: float = -SERVES
    trouble: Meaning | None = None
    provoked_at: float = -SERVES
    tokens: dict[tuple[str, int | None], tuple[float, Meaning | None]] = field(default_factory=dict)
    stored_at: float = -SERVES
    turned_away: dict[int, float] = field(default_factory=dict)  # jobs that met a page or a ban, and when at first


class Attribution:
    """Finds out whether a failure is the file's, the project's or the server's, which it may ask first. Safe for threads."""

    def __init__(self, limits: Limits, stop: threading.Event) -> None:
        self.limits = limits
        self._stop = stop
        self._lock = threading.Lock()
        self._servers: defaultdict[str, _Server] = defaultdict(_Server)
        self._projects: defaultdict[str, _Project] = defaultdict(_Project)

    def stored(self, job: Job, client: ProjectClient) -> None:
        """A file has arrived."""
        with self._lock:
            self._projects.pop(client.project.name, None)
            server = self._servers[client.server]
            server.stored_at = monotonic()
            server.turned_away.pop(job.id, None)
        self.limits.stored(job)

    def created(self, project: str) -> None:
        """A project takes something: it does not refuse all alike."""
        with self._lock:
            known = self._projects[project]
            known.words, known.refused, known.takes_none = "", set(), False

    def refused(self, job: Job, refused: Refused, *, paused: bool) -> Outcome:
        """What becomes of a file that REDCap refuses. Where it refuses one after the other in the same words, that nobody knows,
        none fails any more. `paused`: its project is, for such refusals."""
        if not refused.alike:
            return refused
        with self._lock:
            known = self._projects[job.project]
            if known.words != refused.alike:
                known.words, known.refused, known.takes_none = refused.alike, set(), False
            known.refused.add((job.folder, job.name))
            known.takes_none = known.takes_none or paused or len(known.refused) >= IN_A_ROW
            if not known.takes_none:
                return refused
        told = f"REDCap refuses one file of this project after the other: {refused.message}"
        return Later(Reason.REFUSED, told, _TAKES_NONE, Scope.PROJECT, certain=True)

    def probed(self, client: ProjectClient, trouble: Meaning | None) -> None:
        """A server was asked whether it is well; `trouble` is what it said of itself, or of the token."""
        now, stamp = monotonic(), client.token_stamp()
        with self._lock:
            server = self._servers[client.server]
            answers = trouble is None or trouble.verdict in (Verdict.PROJECT, Verdict.REFUSED)
            if stamp is not None:  # without a token nothing was asked
                server.at, server.trouble = now, None if answers else trouble
            server.tokens = {key: known for key, known in server.tokens.items() if now - known[0] < SERVES}
            if answers:
                server.tokens[client.project.name, stamp] = (now, trouble)

    def forget(self, scope: Scope, name: str) -> None:
        """A server or a project is no longer paused: what was wrong with it is over."""
        with self._lock:
            for server in [self._servers[name]] if scope == Scope.SERVER else list(self._servers.values()):
                if scope == Scope.SERVER and server.trouble is not None:
                    server.at, server.trouble = -SERVES, None
                server.tokens = {
                    key: known
                    for key, known in server.tokens.items()
                    if known[1] is None or (scope, name) != (Scope.PROJECT, key[0])
                }

    def of_a_file(
        self, meaning: Meaning, job: Job, client: ProjectClient, *, sent: bool, importing: bool, sha256: str = ""
    ) -> Outcome:
        """What becomes of a file whose export or import met this. As for `outcome_for`; `sha256` is needed where the file may
        have been too large (`may_be_of_size`)."""
        try:
            return self._of_a_file(meaning, job, client, sent=sent, importing=importing, sha256=sha256)
        except Stopped:
            return Later(*_STOPPED, scope=Scope.STOP, sent=sent or meaning.outcome_unknown)

    def is_disliked(self, meaning: Meaning, client: ProjectClient) -> bool:
        """Whether a question was answered by a page, or as by a ban, and the server is well when it is asked for its version."""
        try:
            return _not_of_redcap(meaning) and self._server(client) is None
        except Stopped:
            return False

    def of_a_question(self, meaning: Meaning, client: ProjectClient, *, sent: bool, alone: bool) -> Outcome:
        """What becomes of files about which a question met this; `alone`: it was about one file.

        Whether a page or a refused token is the project's affair, the state of server and project decides.
        """
        try:
            if meaning.verdict is Verdict.BANNED or meaning.shut_out:
                trouble = self._server(client)
                if trouble is not None:
                    return _as_probed(trouble, sent)
                if meaning.verdict is Verdict.BANNED:
                    return Later(meaning.reason, meaning.message, meaning.remedy, Scope.FILE, sent, own_fault=alone)
            return outcome_for(replace(meaning, shut_out=False), sent)
        except Stopped:
            return Later(*_STOPPED, scope=Scope.STOP, sent=sent)

    def _of_a_file(
        self, meaning: Meaning, job: Job, client: ProjectClient, *, sent: bool, importing: bool, sha256: str
    ) -> Outcome:
        unknown = sent or meaning.outcome_unknown
        if importing and job.size >= MAY_LOSE_FORM and meaning.in_xml:
            lost = self._lost_form(meaning, client)
            if lost is None:
                return self._waits_for_a_probe(meaning, client, unknown)
            if lost:
                meaning, unknown = _form_lost(meaning, job.size), False
        if meaning.of_size:
            self.limits.refused(job, sha256)
        if _not_of_redcap(meaning) or (meaning.verdict is Verdict.SERVER and meaning.worded):
            trouble = self._server(client)
            if trouble is None:
                return self._turned_away(meaning, job, client, unknown)
            return _as_probed(trouble, unknown)
        if meaning.verdict is Verdict.PROJECT and meaning.reason != Reason.PROJECT_MISMATCH:
            asked, trouble = self._token(client)
            if trouble is None:
                return self._forbidden_it(meaning, job, client, unknown, importing=importing, token_is_well=asked)
            return _as_probed(trouble, unknown)
        if importing and meaning.verdict is Verdict.UNKNOWN and meaning.reason == Reason.UNREACHABLE:
            self.limits.broke_off(job)
        return outcome_for(meaning, sent, final=importing)

    def _turned_away(self, meaning: Meaning, job: Job, client: ProjectClient, unknown: bool) -> Later:
        """The server is well: something on the way dislikes this file. Where it dislikes one new file after the other and none
        arrives, it may be all of them, and nobody's fault.
        """
        with self._lock:
            server = self._servers[client.server]
            first = server.turned_away.setdefault(job.id, monotonic())
            in_a_row = sum(at >= server.stored_at for at in server.turned_away.values())
            own = job.faults > 0 or first < server.stored_at or in_a_row <= _IN_A_ROW
            if len(server.turned_away) > _MOST_REMEMBERED:
                del server.turned_away[next(iter(server.turned_away))]
            ask_in = max(server.at + SERVES - monotonic(), 0.0)
        disliked = replace(meaning, message=f"{meaning.message} ({_WELL})", remedy=_DISLIKED)
        return replace(_alone(disliked, job, unknown, own=own, ask_in=ask_in), ask_server_in=ask_in)

    def _forbidden_it(
        self, meaning: Meaning, job: Job, client: ProjectClient, unknown: bool, *, importing: bool, token_is_well: bool
    ) -> Later:
        """The token is well and may not do this: to this file's form or record, or, from the second file on, to any. If it cannot
        be asked for yet whether the token is well, the same, in REDCap's own words."""
        with self._lock:
            others = self._projects[client.project.name].forbidden
            others.add((job.folder, job.name))  # what is dropped again is no other file
            all_of_them = len(others) > 1
        if meaning.reason == Reason.TOKEN and token_is_well:
            remedy = f"REDCap takes the token itself: {_MAY_IMPORT if importing else _MAY_EXPORT}"
            meaning = replace(meaning, reason=Reason.RIGHTS, remedy=remedy)
        if not all_of_them:
            return _alone(meaning, job, unknown, own=True) if token_is_well else self._waits_for_a_probe(meaning, client, unknown)
        return Later(meaning.reason, meaning.message, meaning.remedy, Scope.PROJECT, unknown, certain=True)

    def _server(self, client: ProjectClient) -> Meaning | None:
        """What the server says of itself, None if it is well. Raises Stopped."""
        with self._lock:
            server = self._servers[client.server]
        with server.asking:
            if monotonic() - server.at >= SERVES:
                self._ask(client)
            return server.trouble

    def _token(self, client: ProjectClient) -> tuple[bool, Meaning | None]:
        """Whether it was asked lately, and what the server says of the token, or of itself. Raises Stopped.

        Other projects on the server have its minute too: where one of them had it just now, this token is not asked for.
        """
        with self._lock:
            server = self._servers[client.server]
        with server.asking:
            now = monotonic()
            at, known = server.tokens.get((client.project.name, client.token_stamp()), (-SERVES, None))
            if now - at < SERVES:
                return True, known
            if now - server.at >= SERVES:
                return True, self._ask(client)
            return server.trouble is not None, server.trouble

    def _waits_for_a_probe(self, meaning: Meaning, client: ProjectClient, unknown: bool) -> Later:
        """Nothing is known of the token before the server may be asked again: the file waits so long, and is not to blame."""
        with self._lock:
            server = self._servers[client.server]
            seconds = max(max(server.at, server.provoked_at) + SERVES - monotonic(), 0.0)
        return Later(meaning.reason, meaning.message, meaning.remedy, Scope.FILE, unknown, backoff(1, 4.0) + seconds)

    def _lost_form(self, meaning: Meaning, client: ProjectClient) -> bool | None:
        """Whether XML in answer to a large file is due to PHP, which has dropped the form: the server is well, the token too, and
        errors come in JSON else. None if that cannot be asked for yet. Raises Stopped."""
        if client.redcap.dialect.is_json() is False:
            return False
        asked, trouble = self._token(client)
        if trouble is not None:
            return False
        if meaning.verdict is Verdict.PROJECT and not asked:
            return None
        with self._lock:
            server = self._servers[client.server]
        with server.asking:
            if client.redcap.dialect.is_json() is None:
                if monotonic() - server.provoked_at < SERVES:
                    return None
                server.provoked_at = monotonic()
                client.redcap.provoke(self._stop)
            return client.redcap.dialect.is_json() or False

    def _ask(self, client: ProjectClient) -> Meaning | None:
        trouble = None
        try:
            client.redcap.version(self._stop)
        except RedcapError as error:
            trouble = error.meaning
        self.probed(client, trouble)
        return trouble


def _not_of_redcap(meaning: Meaning) -> bool:
    """A page, a redirect or a ban: it may be due to what was asked."""
    return meaning.verdict in (Verdict.BANNED, Verdict.NOT_THE_API) or meaning.page


def may_be_of_size(meaning: Meaning, size: int) -> bool:
    """Whether a file may have been refused for its size, so that it matters which file it was."""
    return meaning.of_size or (meaning.in_xml and size >= MAY_LOSE_FORM)


def _alone(meaning: Meaning, job: Job, unknown: bool, *, own: bool, ask_in: float = 0.0) -> Later:
    """The file waits, longer each time, and nobody else does; until the next probe, in `ask_in` seconds, at least if it may be
    all of them, but for a page at 5xx that it meets for the first time, which may be over at once."""
    if own or (meaning.page and job.attempts <= 1):
        wait = backoff(max(job.attempts, 1))
    elif job.attempts <= _AFTER_A_PROBE:
        wait = ask_in + backoff(1, 4.0)
    else:
        wait = backoff(job.attempts, 2 * SERVES)
    seconds = max(wait, min(meaning.retry_after or 0.0, LONGEST))
    return Later(meaning.reason, meaning.message, meaning.remedy, Scope.FILE, unknown, seconds, own_fault=own)


def _as_probed(trouble: Meaning, unknown: bool) -> Later:
    """What the probe met is certain, and stops whom it concerns at once."""
    outcome = outcome_for(trouble, unknown, final=False)
    assert isinstance(outcome, Later)
    # REDCap refuses even to tell its version: that is no file's trouble.
    scope = Scope.PROJECT if trouble.verdict is Verdict.REFUSED else outcome.scope
    return replace(outcome, scope=scope, certain=True, worded=False, own_fault=False, sent=unknown)


def _form_lost(meaning: Meaning, size: int) -> Meaning:
    message = (
        f"REDCap accepts the token, but did not see it in this upload of {size:,} bytes: the server drops requests of this size"
    )
    return Meaning(
        Verdict.REFUSED,
        Reason.TOO_LARGE,
        f"{message} (PHP's post_max_size). {meaning.message}",
        "make the file smaller, or ask REDCap's administrator to raise the upload limit; set the project's `max_size` to it",
        of_size=True,
    )
