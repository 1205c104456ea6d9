"""One upload: open, compare with what the field holds, keep a copy, send, confirm."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from io import FileIO

import structlog

from dropcap.delivery.attribution import Belief, may_be_of_size
from dropcap.delivery.instances import NOWHERE, Perhaps
from dropcap.delivery.lookup import shown_in_field
from dropcap.delivery.plan import OVERTAKEN, Facts, Send, newly_listed
from dropcap.delivery.project_client import ProjectLine, RefusedExport, Vacancies, Vacancy
from dropcap.delivery.workers import NotEntered, Slot, WatchedFile
from dropcap.display import shown
from dropcap.files.tree import NotRegular, Tree, sha256
from dropcap.filing.place import Filing, as_sent, record_what_is_sent
from dropcap.filing.preserve import NoCopy, Origin, PreserveSink
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
from dropcap.reasons import Reason, Scope
from dropcap.redcap.client import Exported, FileTarget, NoFile, RedcapError, Sent
from dropcap.redcap.reply import Verdict
from dropcap.redcap.request import SourceChanged, SourceUnreadable, safe_name
from dropcap.redcap.window import Stopped
from dropcap.routing.rule import NEXT, Confirm, ExistingFile, MissingRecord, RuleSettings, Target

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
class Upload:
    """All that one attempt needs."""

    job: Job
    target: Target
    settings: RuleSettings
    step: Send
    line: ProjectLine
    tree: Tree
    filing: Filing
    upload_as: str
    facts: Facts
    looked: float  # when the look-up that told the facts began (monotonic)
    ours: Callable[[], bool] = lambda: True  # whether the folder still is; touches no file system
    overtaken: bool = False  # a newer one has gone there: it is only looked whether this one had arrived
    perhaps: Perhaps = NOWHERE


@dataclass(slots=True)
class Attempt:
    """One try to bring a file into its field.

    `note` writes what must be durable before the next effect (which copy was preserved); `stop` ends a request under way;
    `vacancies` knows what refused exports mean, `belief` whose trouble it is that a request met.
    """

    upload: Upload
    note: Callable[[int, str, dict[str, object]], None]
    stop: threading.Event
    slot: Slot
    vacancies: Vacancies
    belief: Belief
    sent: Callable[[int], None] | None = None  # is told how many bytes have gone
    _sent: bool = False
    _importing: bool = False
    _answered_in_its_place: bool = False  # the import, by somebody before REDCap, perhaps once REDCap had the file
    _refused: str = ""  # the bytes that may have been too many, by their SHA-256
    _acknowledged: str | None = None
    _ctime_ns: int | None = None  # of the file before its bytes were read for the first time

    def run(self) -> Outcome:
        """Never raises for anything that a file, a folder or a server can do."""
        outcome = self._run()
        if isinstance(outcome, Stored):
            instance = self.upload.step.instance if outcome.instance is None else outcome.instance
            outcome = replace(outcome, ctime_ns=self._ctime_ns, instance=instance)
        waits = self.upload.settings.missing_record is MissingRecord.WAIT
        if isinstance(outcome, Refused) and outcome.reason == Reason.NO_RECORD and waits:
            return WaitForRecord(outcome.message)
        if isinstance(outcome, Later) and self._acknowledged is not None:
            outcome = replace(outcome, sha256=self._acknowledged)
        # An instance that an earlier attempt chose may have been sent to: it stays this file's.
        fresh = self.upload.step.chosen and not self._answered_in_its_place
        if isinstance(outcome, Later | LookAgain) and not outcome.sent and fresh:
            return replace(outcome, release_instance=True)
        return outcome

    def _run(self) -> Outcome:
        started = time.monotonic()
        upload = self.upload
        self._sent = upload.job.state is State.UNKNOWN
        name = f"{IN_PROGRESS}/{upload.job.name}"
        self.slot.in_file_since = started
        try:
            fd, status = upload.tree.open_seen(name)
        except FileNotFoundError:
            return Gone()
        except NotRegular:
            return Held(Reason.UNREADABLE, "it is no longer a plain file", "put the file itself there")
        except OSError as error:
            return self._folder_trouble(error)
        finally:
            self.slot.in_file_since = None
        try:
            with WatchedFile(fd, "rb") as source:
                source.slot = self.slot
                return self._claimed(source, status, started)
        except RedcapError as error:
            self._answered_in_its_place = self._importing and error.meaning.verdict in _IN_ITS_PLACE
            # A refused question (an export that REDCap does not like) says nothing about the file itself.
            how = {"sent": self._sent, "importing": self._importing}
            return self.belief.of_a_file(error.meaning, upload.job, upload.line, **how, sha256=self._refused)
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

    def _claimed(self, source: FileIO, status: os.stat_result, started: float) -> Outcome:
        upload = self.upload
        fd = source.fileno()
        self._ctime_ns = status.st_ctime_ns
        job = upload.job
        if status.st_size < job.size:
            return Held(
                Reason.CAME_BACK_SHORT,
                f"it was {job.size:,} bytes when it was taken and is {status.st_size:,} now",
                "drop the whole file again under this name after removing this one from in_progress/",
            )
        if (status.st_size, status.st_mtime_ns) != (job.size, job.mtime_ns):
            return Rewritten(status.st_size, status.st_mtime_ns, self._sent)
        place = FileTarget(upload.step.record, upload.step.field, upload.step.event, upload.step.instance)
        if (ended := self._looked_for(place, fd, status.st_size, started)) is not None:
            return ended
        result = Result.STORED
        if upload.step.look or self._sent or job.may_have_arrived:
            answer = self._what_is_there(place, fd, status.st_size, started)
            if not isinstance(answer, Result):
                return answer
            result = answer
            if upload.overtaken:
                return OVERTAKEN
            if (held := self.belief.limits.gives_up(job)) is not None:
                return held
        if upload.target.instance == NEXT:
            record_what_is_sent(job, upload.step.instance, fd, self.note)
        if not upload.ours():
            return Later(Reason.AWAY, NOT_OURS, scope=Scope.STOP, sent=self._sent)
        self._sent, self._importing = False, True
        try:
            sent = upload.line.client.import_file(place, source, status.st_size, upload.upload_as, self.stop, self.sent)
        except RedcapError as error:
            if may_be_of_size(error.meaning, job.size):
                with contextlib.suppress(OSError):  # it counts as a file of its own then
                    self._refused = sha256(fd)
            raise
        self._sent, self._importing, self._acknowledged = True, False, sent.sha256
        after = self._changed(fd, status, sent.sha256)
        reached = upload.settings.confirm
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
        upload = self.upload
        # Whatever came to lie in an instance that was chosen for being new was not meant to be replaced.
        keep = upload.settings.existing_file is ExistingFile.PRESERVE or upload.target.instance == NEXT
        with contextlib.ExitStack() as stack:
            keeps = keep and not (self._fresh or upload.overtaken)
            sink = stack.enter_context(upload.filing.preserve_sink(upload.job.id)) if keeps else None
            try:
                there = upload.line.client.export_file(place, self._seen(sink.write) if sink else None, self.stop)
            except NoFile as error:
                shown_there = upload.facts.known and upload.facts.shows and not upload.step.chosen
                if shown_there and not self._may_replace:  # its words and its record contradict each other
                    return self._contradicted(place, error)
                return Result.STORED
            except RedcapError as error:
                return self._refused_export(place, error)
            upload.line.exported(place.field, self.vacancies)
            if self._fresh:
                return self._occupied(place)
            own = sha256(fd)
            if there.sha256 == own and there.size == size:
                result = Result.STORED if self._sent else Result.ALREADY_THERE
                return Stored(result, Confirm.READBACK.value, own, size, time.monotonic() - started)
            if upload.overtaken:
                return OVERTAKEN
            if there.sha256 == upload.job.sha256:
                return Result.REPLACED  # an older state of this very file, sent before somebody wrote to it
            if upload.target.instance == NEXT and upload.job.sha256 is None:
                return self._another(place)
            if upload.settings.existing_file is ExistingFile.REFUSE:
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
        if (kept, there.sha256) == (self.upload.job.preserved_as, self.upload.job.preserved_sha256):
            return
        self.note(self.upload.job.id, "preserved", {"preserved_as": kept, "preserved_sha256": there.sha256})
        log.info("preserved", **about(self.upload.job), kept_as=shown(kept), sha256=there.sha256)

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
        return self.upload.settings.existing_file is ExistingFile.REPLACE and self.upload.target.instance != NEXT

    @property
    def _fresh(self) -> bool:
        """Whether its instance was chosen for being new, and nothing of this file was ever sent there."""
        return self.upload.step.chosen and not self._sent

    def _occupied(self, place: FileTarget) -> Outcome:
        """Somebody has put a file into the instance since it was chosen."""
        message = f"instance {place.instance} of record `{shown(place.record)}` was taken meanwhile: another one is chosen"
        at_once = 0.0 if self.upload.job.faults < _CHOICES_AT_ONCE else None
        return Later(Reason.FILE_EXISTS, message, "nothing needs to be done", Scope.FILE, seconds=at_once, own_fault=True)

    def _refused_export(self, place: FileTarget, error: RedcapError) -> Outcome | Result:
        """REDCap gives out no file, for a reason that may be that there is none."""
        upload, meaning = self.upload, error.meaning
        if self._may_replace and (meaning.verdict is Verdict.UNCLEAR or _may_not_read(error)):
            return Result.STORED  # whatever is there is replaced, and sending it again to the same place does no harm
        if meaning.verdict is not Verdict.UNCLEAR or not meaning.said:
            raise error
        refused = RefusedExport(upload.job.project, upload.job.id, place, meaning.said, meaning.reason == Reason.RIGHTS)
        hideable = upload.line.may_hide(place.field, self.vacancies)
        match self.vacancies.judge(refused, upload.facts, upload.looked, hideable=hideable):
            case Vacancy.EMPTY:
                return Result.STORED
            case Vacancy.LOOK:
                return LookAgain(meaning.reason, meaning.message, meaning.remedy, self._sent)
            case Vacancy.TAKEN:
                return self._taken(place, meaning.reason, meaning.message)
            case Vacancy.HIDDEN:
                message = (
                    f"it cannot be told whether the field `{place.field}` holds a file: REDCap refuses to export it"
                    f" ({meaning.message}), and the token's user may not see all of it"
                )
                remedy = "give the token's user `Full Data Set` and access to the form (User Rights), then `dropcap retry`"
                return Held(Reason.RIGHTS, message, remedy)

    def _contradicted(self, place: FileTarget, error: NoFile) -> Outcome:
        """REDCap says that there is no file, and showed one in the record: one of both is outdated, or the file is damaged."""
        refused = RefusedExport(self.upload.job.project, self.upload.job.id, place, error.meaning.message, of_rights=False)
        vacancy = self.vacancies.judge(refused, self.upload.facts, self.upload.looked, hideable=True)
        if vacancy is Vacancy.LOOK:
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
            return self.upload.line.client.export_file(place, None, self.stop).sha256 == sha256
        except NoFile:
            return False

    def _looked_for(self, place: FileTarget, fd: int, size: int, started: float) -> Stored | Held | None:
        """What ends the job, if REDCap has these very bytes in one of the instances in which they may be, or if those are too
        many to be looked at."""
        perhaps = self.upload.perhaps
        own = sha256(fd) if perhaps.instances else ""
        for instance in perhaps.instances:
            with contextlib.suppress(NoFile):
                there = self.upload.line.client.export_file(replace(place, instance=instance), None, self.stop)
                if there.sha256 == own:
                    seconds = time.monotonic() - started
                    return Stored(Result.ALREADY_THERE, Confirm.READBACK.value, own, size, seconds, instance=instance)
        if perhaps.more:
            return perhaps.too_many(place.record)
        if self.upload.step.chosen:
            self._sent = False  # nothing of it was ever sent there
        return None

    def _seen(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """`write`, seen by the slot so that one that hangs is noticed."""

        def seen(data: bytes) -> None:
            self.slot.in_file_since = time.monotonic()
            try:
                write(data)
            finally:
                self.slot.in_file_since = None

        return seen

    def _origin(self, place: FileTarget, original_name: str) -> Origin:
        job = self.upload.job
        now = datetime.now().astimezone()
        return Origin(job.project, job.id, place.record, place.field, original_name, now, place.event, place.instance)

    def _confirm(self, place: FileTarget, sent: Sent) -> Confirm | Outcome:
        """The level that was reached: what `confirm` asks for, or more where REDCap's answer may not have been all of it."""
        upload, confirm = self.upload, self.upload.settings.confirm
        if confirm is Confirm.NONE and sent.proven:
            return confirm
        if confirm is Confirm.LISTED:
            structure = upload.line.structure(stop=self.stop)
            fields = sorted({structure.record_id_field, place.field})
            rows = upload.line.client.records(records=[place.record], fields=fields, stop=self.stop)
            after = shown_in_field(rows, structure, upload.target, place.instance)
            if not newly_listed(upload.step.shows, after, safe_name(upload.upload_as)):
                return _not_confirmed("REDCap accepted the file, but lists none in that field")
            return confirm
        try:
            there = upload.line.client.export_file(place, None, self.stop)
        except NoFile:
            return _not_confirmed("REDCap accepted the file, but the field is empty")
        except RedcapError as error:
            if confirm is Confirm.NONE and _may_not_read(error):
                return confirm
            raise
        upload.line.exported(place.field, self.vacancies)
        if there.sha256 != sent.sha256:
            return _not_confirmed("REDCap exports other bytes than were sent")
        return Confirm.READBACK

    def _changed(self, fd: int, before: os.stat_result, sent: str) -> os.stat_result | None:
        """What the file is now, if it was written to or another was put under its name; None if it is what was sent.

        Somebody may have put its size and mtime back: if its ctime has moved, its bytes are looked at.
        """
        now = os.fstat(fd)
        with contextlib.suppress(FileNotFoundError):  # a person has renamed it; filing looks for it
            there = self.upload.tree.lstat(f"{IN_PROGRESS}/{self.upload.job.name}")
            if self.upload.tree.stable_inodes and (there.st_dev, there.st_ino) != (now.st_dev, now.st_ino):
                return there
            if (there.st_size, there.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                return there
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            return now
        return None if as_sent(now, before.st_ctime_ns, fd, sent) else now

    def _rewritten(self, name: str) -> Outcome:
        try:
            status = self.upload.tree.lstat(name)
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
    return error.meaning.verdict is Verdict.PROJECT and error.meaning.reason == Reason.RIGHTS


def _not_confirmed(message: str) -> Later:
    return Later(
        Reason.NOT_CONFIRMED, message, "nothing needs to be done: dropcap looks again and sends it again", Scope.SERVER, True
    )
