"""Claiming settled files: moved to in_progress/, entered in the ledger, reconciled after a crash."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dropcap.display import shown
from dropcap.files.regular import Lease
from dropcap.files.tree import Tree, sha256_of
from dropcap.filing.why import forget_why, is_ours
from dropcap.intake import arrivals
from dropcap.intake.arrivals import (
    Fingerprint,
    Moved,
    NameTaken,
    NotThere,
    PutOff,
    Settled,
    Taken,
    TakeOutcome,
    Untakable,
    Waiting,
    Wanted,
    open_settled,
    quiet_since,
    remove_twin,
    settled_at,
    take,
)
from dropcap.intake.content import ContentJudge, Take, plain
from dropcap.intake.opened import SHARE_GONE, DropDirectory
from dropcap.intake.people import FailedFiles, OwnDirectories, lies_there
from dropcap.ledger.database import Conflict, DatabaseError
from dropcap.ledger.job import OPEN, Back, NewFile, Refusal, State, TakenAway


@dataclass(frozen=True, slots=True)
class Returned:
    """What is known of one file. `still_open` are jobs of this file that are not over yet, so that it cannot be told; `elsewhere`
    those among them that belong to another folder, from which the very file has surely been moved.
    """

    back: Back | None = None
    still_open: tuple[TakenAway, ...] = ()
    elsewhere: tuple[int, ...] = ()


_NOT = Returned()


class TakenAwayFiles:
    """The files of jobs that are not in in_progress/ any more, or perhaps not. For one batch of claims."""

    def __init__(self, tree: Tree, folder: str, files: Sequence[TakenAway]) -> None:
        self._tree = tree
        self._folder = folder
        self._by_size: dict[int, list[TakenAway]] = {}
        self._by_times: dict[tuple[int, int], list[TakenAway]] = {}
        for file in files:
            self._by_size.setdefault(file.size, []).append(file)
            self._by_times.setdefault((file.size, file.mtime_ns), []).append(file)
        self._known: dict[int, list[TakenAway]] = {}  # by size: those whose bytes are known, looked for once
        self._away: dict[int, bool] = {}  # by job, looked at once

    def known(self, path: str, name: str, fingerprint: Fingerprint) -> Returned:
        """What is known of the file at `path`, dropped as `name`.

        Raises:
            OSError: it cannot be read, so that nothing is known.
        """
        by_bytes = self._with_known_bytes(fingerprint.size)
        alike = _alike(self._by_times.get((fingerprint.size, fingerprint.mtime_ns), ()), fingerprint)
        blind = [file for file in alike if not file.sent_sha256 and self._may_be_away(file)]
        if not (by_bytes or blind):
            return _NOT
        digest = sha256_of(self._tree, path)
        same = [file for file in by_bytes if file.sent_sha256 == digest] + blind
        same.sort(key=lambda file: file.job, reverse=True)  # the newest first
        still_open = tuple(file for file in same if file.state in OPEN)
        if still_open:
            moved = fingerprint.inode and self._tree.lstat(path).st_nlink == 1
            others = [f.job for f in still_open if moved and f.folder != self._folder and f.inode == fingerprint.inode]
            return Returned(still_open=still_open, elsewhere=tuple(others))
        if not same:
            return _NOT
        own = next((file for file in same if (file.folder, file.name) == (self._folder, name)), None)
        old = own or same[0]
        more = tuple(file.job for file in same if file is not old)
        return Returned(Back(old.job, digest, own is not None, more))

    def _with_known_bytes(self, size: int) -> list[TakenAway]:
        """The files of this size that may be away, and of which the ledger knows which bytes were sent."""
        if size not in self._known:
            files = self._by_size.get(size, ())
            self._known[size] = [file for file in files if file.sent_sha256 and self._may_be_away(file)]
        return self._known[size]

    def _may_be_away(self, file: TakenAway) -> bool:
        """Whether a job is over or its file missing. Another folder's is looked at by its own thread alone: a share may hang, and
        until that thread has told, what was dropped here may be that file, moved or copied.
        """
        if file.state not in OPEN or file.folder != self._folder:
            return True
        if file.job not in self._away:
            self._away[file.job] = not lies_there(self._tree, [f"{arrivals.IN_PROGRESS}/{file.name}"])
        return self._away[file.job]


def is_away(tree: Tree, name: str) -> bool:
    """Whether nothing lies in in_progress/ under `name`, for all that can be told."""
    with contextlib.suppress(OSError):
        return not lies_there(tree, [f"{arrivals.IN_PROGRESS}/{name}"])
    return False


def _alike(times: Sequence[TakenAway], fingerprint: Fingerprint) -> list[TakenAway]:
    """Those of files of the same size and mtime that may be the one that was seen."""
    if fingerprint.inode:
        same = [file for file in times if file.inode == fingerprint.inode]
        if same:
            return same
    blind = [file for file in times if not (fingerprint.inode and file.inode)]
    return blind if len(blind) == 1 else []


#: Files in one transaction of the ledger, and how soon it may follow another (seconds): where many come, they are taken together.
BATCH, TOGETHER = 500, 0.02
#: How soon a file is looked at again that waits for its name, for room, for the ledger (seconds).
NAME_LOOK = 2.0
ROOM_LOOK = 3.0
#: The same of one that is to wait for a job which REDCap has, and which ends as soon as its file is in done/.
FILED_LOOK = 0.1
#: A file may be the next page of one of its name that was taken so shortly before its last change (seconds).
ANOTHER_PAGE = 60.0
LEDGER_LOOK = 10.0
ON_ITS_WAY = "a file of this name is still on its way"
WAS_THERE = "it was in in_progress/ before: its job there must end first"
NAMESAKE = "in_progress/ has a file of this name"

#: How long a file waits for another folder to tell that it was moved from there (seconds).
OTHER_FOLDER = 180.0


class Claimer:
    """The claims of one opened folder. For its thread."""

    def __init__(self, opened: DropDirectory, contents: ContentJudge, own_directories: OwnDirectories) -> None:
        self._opened = opened
        self._tree = opened.tree
        self._folder = opened.folder
        self._context = opened.context
        self._ledger = opened.ledger
        self._pending = opened.pending
        self._not_taken = opened.not_taken
        self._contents = contents
        self._own_directories = own_directories
        self._log = opened.log
        self._moved: set[str] = set()  # in in_progress/ by this process, not entered yet
        self._took = 0.0  # when files were taken last (monotonic)
        self.full = False

    def work(self) -> None:
        """Claim what is due.

        Raises:
            OSError: the whole folder does not answer.
        """
        due = self._pending.due()
        if not due:
            if self.full:
                self._room()
            return
        if (soon := self._took + TOGETHER - time.monotonic()) > 0:
            time.sleep(soon)
            due = self._pending.due()
        for start in range(0, len(due), BATCH):
            self._opened.before_batch()
            if not self._room():
                for name, waiting in due[start:]:
                    self._contents.saw(name, waiting.seen.fingerprint, waiting.pace, closely=False)
                    waiting.at = time.monotonic() + ROOM_LOOK
                return
            self._batch(due[start : start + BATCH])

    def _room(self) -> bool:
        free = self._tree.free_bytes()
        full = free < self._folder.min_free
        if full and not self.full:
            self._log.warning(
                "folder_full",
                free=free,
                min_free=self._folder.min_free,
                message="its file system is nearly full: nothing is taken until there is more room",
                remedy="make room there, or lower min_free",
            )
        self.full = full
        return not full

    def _batch(self, batch: Sequence[tuple[str, Waiting]]) -> None:
        unknown, known = self._sorted(batch)
        self._ask(unknown)
        # What may have been there before is looked for once the file is to be taken: that asks the ledger, and reads files.
        away = self._taken_away({waiting.seen.fingerprint.size for _, waiting in known})
        tries: list[tuple[str, Waiting, Wanted, Refusal | None]] = []
        taken: set[str] = set()
        for name, waiting in known:
            if plain(name) in taken:  # x and failed/x may both be due
                waiting.put_off(NAME_LOOK, ON_ITS_WAY)
                continue
            if still_open := self._still_open(name, waiting, away):
                filed = all(file.state is State.STORED for file in still_open)
                waiting.put_off(FILED_LOOK if filed else NAME_LOOK, WAS_THERE)
                if not filed:
                    self._own_directories.hint_missing()
                continue
            said = self._contents.judge(name, waiting)
            if isinstance(said, Take):
                taken.add(plain(name))
                wanted = Wanted(name, _target(name), waiting.seen, waiting.pace, said.judged)
                tries.append((name, waiting, wanted, said.refusal))
        if tries:
            self._took = time.monotonic()
            self._take(tries)

    def _sorted(self, batch: Sequence[tuple[str, Waiting]]) -> tuple[list[tuple[str, Waiting]], list[tuple[str, Waiting]]]:
        """Those whose content must be looked into, and those that can be judged; the others of the batch are put off."""
        names = [plain(name) for name, _ in batch]
        open_names = self._ledger.query.open_names(self._folder.name, names)
        last_claims = self._ledger.query.last_claims(self._folder.name, names)
        unknown: list[tuple[str, Waiting]] = []
        known: list[tuple[str, Waiting]] = []
        for name, waiting in batch:
            if self._is_own_text(name):
                self._done_with(name)
                continue
            if plain(name) in open_names:
                waiting.put_off(NAME_LOOK, ON_ITS_WAY)
                if is_away(self._tree, plain(name)):
                    self._own_directories.hint_missing()
                continue
            if plain(name) in last_claims and _rests_for_a_page(waiting, last_claims[plain(name)]):
                continue
            self._contents.saw(name, waiting.seen.fingerprint, waiting.pace, closely=False)
            (unknown if self._contents.must_ask(name, waiting) else known).append((name, waiting))
        return unknown, known

    def _ask(self, files: Sequence[tuple[str, Waiting]]) -> None:
        """Have the content of files looked into, as far as they have settled."""
        settled: list[tuple[str, Waiting, int]] = []
        try:
            for name, waiting in self._contents.line_up(files):
                found = open_settled(self._tree, Wanted(name, _target(name), waiting.seen, waiting.pace))
                if isinstance(found, Settled):
                    waiting.seen = found.seen
                    settled.append((name, waiting, found.fd))
                else:
                    self._judge(name, waiting, _target(name), found)
            self._contents.ask(settled)
        finally:
            for _, _, fd in settled:
                os.close(fd)

    def _take(self, tries: Sequence[tuple[str, Waiting, Wanted, Refusal | None]]) -> None:
        outcomes = take(self._tree, [wanted for _, _, wanted, _ in tries])
        # A file that a person has moved out of failed/ to be tried again has kept its size.
        sizes = {outcome.fingerprint.size for outcome in outcomes if isinstance(outcome, Taken)}
        failed = FailedFiles(self._ledger.query.failed_files(self._folder.name, sizes) if sizes else {})
        away = self._taken_away(sizes)
        entered: list[NewFile] = []
        directories: set[str] = set()
        for (name, waiting, wanted, refusal), outcome in zip(tries, outcomes, strict=True):
            if isinstance(outcome, Taken):
                self._done_with(name)
                entered.append(self._new(name, wanted.target, outcome, failed, away, refusal))
                directories |= {os.path.dirname(name), os.path.dirname(wanted.target)}
            else:
                self._judge(name, waiting, wanted.target, outcome)
        self._tree.sync(*sorted(name for name in directories if not name or self._tree.exists(name)))
        self._enter(entered)

    def _is_own_text(self, name: str) -> bool:
        """Whether it was dropcap's text beside a failed file, moved back together with that: it is removed."""
        with contextlib.suppress(OSError):
            return ".why" in name and name.endswith(".txt") and self._tree.remove_if(name, is_ours)
        return False

    def _taken_away(self, sizes: Collection[int]) -> TakenAwayFiles:
        files = self._ledger.query.taken_away(self._context.projects(), sizes, time.time()) if sizes else []
        return TakenAwayFiles(self._tree, self._folder.name, files)

    def _still_open(self, name: str, waiting: Waiting, away: TakenAwayFiles) -> list[TakenAway]:
        """The jobs that are not over and whose file it is. Another folder's is not waited for without end."""
        try:
            known = away.known(name, plain(name), waiting.seen.fingerprint)
        except OSError:
            return []  # taking it tells
        for job in known.elsewhere:  # that folder may be gone from the configuration, or hang
            if self._ledger.withdraw(job, folder=self._folder.name):
                self._log.info("withdrawn", job=job, file=shown(name))
                self._context.place_left()
        waits = time.monotonic() - waiting.seen.first < OTHER_FOLDER
        return [file for file in known.still_open if file.folder == self._folder.name or waits]

    def _judge(self, name: str, waiting: Waiting, target: str, outcome: TakeOutcome) -> None:
        """A file was not taken, or not yet."""
        match outcome:
            case PutOff(seen, at, note, rests):
                if seen.fingerprint != waiting.seen.fingerprint:
                    self._contents.saw(name, seen.fingerprint, waiting.pace, closely=True)
                waiting.seen, waiting.at, waiting.note, waiting.rests = seen, at, note, rests
            case NameTaken():
                waiting.put_off(NAME_LOOK, NAMESAKE)
            case Untakable(why, error):
                if error.errno in SHARE_GONE:
                    raise error
                self._not_taken.put(name, why)
                self._pending.drop(name)
            case NotThere():
                self._done_with(name)
            case Moved():
                self._done_with(name)
                self._moved.add(target)
                self._watch_over(target)

    def _done_with(self, name: str) -> None:
        self._contents.forget(name)
        self._pending.drop(name)
        self._not_taken.drop(name)

    def _watch_over(self, target: str) -> None:
        """A file in in_progress/ that may not be entered yet."""
        try:
            status = self._tree.lstat(target)
        except OSError:
            return  # gone again; else the next walk comes across it
        self._pending.see(target, self._opened.fingerprint(status), self._opened.pace(target, status.st_dev), hinted=True)

    def _is_found(self, name: str) -> bool:
        """Whether it lies in in_progress/ and this process did not move it there: a dropcap whose ledger is lost may have."""
        return arrivals.top(name) == arrivals.IN_PROGRESS and name not in self._moved

    def _new(
        self, name: str, target: str, taken: Taken, failed: FailedFiles, away: TakenAwayFiles, refusal: Refusal | None
    ) -> NewFile:
        again_of, fingerprint = None, taken.fingerprint
        match = failed.moved_to(self._tree, fingerprint)
        if match is not None:
            path, file = match
            again_of = file.job
            with contextlib.suppress(OSError):  # a text that stays is no reason to lose sight of the file
                forget_why(self._tree, path, file.job)
        found = self._is_found(name)
        if name == target and name not in self._moved and self._opened.divided():
            self._finish_copy(name)
        self._moved.discard(name)
        back = None
        with contextlib.suppress(OSError):  # what cannot be read is not sent either
            back = away.known(target, plain(name), fingerprint).back
        found = found and again_of is None and back is None  # else it is known what was sent of it
        return NewFile(
            plain(name), fingerprint.size, fingerprint.mtime_ns, fingerprint.inode, again_of, found, back, refusal, taken.owner
        )

    def _finish_copy(self, path: str) -> None:
        """What lies in in_progress/ without a job may be a copy that a crash kept from being the only one."""
        with contextlib.suppress(OSError):  # a second file of that name waits in any case
            source = remove_twin(self._tree, path, plain(path))
            if source is not None:
                self._done_with(source)

    def _enter(self, files: Sequence[NewFile]) -> None:
        if not files:
            return
        try:
            jobs = self._ledger.claim(self._folder.name, files, self._context.address)
        except Conflict:
            # One of them is in the way of another job; the others must not wait for it.
            if len(files) > 1:
                half = len(files) // 2
                self._enter(files[:half])
                self._enter(files[half:])
            else:
                self._put_off(files, "another job for the same place is under way")
            return
        except DatabaseError:  # the ledger itself has told why
            self._put_off(files, "the ledger cannot be written")
            return
        for job, file in zip(jobs, files, strict=True):
            self._log.info("claimed", job=job, file=shown(file.name), size=file.size)
            if file.again_of is not None:
                self._log.info("again", job=job, file=shown(file.name), again_of=file.again_of)
            if file.back is not None:
                self._log.info("moved_back", job=job, file=shown(file.name), back_of=file.back.job)
        if refused := [job for job, file in zip(jobs, files, strict=True) if file.refusal]:
            self._context.refused(refused)
        self._context.claimed(jobs)

    def _put_off(self, files: Sequence[NewFile], note: str) -> None:
        for file in files:
            path = f"{arrivals.IN_PROGRESS}/{file.name}"
            if not file.found:
                self._moved.add(path)
            self._watch_over(path)
            self._pending.put_off(path, LEDGER_LOOK, note)


def _rests_for_a_page(waiting: Waiting, claimed_at: float) -> bool:
    """Let a file rest for longer if one of its name was taken at `claimed_at` (seconds since the epoch); whether it must.

    A scanner that writes page by page closes its file after each, and makes a new one if the first pages are gone.
    """
    now = time.monotonic()
    changed_at = time.time() - (now - quiet_since(waiting.seen, waiting.pace))
    if changed_at - claimed_at >= ANOTHER_PAGE:  # a clock that was set back since makes it wait, not hurry
        return False
    waiting.pace = waiting.pace.for_another_page()
    at = settled_at(waiting.seen, waiting.pace, Lease.FREE)
    if at <= now:
        return False
    waiting.at, waiting.rests = at, True
    seconds = f"{waiting.pace.closed:g} s (settle_quiet)"
    waiting.note = f"rests for {seconds}: a file of this name was taken just before, and this may be its next page"
    return True


def _target(name: str) -> str:
    return f"{arrivals.IN_PROGRESS}/{plain(name)}"
