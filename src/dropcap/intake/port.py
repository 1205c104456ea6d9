"""What intake needs of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from dropcap.ledger.model import FailedFile, KnownFolder, Mark, MarkKind, NewFile, OpenFile, TakenAway


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


class IntakeLedger(KnownFolders, Protocol):
    """The ledger as intake sees it. Every method may be called from any folder's thread."""

    @property
    def unwritable(self) -> str:
        """Why it cannot be written for now, empty if it can: whoever writes waits."""

    def claim(self, folder: str, files: Sequence[NewFile]) -> list[int]:
        """Enter files that now lie in in_progress/; their job numbers, in order. All or none, durable on return.

        Raises:
            Exception: an open job is in the way of one of them.
        """

    @property
    def rebuilt(self) -> bool:
        """Whether it stands for a lost one, so that what lies in in_progress/ may have been sent already."""

    def marks(self, folder: str, name: str | None = None) -> Sequence[Mark]:
        """What is remembered of the files that lie in a folder, or of the one of that name."""

    def mark(self, folder: str, marks: Sequence[Mark]) -> None:
        """Remember that."""

    def unmark(self, folder: str, names: Sequence[str], kinds: Sequence[MarkKind]) -> None:
        """Forget the marks of these kinds and names. A claim forgets all those of its files."""

    def each_open(self, folder: str) -> Iterator[tuple[str, OpenFile]]:
        """What `open_files` has, one after the other."""

    def open_names(self, folder: str, names: Sequence[str]) -> set[str]:
        """Those of `names` that open jobs of the folder have."""

    def last_claims(self, folder: str, names: Sequence[str]) -> Mapping[str, float]:
        """When files of these names were taken last from the folder (seconds since the epoch), where they ever were."""

    def failed_files(self, folder: str, sizes: Collection[int] = ()) -> Mapping[str, FailedFile]:
        """The failed files of a folder by where they should lie, as `failed/a/x.pdf`; those of `sizes` only, if any are given."""

    def taken_away(self, folder: str, sizes: Collection[int]) -> Sequence[TakenAway]:
        """The jobs of the folder's project, with a file of one of these sizes, whose file may have arrived and is not, or perhaps
        not, in in_progress/; newest first."""

    def forget_failed(self, jobs: Sequence[int]) -> None:
        """The files of these failed jobs were taken out of failed/."""

    def withdraw(self, job: int) -> bool:
        """End a job whose file was taken away; False if its state does not allow that now."""

    def rename_open(self, job: int, name: str) -> bool:
        """The file of an open job has another name now; False if the job cannot take it."""

    def keep_left_marks(self, folder: str, marks: str) -> None:
        """Keep which files are left that lay in the folder at first (see `intake.left`)."""

    def remember_folder(self, folder: str, path: str, marker: str, mount: str) -> None:
        """Keep how the folder was seen; the time of the first is kept."""
