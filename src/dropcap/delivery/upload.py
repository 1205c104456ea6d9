"""One upload: open, compare with what the field holds, keep a copy, send, confirm."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from io import FileIO
from typing import Self

import structlog

from dropcap.delivery.attribution import Attribution, may_be_of_size
from dropcap.delivery.lookup import Row, shown_in_field
from dropcap.delivery.plan import OVERTAKEN, RECORD_WAIT_ENDS, Facts, Send, newly_listed
from dropcap.delivery.project_client import EmptyFieldDetection, FieldContent, ProjectClient, RefusedExport
from dropcap.delivery.queue import FolderQueue, Known
from dropcap.delivery.workers import Hosts, NotEntered, Progress, Slot, WatchedFile
from dropcap.display import shown
from dropcap.files.tree import NotRegular, Tree, sha256
from dropcap.filing.place import Filing, as_sent, what_is_sent
from dropcap.filing.preserve import NoCopy, Origin, PreserveSink, preserve_sink
from dropcap.ledger.job import (
    Gone,
    Held,
    Job,
    Later,
    LookAgain,
    Outcome,
    Refused,
    Result,
    Rewritten,
    State,
    Stored,
    WaitForRecord,
    about,
)
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import Exported, FileTarget, NoFile, ProjectStructure, RedcapError, Sent
from dropcap.redcap.reply import Verdict
from dropcap.redcap.request import SourceChanged, SourceUnreadable, safe_name
from dropcap.redcap.window import Stopped
from dropcap.routing.route import Route
from dropcap.routing.rule import NEXT, Confirm, ExistingFile, MissingRecord

log = structlog.get_logger()

IN_PROGRESS = "in_progress"
NOT_OURS = "it is not known any more whether its folder is ours"
_NO_END = "REDCap exported the present file without its length, and differently the second time, so it may be cut off"
_HTTP_1_1 = "have the server or the proxy before it answer by HTTP/1.1, or set existing_file: replace for this rule"
#: What may be said by somebody who stands before REDCap.
_IN_ITS_PLACE = frozenset({Verdict.BANNED, Verdict.NOT_THE_API, Verdict.RATE_LIMITED})
#: Instances that are chosen one after the other without a rest; then it looks as if REDCap told different things.
_CHOICES_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Sending:
    """A file that is entered as being sent."""

    job: Job
    route: Route
    step: Send
    known: Known
    overtaken: bool = False  # a newer one has gone to its place: it is only looked whether this one had arrived


@dataclass(frozen=True, slots=True)
class Batch:
    """Files of one folder that one thread sends, one after the other; `tree` is the directory in which they lie."""

    folder: FolderQueue
    client: ProjectClient
    tree: Tree
    filing: Filing
    sendings: Sequence[Sending]


@dataclass(frozen=True, slots=True)
class Shared:
    """What all attempts use. `empty_fields` knows what refused exports mean."""

    ledger: Ledger
    hosts: Hosts
    attribution: Attribution
    empty_fields: EmptyFieldDetection
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True)
class ToBeListed:
    """REDCap has accepted the file; whether it lists it is asked for several files at once, by `Listing.of`."""

    place: FileTarget
    sent: Sent
    result: Result
    status: os.stat_result
    seconds: float


@dataclass(frozen=True, slots=True)
class Listing:
    """What a record's export shows after imports, or why it could not be had."""

    structure: ProjectStructure | None = None
    rows: Sequence[Row] = ()
    error: Exception | None = None

    @classmethod
    def of(cls, places: Sequence[FileTarget], client: ProjectClient, stop: threading.Event) -> Self:
        """One question about the records of all these places."""
        try:
            structure = client.structure(stop=stop)
            fields = sorted({structure.record_id_field, *(place.field for place in places)})
            names = list(dict.fromkeys(place.record for place in places))
            return cls(structure, client.redcap.records(records=names, fields=fields, stop=stop))
        except Exception as error:  # it is that of each of them
            return cls(error=error)

    def tells(self, place: FileTarget) -> bool:
        """Whether some row is of the record, as it is spelled."""
        return self.structure is not None and any(row.get(self.structure.record_id_field) == place.record for row in self.rows)


class Attempt:
    """One try to bring a file into its field. `stop` ends a request under way."""

    def __init__(self, sending: Sending, batch: Batch, slot: Slot, stop: threading.Event, shared: Shared) -> None:
        self.job, self.step, self.known, self.overtaken = sending.job, sending.step, sending.known, sending.overtaken
        self.target, self.settings = sending.route.target, sending.route.settings
        self.site, self.client, self.tree, self.filing = batch.folder.site, batch.client, batch.tree, batch.filing
        self.slot = slot
        self.stop = stop
        self.shared = shared
        self._sent = self.job.state is State.UNKNOWN
        self._importing = False
        self._answered_in_its_place = False  # the import, by somebody before REDCap, perhaps once REDCap had the file
        self._refused = ""  # the bytes that may have been too many, by their SHA-256
        self._acknowledged: str | None = None
        self._ctime_ns: int | None = None  # of the file before its bytes were read for the first time
        self._sink: PreserveSink | None = None

    def run(self) -> Outcome | ToBeListed:
        """Never raises for anything that a file, a folder or a server can do."""
        outcome = self._guarded(None)
        return outcome if isinstance(outcome, ToBeListed) else self._ended(outcome)

    def listed(self, sent: ToBeListed, listing: Listing) -> Outcome:
        """What came of it after all."""
        if listing.structure is not None and not listing.tells(sent.place):  # perhaps spelled otherwise: alone, it is its row
            listing = Listing.of([sent.place], self.client, self.stop)
        outcome = self._guarded((sent, listing))
        assert not isinstance(outcome, ToBeListed)
        return self._ended(outcome)

    def _ended(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Stored):
            instance = self.step.instance if outcome.instance is None else outcome.instance
            outcome = replace(outcome, ctime_ns=self._ctime_ns, instance=instance)
        waits = self.settings.missing_record is MissingRecord.WAIT
        if isinstance(outcome, Refused) and outcome.reason == Reason.NO_RECORD and waits:
            return WaitForRecord(outcome.message, RECORD_WAIT_ENDS)
        if isinstance(outcome, Later) and self._acknowledged is not None:
            outcome = replace(outcome, sha256=self._acknowledged)
        # An instance that an earlier attempt chose may have been sent to: it stays this file's.
        fresh = self.step.chosen and not self._answered_in_its_place
        if isinstance(outcome, Later | LookAgain) and not outcome.sent and fresh:
            return replace(outcome, release_instance=True)
        return outcome

    def _guarded(self, told: tuple[ToBeListed, Listing] | None) -> Outcome | ToBeListed:
        """The file sent, or what is told of it after that."""
        started = time.monotonic()
        name = f"{IN_PROGRESS}/{self.job.name}"
        try:
            with self.slot.in_file():
                fd, status = self.tree.open_seen(name)
        except FileNotFoundError:
            return Gone()
        except NotRegular:
            return Held(Reason.UNREADABLE, "it is no longer a plain file", "put the file itself there")
        except OSError as error:
            return self._folder_trouble(error)
        try:
            with WatchedFile(fd, "rb") as source:
                source.slot = self.slot
                if told is not None:
                    return self._listed(source.fileno(), *told)
                return self._claimed(source, status, started)
        except RedcapError as error:
            self._answered_in_its_place = self._importing and error.meaning.verdict in _IN_ITS_PLACE
            # A refused question (an export that REDCap does not like) says nothing about the file itself.
            how = {"sent": self._sent, "importing": self._importing}
            return self.shared.attribution.of_a_file(error.meaning, self.job, self.client, **how, sha256=self._refused)
        except Stopped as stopped:
            return Later(Reason.STOPPED, stopped.said, scope=Scope.STOP, sent=self._sent or stopped.outcome_unknown)
        except NotEntered as error:
            return Later(Reason.NO_SPACE, error.message, error.remedy, sent=self._sent)
        except NoCopy as error:
            return Later(error.reason, error.message, error.remedy, sent=self._sent)
        except SourceUnreadable as error:
            return self._folder_trouble(error)
        except SourceChanged:
            return self._rewritten(name)
        except OSError as error:
            return self._folder_trouble(error)

    def _claimed(self, source: FileIO, status: os.stat_result, started: float) -> Outcome | ToBeListed:
        fd = source.fileno()
        self._ctime_ns = status.st_ctime_ns
        job = self.job
        if status.st_size < job.size:
            return Held(
                Reason.CAME_BACK_SHORT,
                f"it was {job.size:,} bytes when it was taken and is {status.st_size:,} now",
                "drop the whole file again under this name after removing this one from in_progress/",
            )
        if (status.st_size, status.st_mtime_ns) != (job.size, job.mtime_ns):
            return Rewritten(status.st_size, status.st_mtime_ns, self._sent)
        place = FileTarget(self.step.record, self.step.field, self.step.event, self.step.instance)
        if (ended := self._looked_for(place, fd, status.st_size, started)) is not None:
            return ended
        result = Result.STORED
        if self.step.look or self._sent or job.may_have_arrived:
            answer = self._what_is_there(place, fd, status.st_size, started)
            if not isinstance(answer, Result):
                return answer
            result = answer
            if self.overtaken:
                return OVERTAKEN
            if (held := self.shared.attribution.limits.gives_up(job)) is not None:
                return held
        if self.target.instance == NEXT and (news := what_is_sent(job, self.step.instance, fd)):
            self._note("what is sent", news)
        if self.site.tree() is not self.tree:
            return Later(Reason.AWAY, NOT_OURS, scope=Scope.STOP, sent=self._sent)
        self._sent, self._importing = False, True
        try:
            sent = self.client.redcap.import_file(place, source, status.st_size, self.target.upload_as, self.stop, self._has_sent)
        except RedcapError as error:
            if may_be_of_size(error.meaning, job.size):
                with contextlib.suppress(OSError):  # it counts as a file of its own then
                    self._refused = sha256(fd)
            raise
        self._sent, self._importing, self._acknowledged = True, False, sent.sha256
        after = self._changed(fd, status, sent.sha256)
        reached = self.settings.confirm
        if after is None and reached is Confirm.LISTED:
            return ToBeListed(place, sent, result, status, time.monotonic() - started)
        if after is None:
            confirmed = self._confirm(place, sent)
            if not isinstance(confirmed, Confirm):
                return confirmed
            reached = confirmed
            if reached is not Confirm.NONE:
                after = self._changed(fd, status, sent.sha256)
        if after is not None:
            return Rewritten(after.st_size, after.st_mtime_ns, True, sent.sha256)
        return Stored(result, reached.value, sent.sha256, sent.size, time.monotonic() - started)

    def _what_is_there(self, place: FileTarget, fd: int, size: int, started: float) -> Outcome | Result:
        """Compare with the file that the field holds at this moment, and keep a copy of it if asked to.

        The outcome if the job ends here, else what the result of sending will be called.
        """
        # Whatever came to lie in an instance that was chosen for being new was not meant to be replaced.
        keep = self.settings.existing_file is ExistingFile.PRESERVE or self.target.instance == NEXT
        with contextlib.ExitStack() as stack:
            keeps = keep and not (self._fresh or self.overtaken)
            self._sink = sink = stack.enter_context(preserve_sink(self.filing.keep, self.job.id)) if keeps else None
            try:
                there = self.client.redcap.export_file(place, self._write_copy if sink else None, self.stop)
            except NoFile as error:
                shown_there = self.known.facts.known and self.known.facts.shows and not self.step.chosen
                if shown_there and not self._may_replace:  # its words and its record contradict each other
                    return self._contradicted(place, error)
                return Result.STORED
            except RedcapError as error:
                return self._refused_export(place, error)
            self.client.exported(place.field, self.shared.empty_fields)
            if self._fresh:
                return self._occupied(place)
            own = sha256(fd)
            if there.sha256 == own and there.size == size:
                result = Result.STORED if self._sent else Result.ALREADY_THERE
                return Stored(result, Confirm.READBACK.value, own, size, time.monotonic() - started)
            if self.overtaken:
                return OVERTAKEN
            if there.sha256 == self.job.sha256:
                return Result.REPLACED  # an older state of this very file, sent before somebody wrote to it
            if self.target.instance == NEXT and self.job.sha256 is None:
                return self._another(place)
            if self.settings.existing_file is ExistingFile.REFUSE:
                return Refused(
                    Reason.FILE_EXISTS,
                    f"the field `{place.field}` of record `{shown(place.record)}` holds another file already",
                    "remove the file in REDCap, or set existing_file: preserve for this rule; then try again",
                )
            if sink is not None:  # also if a copy was kept before: somebody may have taken it away
                # A file of no known length may have been cut off.
                if not there.proven_whole and not self._comes_again(place, there.sha256):
                    return Later(Reason.SERVER_ERROR, _NO_END, _HTTP_1_1, Scope.SERVER)
                self._keep(sink, place, there)
        return Result.REPLACED

    def _keep(self, sink: PreserveSink, place: FileTarget, there: Exported) -> None:
        """Have the copy kept under its name, and note it before anything is sent."""
        kept = sink.commit(self._origin(place, there.name))
        if (kept, there.sha256) == (self.job.preserved_as, self.job.preserved_sha256):
            return
        self._note("preserved", {"preserved_as": kept, "preserved_sha256": there.sha256})
        log.info("preserved", **about(self.job), kept_as=shown(kept), sha256=there.sha256)

    def _another(self, place: FileTarget) -> Later:
        """A wrong answer, or somebody else's file, in an instance that was sent to.

        To choose another instance could make a second one of this file, which no later look would find: so it is looked at
        again, and put aside for a person if it stays so.
        """
        message = f"instance {place.instance} holds another file, and it is not known whether this one arrived"
        remedy = "look at the instances in REDCap: if this file is in none, drop it again after taking it out of in_progress/"
        return Later(Reason.NOT_CONFIRMED, message, remedy, Scope.FILE, True, own_fault=True)

    @property
    def _may_replace(self) -> bool:
        """Whether it does not matter what the field holds."""
        return self.settings.existing_file is ExistingFile.REPLACE and self.target.instance != NEXT

    @property
    def _fresh(self) -> bool:
        """Whether its instance was chosen for being new, and nothing of this file was ever sent there."""
        return self.step.chosen and not self._sent

    def _occupied(self, place: FileTarget) -> Outcome:
        """Somebody has put a file into the instance since it was chosen."""
        message = f"instance {place.instance} of record `{shown(place.record)}` was taken meanwhile: another one is chosen"
        at_once = 0.0 if self.job.faults < _CHOICES_AT_ONCE else None
        return Later(Reason.FILE_EXISTS, message, "nothing needs to be done", Scope.FILE, seconds=at_once, own_fault=True)

    def _refused_export(self, place: FileTarget, error: RedcapError) -> Outcome | Result:
        """REDCap gives out no file, for a reason that may be that there is none."""
        meaning = error.meaning
        if self._may_replace and (meaning.verdict is Verdict.UNCLEAR or _may_not_read(error)):
            return Result.STORED  # whatever is there is replaced, and sending it again to the same place does no harm
        if meaning.verdict is not Verdict.UNCLEAR or not meaning.said:
            raise error
        refused = RefusedExport(self.job.project, self.job.id, place, meaning.said, meaning.reason == Reason.RIGHTS)
        hideable = self.client.may_hide(place.field, self.shared.empty_fields)
        match self.shared.empty_fields.conclude(refused, self.known.facts, self.known.at, hideable=hideable):
            case FieldContent.EMPTY:
                return Result.STORED
            case FieldContent.LOOK:
                return LookAgain(meaning.reason, meaning.message, meaning.remedy, self._sent)
            case FieldContent.TAKEN:
                return self._taken(place, meaning.reason, meaning.message)
            case FieldContent.HIDDEN:
                message = (
                    f"it cannot be told whether the field `{place.field}` holds a file: REDCap refuses to export it"
                    f" ({meaning.message}), and the token's user may not see all of it"
                )
                remedy = "give the token's user `Full Data Set` and access to the form (User Rights), then `dropcap retry`"
                return Held(Reason.RIGHTS, message, remedy)

    def _contradicted(self, place: FileTarget, error: NoFile) -> Outcome:
        """REDCap says that there is no file, and showed one in the record: one of both is outdated, or the file is damaged."""
        refused = RefusedExport(self.job.project, self.job.id, place, error.meaning.message, of_rights=False)
        content = self.shared.empty_fields.conclude(refused, self.known.facts, self.known.at, hideable=True)
        if content is FieldContent.LOOK:
            return LookAgain(error.meaning.reason, error.meaning.message, error.meaning.remedy, self._sent)
        return self._taken(place, Reason.NOT_CONFIRMED, error.meaning.message)

    def _taken(self, place: FileTarget, reason: Reason, said: str) -> Later:
        message = f"REDCap shows a file in the field `{place.field}`, but does not export it: {said}"
        remedy = "dropcap tries again by itself; if it stays so, look in REDCap at what the field holds"
        return Later(reason, message, remedy, sent=self._sent, own_fault=True)

    def _comes_again(self, place: FileTarget, sha256: str) -> bool:
        """Whether REDCap gives out the same once more. A reply that does not tell its length can break off unnoticed, but
        hardly twice at the same byte."""
        try:
            return self.client.redcap.export_file(place, None, self.stop).sha256 == sha256
        except NoFile:
            return False

    def _looked_for(self, place: FileTarget, fd: int, size: int, started: float) -> Stored | Held | None:
        """What ends the job, if REDCap has these very bytes in one of the instances in which they may be, or if those are too
        many to be looked at."""
        perhaps = perhaps_in(self.job, self.known.facts, self.target.upload_as, self.shared.ledger.query, self.tree)
        own = sha256(fd) if perhaps.instances else ""
        for instance in perhaps.instances:
            with contextlib.suppress(NoFile):
                there = self.client.redcap.export_file(replace(place, instance=instance), None, self.stop)
                if there.sha256 == own:
                    seconds = time.monotonic() - started
                    return Stored(Result.ALREADY_THERE, Confirm.READBACK.value, own, size, seconds, instance=instance)
        if perhaps.more:
            return perhaps.too_many(place.record)
        if self.step.chosen:
            self._sent = False  # nothing of it was ever sent there
        return None

    def _write_copy(self, data: bytes) -> None:
        assert self._sink is not None
        with self.slot.in_file():
            self._sink.write(data)

    def _has_sent(self, position: int) -> None:
        self.shared.progress.sent(self.job.id, position)

    def _note(self, note: str, columns: dict[str, object]) -> None:
        """Make durable what must be before the next effect; of a chosen instance, this host knows it by itself too."""
        self.shared.ledger.note(self.job.id, note, columns)
        if isinstance(instance := columns.get("instance"), int):
            try:
                self.shared.hosts.before_send([replace(self.job, instance=instance)])
            except OSError as error:
                raise NotEntered(error) from error

    def _origin(self, place: FileTarget, original_name: str) -> Origin:
        job = self.job
        now = datetime.now().astimezone()
        return Origin(job.project, job.id, place.record, place.field, original_name, now, place.event, place.instance)

    def _confirm(self, place: FileTarget, sent: Sent) -> Confirm | Outcome:
        """The level that was reached: what `confirm` asks for, or more where REDCap's answer may not have been all of it."""
        confirm = self.settings.confirm
        if confirm is Confirm.NONE and sent.proven:
            return confirm
        try:
            there = self.client.redcap.export_file(place, None, self.stop)
        except NoFile:
            return _not_confirmed("REDCap accepted the file, but the field is empty")
        except RedcapError as error:
            if confirm is Confirm.NONE and _may_not_read(error):
                return confirm
            raise
        self.client.exported(place.field, self.shared.empty_fields)
        if there.sha256 != sent.sha256:
            return _not_confirmed("REDCap exports other bytes than were sent")
        return Confirm.READBACK

    def _listed(self, fd: int, one: ToBeListed, listing: Listing) -> Outcome:
        if listing.error is not None:
            raise listing.error
        structure = listing.structure
        assert structure is not None
        rows = [row for row in listing.rows if row.get(structure.record_id_field) == one.place.record] or listing.rows
        after = shown_in_field(rows, structure, self.target, one.place.instance)
        if not newly_listed(self.step.shows, after, safe_name(self.target.upload_as)):
            return _not_confirmed("REDCap accepted the file, but lists none in that field")
        if (changed := self._changed(fd, one.status, one.sent.sha256)) is not None:
            return Rewritten(changed.st_size, changed.st_mtime_ns, True, one.sent.sha256)
        return Stored(one.result, Confirm.LISTED.value, one.sent.sha256, one.sent.size, one.seconds)

    def _changed(self, fd: int, before: os.stat_result, sent: str) -> os.stat_result | None:
        """What the file is now, if it was written to or another was put under its name; None if it is what was sent.

        Somebody may have put its size and mtime back: if its ctime has moved, its bytes are looked at.
        """
        now = os.fstat(fd)
        with contextlib.suppress(FileNotFoundError):  # a person has renamed it; filing looks for it
            there = self.tree.lstat(f"{IN_PROGRESS}/{self.job.name}")
            if self.tree.stable_inodes and (there.st_dev, there.st_ino) != (now.st_dev, now.st_ino):
                return there
            if (there.st_size, there.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                return there
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            return now
        return None if as_sent(now, before.st_ctime_ns, fd, sent) else now

    def _rewritten(self, name: str) -> Outcome:
        try:
            status = self.tree.lstat(name)
        except FileNotFoundError:
            return Gone() if not self._sent else Later(Reason.VANISHED, "the file vanished while it was sent", sent=True)
        except OSError as error:
            return self._folder_trouble(error)
        return Rewritten(status.st_size, status.st_mtime_ns, True)

    def _folder_trouble(self, error: OSError | SourceUnreadable) -> Outcome:
        code = error.errno if isinstance(error, OSError) else None
        said = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if code in (errno.ENOSPC, errno.EDQUOT):
            return Later(
                Reason.NO_SPACE,
                f"the drop folder's disk is full ({said})",
                "make room; dropcap goes on by itself",
                sent=self._sent,
            )
        return Later(
            Reason.UNREADABLE,
            f"the file cannot be read ({said})",
            "let dropcap's user read it; dropcap goes on by itself",
            scope=Scope.FOLDER,
            sent=self._sent,
        )


def _may_not_read(error: RedcapError) -> bool:
    return error.meaning.verdict is Verdict.PROJECT and error.meaning.of_rights


def _not_confirmed(message: str) -> Later:
    return Later(
        Reason.NOT_CONFIRMED, message, "nothing needs to be done: dropcap looks again and sends it again", Scope.SERVER, True
    )


#: So many are exported at most: each is a request, and may be large.
_MOST = 20


@dataclass(frozen=True, slots=True)
class Perhaps:
    """The `instances` to be looked at, in this order, before the file is sent; `more` have files, and are too many for that."""

    instances: tuple[int, ...] = ()
    more: int = 0

    def too_many(self, record: str) -> Held:
        """It was in none of those that were looked at, and is perhaps in another."""
        return Held(
            Reason.NOT_CONFIRMED,
            f"it may have been sent, and record `{shown(record)}` has {len(self.instances) + self.more} instances with files"
            f" that dropcap does not know: {len(self.instances)} hold other ones, the rest was not looked at",
            "look at the instances in REDCap: if this file is in none, drop a copy of it after taking it out of in_progress/",
        )


#: It was never sent before.
NOWHERE = Perhaps()


def perhaps_in(job: Job, facts: Facts, upload_as: str, query: Query, tree: Tree) -> Perhaps:
    """Where to look for the file of a job that is about to be sent. Each instance accounts for one file: those of other jobs are
    not looked at, but for the one that this very file was in before. Raises DatabaseError.
    """
    if not job.takes_next or not facts.filled:
        return NOWHERE
    shows = dict(facts.filled)
    back = (filed.instance for filed in query.was_filed(job) if filed.instance in shows and _has_left(filed, job, tree))
    perhaps = [number for number in (next(back, None),) if number is not None]
    if job.instance_unknown:
        others = shows.keys() - query.instances_of_others(job) - set(perhaps)
        name = safe_name(upload_as)
        perhaps += sorted(others, key=lambda number: (shows[number] != name, -number))
    return Perhaps(tuple(perhaps[:_MOST]), len(perhaps[_MOST:]))


def _has_left(filed: Job, job: Job, tree: Tree) -> bool:
    """Whether the file that was filed, and looks like that of `job`, is it. Where inodes tell nothing, so does a copy."""
    if job.inode:
        return True
    with contextlib.suppress(OSError):
        try:
            tree.lstat(filed.filed_as or "")
        except (FileNotFoundError, NotADirectoryError):
            return filed.folder == job.folder
    return False
