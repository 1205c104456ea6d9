"""What a REDCap does with each request that dropcap relies on: tried on one place of one record, and taken back."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, Self

from dropcap.delivery.lookup import shown_in_field
from dropcap.display import shown, size
from dropcap.preflight.project import LATER, Answer, ask
from dropcap.preflight.vocabulary import known_headers, shape_of
from dropcap.reasons import Reason
from dropcap.redcap.client import Exported, FileTarget, ProjectStructure, Redcap, RedcapError
from dropcap.redcap.parsing import file_name
from dropcap.redcap.reply import Asked, Meaning, Verdict
from dropcap.redcap.request import MAX_WORDS, form, safe_name
from dropcap.redcap.transport import Reply
from dropcap.routing.rule import Target

#: Requests of one trial; the last ones are for taking back what was uploaded.
MOST_REQUESTS = 60
_FOR_TAKING_BACK = 20
#: What no project has.
_NO_EVENT, _NO_RECORD = "dropcap_trial_arm_1", "dropcap-trial-"
_ODD_NAME = 'dropcap trial "Ü" 1\'2.pdf'
_NOTHING = hashlib.sha256().hexdigest()
Row = Mapping[str, str]


class TrialError(Exception):
    """The trial cannot be made so: what is wrong, and what to do."""


class Judgement(Enum):
    """What an answer means for those who want to use dropcap with this server."""

    EXPECTED = "as expected"
    COPES = "dropcap copes"
    UNUSABLE = "NOT SO"


@dataclass
class Observation:
    """One request and the head and words of its reply. `framed`: by its length, by chunks, or else by the connection's end."""

    kind: str
    status: int
    headers: Mapping[str, str]
    framed: str
    seconds: float
    words: bytes = b""

    def told(self, hidden: Sequence[str]) -> dict[str, Any]:
        """What of it may leave the house."""
        heard = {"answer": shape_of(self.headers, self.words, hidden)} if self.kind != "export" or self.words else {}
        timed = {"framing": self.framed, "seconds": round(self.seconds, 3)}
        return {"request": self.kind, "status": self.status, "headers": known_headers(self.headers), **timed, **heard}


@dataclass
class Budget:
    """How many requests are left, of all tokens together."""

    left: int = MOST_REQUESTS
    kept_back: int = _FOR_TAKING_BACK

    @property
    def used(self) -> int:
        return MOST_REQUESTS - self.left


class Observed(Redcap):
    """A client that keeps what was answered. For one thread."""

    budget: Budget
    kind = ""

    def observe(self, budget: Budget) -> Self:
        """Count the requests, and keep the replies from now on."""
        self.budget = budget
        self.seen: list[Observation] = []
        return self

    def delete_file(self, target: FileTarget, stop: threading.Event | None = None) -> None:
        """Remove the file in a field."""
        self.kind = "delete"
        with self._exchange(lambda: form(self._file_fields("delete", target)), "json", stop) as reply:
            words, _ = reply.read(MAX_WORDS)
            self._judge(reply, words, "json", True)

    def lost_form(self, stop: threading.Event | None = None) -> None:
        """Ask as a request arrives of which PHP has dropped all fields."""
        self.kind = "lost form"
        with (
            contextlib.suppress(RedcapError),
            self._exchange(lambda: form([]), "json", stop) as reply,
        ):
            self._judge(reply, reply.read(MAX_WORDS)[0], "json", True)

    @contextmanager
    def _exchange(self, body: Any, for_: Asked, stop: threading.Event | None, *, rewindable: bool = True) -> Iterator[Reply]:
        kind, self.kind = self.kind or for_, ""
        began = time.monotonic()
        with super()._exchange(body, for_, stop, rewindable=rewindable) as reply:
            headers = reply.headers
            framed = "length" if headers.get("Content-Length") else "chunks" if reply.framed else "end of connection"
            self.seen.append(Observation(kind, reply.status, dict(headers), framed, 0.0))
            try:
                yield reply
            finally:
                self.seen[-1].seconds = time.monotonic() - began

    def _ask(self, asked: dict[str, str], *rest: Any) -> bytes:
        self.kind = asked["content"]
        return super()._ask(asked, *rest)

    def _judge(self, reply: Reply, words: bytes, *rest: Any, **more: Any) -> None:
        self.seen[-1].words = words[:MAX_WORDS]
        super()._judge(reply, words, *rest, **more)

    def _wait_for_room(self, stop: threading.Event | None, for_: Asked) -> None:
        if self.budget.left <= self.budget.kept_back:
            raise TrialError(f"the trial has made its {MOST_REQUESTS - self.budget.kept_back} requests, and tries nothing more")
        self.budget.left -= 1
        super()._wait_for_room(stop, for_)


@dataclass(frozen=True)
class Upload:
    """A file that was sent, or was about to be: a line of the journal."""

    api: str
    project_id: int
    sha256: str
    record: str
    field: str
    event: str | None
    instance: int | None

    @property
    def target(self) -> FileTarget:
        return FileTarget(self.record, self.field, self.event, self.instance)


class TrialJournal:
    """What trials have uploaded and not taken back, a line each. One trial has it at a time; raises TrialError and OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if os.geteuid() == 0:  # root must not take it from the daemon's user
            owner = path.parent.stat()
            os.fchown(self._fd, owner.st_uid, owner.st_gid)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise TrialError(f"another trial is running ({path} is locked): wait for its end") from None

    def all(self) -> list[Upload]:
        """What is not over, in its order; a line that a power cut tore is left out."""
        found: list[Upload] = []
        for line in os.pread(self._fd, os.fstat(self._fd).st_size, 0).splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                told = json.loads(line)
                if told.pop("over", False):
                    found = [one for one in found if one != Upload(**told)]
                else:
                    found.append(Upload(**told))
        return found

    def enter(self, upload: Upload, **over: bool) -> None:
        """Durable on return. Raises TrialError."""
        try:
            os.write(self._fd, b"\n" + json.dumps(asdict(upload) | over).encode() + b"\n")  # after a torn line, too
            os.fsync(self._fd)
        except OSError as error:
            raise TrialError(f"{self.path} cannot be written ({error.strerror}), and nothing is sent without it") from None

    def settle(self, settled: Sequence[Upload]) -> None:
        """These are over. Raises TrialError; they are looked for once more then, and found gone."""
        for one in settled:
            self.enter(one, over=True)
        if not self.all():
            os.ftruncate(self._fd, 0)

    def close(self) -> None:
        os.close(self._fd)


class OpenJobs(Protocol):
    """Knows which places files of dropcap's wait for."""

    def busy(self, target: FileTarget) -> bool:
        """Whether a job that is not over may go there."""


@dataclass(frozen=True)
class Tried:
    """A row: what dropcap relies on, what the server did, what that means, and what follows from it."""

    relies: str
    did: str
    verdict: Judgement
    advice: str = ""
    exchanges: Sequence[Observation] = ()


@dataclass(frozen=True)
class TrialPlace:
    """Where the trial is made, and, if the project has one, a repeating field to try `next` on."""

    target: FileTarget
    repeating: FileTarget | None = None


def place_for(
    structure: ProjectStructure, rows: Sequence[Row], record: str, name: str | None, event: str | None, jobs: OpenJobs
) -> TrialPlace:
    """An empty place of the record that nobody waits for. Raises TrialError if there is none."""
    if not rows:
        raise TrialError("REDCap shows no such record: make one for the trial, or name another with --record")
    production = structure.project.in_production
    if name is not None and name not in structure.file_fields():
        raise TrialError("--field: the project has no such file upload field")
    if event is not None and event not in structure.events:
        raise TrialError(f"--event: the project has no such event; there are: {', '.join(structure.events) or 'none'}")
    plain, repeating = [], []
    for one in [name] if name else sorted(structure.file_fields(), key=lambda name: structure.fields[name].identifier):
        its = structure.fields[one].form
        for at in [event] if event else structure.events or (None,):
            if at is not None and structure.told_designated and not structure.is_designated(at, its):
                continue
            if not structure.repeats(at, its):
                plain.append(FileTarget(record, one, at))
                continue
            highest = max((instance_of(row, its) for row in rows if row.get("redcap_event_name", "") == (at or "")), default=0)
            if production:
                plain += [FileTarget(record, one, at, number) for number in range(1, highest + 1)]
            else:
                repeating.append(FileTarget(record, one, at, highest + 1))
    free = [target for target in (*plain, *repeating) if not shows(rows, structure, target) and not jobs.busy(target)]
    if not free:
        raise TrialError(
            "the record has no file field that is empty and that no file waits for: name another --record or --field"
        )
    target, following = free[0], [one for one in free[1:] if one in repeating]
    return TrialPlace(target, following[0] if following else None)


def instance_of(row: Row, its_form: str) -> int:
    """The number of the repeat instance that a row is of, if it is one of this form or of a whole event; else 0."""
    number = row.get("redcap_repeat_instance", "")
    return int(number) if number.isdecimal() and row.get("redcap_repeat_instrument", "") in ("", its_form) else 0


def shows(rows: Sequence[Row], structure: ProjectStructure, place: FileTarget) -> str:
    """What a record's export shows at a place; empty if there is no file."""
    return shown_in_field(rows, structure, Target(place.field, place.record, place.event), place.instance)


@dataclass
class Trial:
    """One trial of one project. `left` tells at its end what could not be taken back."""

    redcap: Observed
    api: str
    record: str
    journal: TrialJournal
    jobs: OpenJobs
    large: int = 0  # bytes, 0: the size limit is not tried
    second: Observed | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    answer: Answer = field(init=False)
    place: TrialPlace = field(init=False)
    left: list[str] = field(default_factory=list)
    _no_file: str = ""  # what REDCap said of the empty field, if its words are not known
    _first: int = 0  # of the exchanges that no row has yet

    def look(self, name: str | None, event: str | None) -> None:
        """Ask for the project and the record, and choose a place; nothing is sent yet. Raises TrialError, RedcapError."""
        self.answer = ask(self.redcap)
        self.place = place_for(self.answer.structure, self._rows(), self.record, name, event, self.jobs)

    @property
    def _production(self) -> bool:
        return self.answer.structure.project.in_production

    def rows(self) -> Iterator[Tried]:
        """Try one after the other. Raises TrialError if nothing more can be tried, RedcapError if REDCap does not answer."""
        yield from self._of_the_project()
        target = self.place.target
        empty = self._empty(target)
        yield empty
        if empty.verdict is Judgement.UNUSABLE:
            return
        first, second = (f"%PDF-1.4 dropcap trial {secrets.token_hex(8)}\n".encode() for _ in range(2))
        sent = self._import("a small file is stored", target, first, "dropcap-trial.pdf")
        yield sent
        if sent.verdict is not Judgement.UNUSABLE:
            yield from self._read(target, first, "dropcap-trial.pdf", "it comes back, byte for byte", "its name comes back")
            yield from self._refusals(target)
            yield self._import("another takes its place", target, second, _ODD_NAME)
            yield from self._read(target, second, safe_name(_ODD_NAME), "the new one comes back", "so does a name like Ü ' a")
            yield self._shown(target)
            yield from self._of_other_tokens(target)
            if self.large:
                yield self._of_size(target)
            yield self._removed(target)
        yield from self._of_instances()
        yield self._dialect()
        yield self._times()

    def take_back(self) -> None:
        """Remove what this trial or one that was killed has left, as far as it is still that; the rest goes into `left`.

        Raises Stopped.
        """
        self.redcap.budget.kept_back = 0
        ours = self.pending()
        for target in dict.fromkeys(one.target for one in ours):
            sums = {one.sha256 for one in ours if one.target == target}
            where = f"record {target.record}, field {target.field}" + "".join(
                f", {name} {value}" for name, value in (("event", target.event), ("instance", target.instance)) if value
            )
            try:
                left = self._removed_from(target, sums)
            except TrialError as error:
                left = f"perhaps a file of the trial's ({error})"
            except RedcapError as error:
                if error.meaning.reason in LATER:
                    self.left.append(f"{where}: perhaps a file of the trial's; the next trial looks ({error.meaning.message})")
                    continue
                left = f"perhaps a file of the trial's; remove it in REDCap ({error.meaning.message})"
            if left:
                self.left.append(f"{where}: {left}")
            if target.record.startswith(_NO_RECORD) and self._exists(target.record):
                self.left.append(f"record {target.record}, which REDCap made unasked: delete it there")
            with contextlib.suppress(TrialError):
                self.journal.settle([one for one in ours if one.target == target])
        if not self._production and any(one.instance for one in ours):
            self.left.append("a repeat instance without a file: delete it in REDCap if it disturbs")

    def _exists(self, record: str) -> bool:
        with contextlib.suppress(RedcapError, TrialError):
            return bool(self.redcap.records(records=[record], stop=self.stop))
        return False

    def _removed_from(self, target: FileTarget, sums: set[str]) -> str:
        """Remove a file with one of these checksums; what is left there. Raises RedcapError, TrialError."""
        for tried in (False, True):
            found = self._export(target)
            if isinstance(found, Meaning):
                none = found.reason == Reason.NO_FILE or found.verdict is Verdict.REFUSED or found.said == self._no_file != ""
                if none or (found.verdict is Verdict.UNCLEAR and target != self.place.target and found.said):
                    return ""
                if found.reason != Reason.NOT_CONFIRMED or _NOTHING not in sums:  # an empty file is given out as nothing
                    raise RedcapError(found)
            elif found.sha256 not in sums:
                return "another file, which is not the trial's, and was not touched"
            if not tried:
                self.redcap.delete_file(target, self.stop)
        return "a file of the trial's, which REDCap did not remove as asked"

    def pending(self) -> list[Upload]:
        """What trials of this project have sent and nobody has looked for since."""
        project = self.answer.structure.project.project_id
        return [one for one in self.journal.all() if (one.api, one.project_id) == (self.api, project)]

    def hidden(self) -> list[str]:
        """What a report does not tell, even where it is an ordinary word."""
        structure = self.answer.structure
        return [self.record, structure.project.title, *structure.fields, *structure.events]

    # ------------------------------------------------------------------------------------------------------------------

    def _since(self) -> list[Observation]:
        """The exchanges since the last row."""
        begin, self._first = self._first, len(self.redcap.seen)
        return self.redcap.seen[begin:]

    def _tried(self, relies: str, did: str, verdict: Judgement = Judgement.EXPECTED, advice: str = "") -> Tried:
        seen = self._since()
        return Tried(relies, f"{seen[-1].status}: {did}" if seen and seen[-1].status else did, verdict, advice, seen)

    def _failed(self, relies: str, meaning: Meaning) -> Tried:
        """The row of a trouble that was not asked for. Raises RedcapError if REDCap is away altogether."""
        if meaning.reason in LATER:
            seen = self._since()
            self.redcap.version(self.stop)
            self._first = len(self.redcap.seen)
            advice = "the server fails here and answers elsewhere: show this row to its administrator"
            return Tried(relies, meaning.message, Judgement.UNUSABLE, advice, seen)
        return self._tried(relies, meaning.message, Judgement.UNUSABLE, meaning.remedy)

    def _of_the_project(self) -> Iterator[Tried]:
        structure, rights = self.answer.structure, self.answer.rights
        did = f"REDCap {self.answer.version}, {len(structure.file_fields())} file fields, {len(structure.events)} events"
        copes = "" if structure.told_repeating else "what repeats is not told: give the token Project Design, or trust your rules"
        verdict = Judgement.COPES if copes else Judgement.EXPECTED
        yield self._tried("version and structure", did, verdict, copes)
        its = structure.fields[self.place.target.field].form
        if rights is None:
            advice = "dropcap asks, and goes by what is refused"
            yield Tried("rights of the token", "not told, or of several users", Judgement.COPES, advice)
        elif not rights.api_import or its in rights.hidden | rights.read_only:
            advice = "give the token's user API Import/Update, and edit rights for the form"
            yield Tried("rights of the token", "it may not import here", Judgement.UNUSABLE, advice)
        elif not rights.has_full_data(its):
            advice = "files may be hidden from it: give it Full Data Set, or set `confirm: listed`"
            yield Tried("rights of the token", "import, but no full data export", Judgement.COPES, advice)
        else:
            yield Tried("rights of the token", "import and full data export", Judgement.EXPECTED)

    def _rows(self) -> list[dict[str, str]]:
        fields = [self.answer.structure.record_id_field, *self.answer.structure.file_fields()]
        fields += [f"{one}_complete" for one in dict.fromkeys(self.answer.structure.fields[name].form for name in fields[1:])]
        return self.redcap.records(records=[self.record], fields=fields, stop=self.stop)

    def _export(self, target: FileTarget) -> Exported | Meaning:
        try:
            return self.redcap.export_file(target, stop=self.stop)
        except RedcapError as error:
            return error.meaning

    def _empty(self, target: FileTarget) -> Tried:
        relies, found = "an empty field is told", self._export(target)
        if isinstance(found, Exported):
            raise TrialError(
                "the field holds a file that a record's export does not show; nothing was sent: name another --field"
            )
        if found.reason == Reason.NO_FILE:
            return self._tried(relies, "refused in known words")
        if found.verdict is Verdict.UNCLEAR:
            self._no_file = found.said
            advice = "dropcap believes a record's export that shows no file"
            return self._tried(relies, f"refused: {found.said or found.message}", Judgement.COPES, advice)
        return self._failed(relies, found)

    def _send(self, target: FileTarget, content: bytes, name: str) -> Meaning | bool:
        """Import a file, entered in the journal before; whether the reply has proven its end, or why it failed."""
        self._still_ours(target)
        self.journal.enter(self._upload(target, hashlib.sha256(content).hexdigest()))
        try:
            return self.redcap.import_file(target, BytesIO(content), len(content), name, stop=self.stop).proven
        except RedcapError as error:
            return error.meaning

    def _still_ours(self, target: FileTarget) -> None:
        """Raises TrialError if a file waits for the place, or somebody has put one there since the trial did."""
        if self.jobs.busy(target):
            raise TrialError("a file of dropcap's waits for this place now: nothing more is sent")
        sums = {one.sha256 for one in self.pending() if one.target == target}
        if sums and isinstance(found := self._export(target), Exported) and found.sha256 not in sums:
            raise TrialError("the field holds another file now, which is not the trial's: nothing more is sent")

    def _upload(self, target: FileTarget, sha256: str) -> Upload:
        project = self.answer.structure.project.project_id
        return Upload(self.api, project, sha256, target.record, target.field, target.event, target.instance)

    def _import(self, relies: str, target: FileTarget, content: bytes, name: str) -> Tried:
        found = self._send(target, content, name)
        if isinstance(found, bool):
            words = "an empty body" if not self.redcap.seen[-1].words.strip() else "says success"
            if found:
                return self._tried(relies, words)
            return self._tried(
                relies, f"{words}, no length", Judgement.COPES, "dropcap reads each file back before it counts as done"
            )
        if found.verdict is Verdict.UNKNOWN and found.reason not in LATER:
            return self._tried(relies, found.message, Judgement.COPES, "dropcap reads it back before it counts as done")
        return self._failed(relies, found)

    def _read(self, target: FileTarget, content: bytes, name: str, whole: str, named: str) -> Iterator[Tried]:
        found = self._export(target)
        if isinstance(found, Meaning):
            if found.reason == Reason.NO_FILE:
                advice = "REDCap said that it was stored, and has nothing: ask its administrator; no file is safe here"
                yield self._tried(whole, "there is no file", Judgement.UNUSABLE, advice)
            else:
                yield self._failed(whole, found)
            return
        seen = self.redcap.seen[-1]
        framed = f"by {seen.framed}" + (", compressed" if seen.headers.get("Content-Encoding") else "")
        if found.sha256 != hashlib.sha256(content).hexdigest():
            did = f"other bytes: {found.size} instead of {len(content)}"
            yield self._tried(whole, did, Judgement.UNUSABLE, "what is stored is not what was sent: look for what changes files")
        elif not found.proven_whole:
            yield self._tried(whole, f"equal, {framed}", Judgement.COPES, "a cut shows in the comparison, which is always made")
        else:
            yield self._tried(whole, f"equal, {framed}")
        where = "Content-Type" if file_name({"Content-Type": seen.headers.get("Content-Type", "")}) else "Content-Disposition"
        if found.name == name:
            yield Tried(named, f"equal, in {where}", Judgement.EXPECTED)
        else:
            advice = "dropcap compares content, not names"
            yield Tried(named, f"REDCap made it {shown(found.name)}", Judgement.COPES, advice)

    def _shown(self, target: FileTarget) -> Tried:
        relies = "a record's export shows it"
        try:
            value = shows(self._rows(), self.answer.structure, target)
        except RedcapError as error:
            return self._failed(relies, error.meaning)
        if value in ("[document]", safe_name(_ODD_NAME)):
            return self._tried(relies, "[document]" if value == "[document]" else "the file's name")
        advice = "dropcap asks the field itself; do not set `confirm: listed`"
        return self._tried(relies, "another text" if value else "blank, though a file is there", Judgement.COPES, advice)

    def _refusals(self, target: FileTarget) -> Iterator[Tried]:
        key = self.answer.structure.record_id_field
        text = FileTarget(self.record, key, target.event)
        if not self._production:
            nobody = FileTarget(_NO_RECORD + secrets.token_hex(4), target.field, target.event)
            yield self._refused("a missing record is refused", nobody, Reason.NO_RECORD, "dropcap looks for the record first")
            if self.answer.structure.longitudinal:
                at = FileTarget(self.record, target.field, _NO_EVENT)
                yield self._refused("an unknown event is refused", at, Reason.NO_EVENT, "dropcap knows the project's events")
            yield self._refused(
                "no file goes into a text field", text, Reason.NOT_A_FILE_FIELD, "dropcap knows the fields' types"
            )
        elif isinstance(found := self._export(text), Meaning) and found.verdict in (Verdict.REFUSED, Verdict.UNCLEAR):
            yield self._tried("a text field gives no file", "refused")
        yield self._refused(
            "a blocked ending is refused",
            target,
            Reason.BLOCKED_EXTENSION,
            "the rules' patterns say which endings are taken",
            "trial.exe",
        )
        yield self._refused("an empty file is refused", target, Reason.REFUSED, "dropcap sends none", content=b"")

    def _refused(
        self, relies: str, target: FileTarget, reason: Reason, copes: str, name: str = "trial.pdf", content: bytes = b"%PDF\n"
    ) -> Tried:
        found = self._send(target, content, name)
        if isinstance(found, bool):
            return self._tried(relies, "stored all the same", Judgement.COPES, copes)
        if found.reason == reason or (reason == Reason.REFUSED and found.verdict is Verdict.REFUSED):
            return self._tried(relies, "refused")
        if found.verdict is Verdict.REFUSED:
            return self._tried(relies, f"refused: {found.message}", Judgement.COPES, f"the words are not known; {copes}")
        if found.reason == Reason.RIGHTS:
            return self._tried(relies, f"as lacking a right: {found.message}", Judgement.COPES, copes)
        return self._failed(relies, found)

    def _of_size(self, target: FileTarget) -> Tried:
        relies = f"a file of {size(self.large)} is stored"
        with tempfile.TemporaryFile() as file:
            file.truncate(self.large)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            self._still_ours(target)
            self.journal.enter(self._upload(target, digest))
            try:
                sent = self.redcap.import_file(target, file.fileno(), self.large, "dropcap-trial.pdf", stop=self.stop)
            except RedcapError as error:
                meaning = error.meaning
            else:
                found = self._export(target)
                if isinstance(found, Exported) and found.sha256 == digest:
                    return self._tried(relies, f"equal, in {sent.seconds:.1f} s")
                return self._tried(
                    relies, "said to be stored, and is not", Judgement.UNUSABLE, f"set `max_size` below {self.large}"
                )
        if meaning.reason == Reason.TOO_LARGE:
            return self._tried(
                relies, "refused as too large", Judgement.COPES, "such files fail as `too_large`, or set `max_size`"
            )
        advice = f"dropcap finds out whether it was the size; better set `max_size` below {self.large} bytes"
        seen = self._since()
        self.redcap.version(self.stop)
        self._first = len(self.redcap.seen)
        return Tried(relies, meaning.message, Judgement.COPES, advice, seen)

    def _removed(self, target: FileTarget) -> Tried:
        relies = "a removed file is gone"
        self._still_ours(target)
        try:
            self.redcap.delete_file(target, self.stop)
        except RedcapError as error:
            if error.meaning.verdict not in (Verdict.REFUSED, Verdict.PROJECT):
                return self._failed(relies, error.meaning)
            return self._tried(relies, "not tried: the token may not remove it")
        found = self._export(target)
        if isinstance(found, Meaning) and found.verdict in (Verdict.REFUSED, Verdict.UNCLEAR):
            value = shows(self._rows(), self.answer.structure, target)
            if not value:
                return self._tried(relies, "no file, and blank in the export")
            return self._tried(relies, "the record's export still shows it", Judgement.COPES, "dropcap asks the field itself")
        if isinstance(found, Meaning):
            return self._failed(relies, found)
        advice = "what dropcap reads back here may be out of date: ask the administrator for a cache in between"
        return self._tried(relies, "REDCap still gives it out", Judgement.UNUSABLE, advice)

    def _of_instances(self) -> Iterator[Tried]:
        target = self.place.repeating
        if target is None or self._production or self.jobs.busy(target):
            return
        found = self._export(target)
        if isinstance(found, Exported):
            yield self._tried("the next instance is empty", "it holds a file", Judgement.UNUSABLE, "do not use `instance: next`")
            return
        content = f"%PDF-1.4 dropcap trial {secrets.token_hex(8)}\n".encode()
        sent = self._import("a new repeat instance", target, content, "dropcap-trial.pdf")
        yield sent
        if sent.verdict is Judgement.UNUSABLE:
            return
        yield from self._read(target, content, "dropcap-trial.pdf", "it comes back from there", "with its name")
        its = self.answer.structure.fields[target.field].form
        here = [row for row in self._rows() if row.get("redcap_event_name", "") == (target.event or "")]
        highest = max((instance_of(row, its) for row in here), default=0)
        relies = "it is the highest now"
        if highest == target.instance:
            yield self._tried(relies, f"instance {highest}")
        else:
            advice = "`instance: next` would write over files here: give instances by number"
            yield self._tried(relies, f"{highest}, not {target.instance}", Judgement.UNUSABLE, advice)

    def _of_other_tokens(self, target: FileTarget) -> Iterator[Tried]:
        """What a token that lacks a right is told. Its import goes to a record that nobody has, whosever project it is."""
        if self.second is None:
            return
        nobody = FileTarget(_NO_RECORD + secrets.token_hex(4), target.field, target.event)
        for right in ("export", "import"):
            begin = len(self.second.seen)
            try:
                if right == "export":
                    self.second.export_file(target, stop=self.stop)
                else:
                    self.journal.enter(self._upload(nobody, ""))
                    self.second.import_file(nobody, BytesIO(b"%PDF\n"), 5, "trial.pdf", stop=self.stop)
                meaning = None
            except RedcapError as error:
                meaning = error.meaning
            seen = self.second.seen[begin:]
            relies = f"a token without {right} right"
            if meaning is None or meaning.reason in (Reason.NO_RECORD, Reason.NO_FILE):
                yield Tried(relies, "the second token has it", Judgement.EXPECTED, exchanges=seen)
            elif meaning.verdict is Verdict.PROJECT:
                yield Tried(relies, "told as such", Judgement.EXPECTED, exchanges=seen)
            else:
                advice = "files fail one by one, until several alike pause the project"
                yield Tried(relies, meaning.message, Judgement.COPES, advice, seen)

    def _dialect(self) -> Tried:
        relies = "errors in JSON, XML without a form"
        self.redcap.provoke(self.stop)
        self.redcap.lost_form(self.stop)
        asked, lost = (shape_of(one.headers, one.words) for one in self.redcap.seen[-2:])
        did = f"{asked.get('form') or asked['kind']}, {lost.get('form') or lost['kind']}"
        if (asked.get("form"), lost.get("form")) == ("json", "xml"):
            return self._tried(relies, did)
        return self._tried(relies, did, Judgement.COPES, "that a file is too large is then found out by asking again")

    def _times(self) -> Tried:
        kinds = ("project", "record", "export", "import")
        taken = {kind: [one.seconds for one in self.redcap.seen if one.kind == kind] for kind in kinds}
        middle = {kind: statistics.median(seconds) for kind, seconds in taken.items() if seconds}
        return Tried(
            "time of each kind of request",
            ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in middle.items()),
            Judgement.EXPECTED,
        )


def report(tried: Sequence[Tried], version: str, dropcap: str, hidden: Sequence[str]) -> dict[str, Any]:
    """The rows as they may be sent to others."""
    rows = [
        {"row": one.relies, "verdict": one.verdict.value, "requests": [exchange.told(hidden) for exchange in one.exchanges]}
        for one in tried
    ]
    return {"dropcap": dropcap, "redcap": version, "rows": rows}
