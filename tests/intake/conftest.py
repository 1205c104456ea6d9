from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dropcap.config.model import Folder
from dropcap.intake.loop import Intake
from dropcap.intake.owner import Run
from dropcap.intake.people import IntakeHooks
from dropcap.ledger.job import (
    Address,
    Change,
    FailedFile,
    FiledFile,
    KnownFolder,
    Mark,
    MarkKind,
    NewFile,
    OpenFile,
    State,
    TakenAway,
)
from dropcap.ledger.store import Ledger
from dropcap.routing.pattern import compile_pattern
from dropcap.routing.rule import Rule
from dropcap.routing.template import compile_template


class Port:
    """The real ledger, as intake sees it; every file gets an address of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.address: Callable[[str], Address] = lambda name: Address(project="p", rule="r", record=name, field="f")

    @property
    def installation(self) -> str:
        return self.ledger.installation

    @property
    def unwritable(self) -> str:
        return self.ledger.trouble.unwritable

    def marks(self, folder: str, name: str | None = None) -> Sequence[Mark]:
        return self.ledger.query.marks(folder, name)

    def mark(self, folder: str, marks: Sequence[Mark]) -> None:
        self.ledger.mark(folder, marks)

    def unmark(self, folder: str, names: Sequence[str], kinds: Sequence[MarkKind]) -> None:
        self.ledger.unmark(folder, names, kinds)

    def claim(self, folder: str, files: Sequence[NewFile]) -> list[int]:
        return self.ledger.claim(folder, files, self.address)

    def open_files(self, folder: str) -> Mapping[str, OpenFile]:
        return self.ledger.query.open_files(folder)

    def each_open(self, folder: str) -> Iterator[tuple[str, OpenFile]]:
        return self.ledger.query.each_open(folder)

    def open_names(self, folder: str, names: Sequence[str]) -> set[str]:
        return self.ledger.query.open_names(folder, names)

    def last_claims(self, folder: str, names: Sequence[str]) -> Mapping[str, float]:
        return self.ledger.query.last_claims(folder, names)

    def failed_files(self, folder: str, sizes: Collection[int] = ()) -> Mapping[str, FailedFile]:
        return self.ledger.query.failed_files(folder, sizes)

    def each_done(self, folder: str, since: float, until: float) -> Iterator[str]:
        return self.ledger.query.each_done(folder, since, until)

    def each_filed(self, folder: str, sizes: Collection[int], since: float | None = None) -> Iterator[FiledFile]:
        return self.ledger.query.each_filed(folder, sizes, since)

    def taken_away(self, folder: str, sizes: Collection[int]) -> Sequence[TakenAway]:
        return self.ledger.query.taken_away("p", sizes, time.time())

    def forget_failed(self, jobs: Sequence[int]) -> None:
        self.ledger.forget_failed(jobs)

    def withdraw(self, job: int) -> bool:
        return self.ledger.withdraw(job)

    def rename_open(self, job: int, name: str) -> bool:
        return self.ledger.rename_open(job, name, self.address(name))

    def known_folder(self, folder: str) -> KnownFolder | None:
        return self.ledger.query.known_folder(folder)

    def left_marks(self, folder: str) -> str | None:
        return self.ledger.query.left_marks(folder)

    def keep_left_marks(self, folder: str, marks: str) -> None:
        self.ledger.keep_left_marks(folder, marks)

    def remember_folder(self, folder: str, path: str, marker: str, mount: str) -> None:
        self.ledger.remember_folder(folder, path, marker, mount)


def rule(pattern: str) -> Rule:
    """A rule for such names."""
    return Rule("files", compile_pattern(pattern, {}), compile_template("f", {}, ()))


class Desk:
    """A drop folder, its ledger and its intake."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path / "consents"
        self.path.mkdir()
        self.ledger = Ledger(tmp_path / "ledger.db")
        self.port = Port(self.ledger)
        self.claimed: list[int] = []
        self.intake: Intake | None = None

    def folder(self, **settings: Any) -> Folder:
        defaults: dict[str, Any] = {"rescan": 60.0, "settle_closed": 0.0, "settle_quiet": 0.3, "min_free": 0}
        rules = settings.pop("rules", (rule("*"),))
        return Folder("consents", self.path, "p", rules, **{**defaults, **settings})

    def start(self, *, watched: bool = True, **settings: Any) -> Intake:
        run = Run.of(self.path.parent)
        self.intake = Intake(self.folder(**settings), self.port, run, IntakeHooks(self.claimed.extend), watched=watched)
        self.intake.start()
        return self.intake

    def stop(self) -> None:
        if self.intake is not None:
            assert self.intake.stop()
            self.intake = None

    def open(self) -> dict[str, OpenFile]:
        return self.ledger.query.open_files("consents")

    def until_open(self, *names: str, within: float = 8.0) -> dict[str, OpenFile]:
        until(lambda: set(names) <= set(self.open()), within, lambda: (self.open(), self.intake and self.intake.notes))
        return self.open()

    def fail(self, job: int, filed_as: str, *, entered: bool = True) -> None:
        """As delivery and filing do: refuse, move to failed/, end the job. `entered`: the ledger knows where it lies."""
        name = self.ledger.query.job(job).name  # type: ignore[union-attr]
        assert self.ledger.change([Change(job, State.REFUSED)])
        target = self.path / filed_as
        target.parent.mkdir(exist_ok=True, parents=True)
        (self.path / "in_progress" / name).rename(target)
        assert self.ledger.change([Change(job, State.FAILED, "", {"filed_as": filed_as if entered else None})])


def until(condition: Callable[[], Any], within: float = 8.0, about: Callable[[], Any] = lambda: "") -> None:
    """Wait for what another thread or process is about to do; fails after `within` seconds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, f"not within {within} s: {about()}"
        time.sleep(0.005)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.stop()
    desk.ledger.close()
