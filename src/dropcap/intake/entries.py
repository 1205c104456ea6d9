"""The ledger as intake sees it: claims get their address on the way in."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from dropcap.ledger.job import Address, FailedFile, FiledFile, KnownFolder, Mark, MarkKind, NewFile, OpenFile, TakenAway
from dropcap.ledger.store import Ledger


class KnownFolders(Protocol):
    """What tells whether a folder is ours."""

    @property
    def installation(self) -> str:
        """The id of this installation, made with its ledger."""

    def open_files(self, folder: str) -> Mapping[str, OpenFile]:
        """The open jobs of a folder by the relative name of their file."""

    def known_folder(self, folder: str) -> KnownFolder | None:
        """How the folder was seen before, if it was."""

    def left_marks(self, folder: str) -> str | None:
        """What `keep_left_marks` kept."""


class IntakeLedger:
    """One folder's way into the ledger. Every method may be called from any thread."""

    def __init__(
        self,
        ledger: Ledger,
        folder: str,
        projects: Callable[[], Collection[str]],
        address: Callable[[str], Address],
        on_refused: Callable[[list[int]], None],
    ) -> None:
        """`projects` tells the entries that lead where the folder's does, `address` where a file of a name goes; `on_refused`
        is told of the jobs whose files go to failed/ at once."""
        self._ledger = ledger
        self._folder = folder
        self._projects = projects
        self._address = address
        self._on_refused = on_refused

    @property
    def installation(self) -> str:
        """The id of this installation, made with its ledger."""
        return self._ledger.installation

    @property
    def unwritable(self) -> str:
        """That it cannot be written for now, why, and what to do; empty if it can: whoever writes waits."""
        return self._ledger.trouble.said() if self._ledger.trouble.unwritable else ""

    def claim(self, folder: str, files: Sequence[NewFile]) -> list[int]:
        """Enter files that now lie in in_progress/; their job numbers, in order. All or none, durable on return.

        Raises:
            Exception: an open job is in the way of one of them.
        """
        jobs = self._ledger.claim(folder, files, self._address)
        refused = [job for job, file in zip(jobs, files, strict=True) if file.refusal]
        if refused:
            self._on_refused(refused)
        return jobs

    def marks(self, folder: str, name: str | None = None) -> Sequence[Mark]:
        """What is remembered of the files that lie in a folder, or of the one of that name."""
        return self._ledger.query.marks(folder, name)

    def mark(self, folder: str, marks: Sequence[Mark]) -> None:
        """Remember that."""
        self._ledger.mark(folder, marks)

    def unmark(self, folder: str, names: Sequence[str], kinds: Sequence[MarkKind]) -> None:
        """Forget the marks of these kinds and names. A claim forgets all those of its files."""
        self._ledger.unmark(folder, names, kinds)

    def open_files(self, folder: str) -> Mapping[str, OpenFile]:
        """The open jobs of a folder by the relative name of their file."""
        return self._ledger.query.open_files(folder)

    def each_open(self, folder: str) -> Iterator[tuple[str, OpenFile]]:
        """What `open_files` has, one after the other."""
        return self._ledger.query.each_open(folder)

    def open_names(self, folder: str, names: Sequence[str]) -> set[str]:
        """Those of `names` that open jobs of the folder have."""
        return self._ledger.query.open_names(folder, names)

    def last_claims(self, folder: str, names: Sequence[str]) -> Mapping[str, float]:
        """When files of these names were taken last from the folder (seconds since the epoch), where they ever were."""
        return self._ledger.query.last_claims(folder, names)

    def failed_files(self, folder: str, sizes: Collection[int] = ()) -> Mapping[str, FailedFile]:
        """The failed files of a folder by where they should lie, as `failed/a/x.pdf`; those of `sizes` only, if any are given."""
        return self._ledger.query.failed_files(folder, sizes)

    def each_done(self, folder: str, since: float, until: float) -> Iterator[str]:
        """Where the files lie that were done within that time (seconds since the epoch), by their places in the folder."""
        return self._ledger.query.each_done(folder, since, until)

    def each_filed(self, folder: str, sizes: Collection[int], since: float | None = None) -> Iterator[FiledFile]:
        """The files of one of these sizes that are being filed now, and those that were filed since then, or ever (all jobs are
        looked through for that)."""
        return self._ledger.query.each_filed(folder, sizes, since)

    def taken_away(self, folder: str, sizes: Collection[int]) -> Sequence[TakenAway]:
        """The jobs of the folder's project, with a file of one of these sizes, whose file may have arrived and is not, or perhaps
        not, in in_progress/; newest first."""
        return self._ledger.query.taken_away(self._projects(), sizes, time.time())

    def forget_failed(self, jobs: Sequence[int]) -> None:
        """The files of these failed jobs were taken out of failed/."""
        self._ledger.forget_failed(jobs)

    def withdraw(self, job: int) -> bool:
        """End a job whose file was taken away; False if its state does not allow that now."""
        return self._ledger.withdraw(job, folder=self._folder)

    def rename_open(self, job: int, name: str) -> bool:
        """The file of an open job has another name now; False if the job cannot take it."""
        return self._ledger.rename_open(job, name, self._address(name))

    def known_folder(self, folder: str) -> KnownFolder | None:
        """How the folder was seen before, if it was."""
        return self._ledger.known_folder(folder)

    def left_marks(self, folder: str) -> str | None:
        """What `keep_left_marks` kept."""
        return self._ledger.query.left_marks(folder)

    def keep_left_marks(self, folder: str, marks: str) -> None:
        """Keep which files are left that lay in the folder at first (see `intake.left`)."""
        self._ledger.keep_left_marks(folder, marks)

    def remember_folder(self, folder: str, path: str, marker: str, mount: str) -> None:
        """Keep how the folder was seen; the time of the first is kept."""
        self._ledger.remember_folder(folder, path, marker, mount)
