from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from dropcap.config.model import Folder
from dropcap.content.examiner import Examiner
from dropcap.intake.loop import Intake
from dropcap.intake.owner import Run
from dropcap.ledger.job import Address, Change, OpenFile, State
from dropcap.ledger.store import Ledger
from dropcap.routing.pattern import compile_pattern
from dropcap.routing.rule import Rule, compile_template


class Context:
    """What intake works for, with the real ledger; every file gets an address of its own."""

    def __init__(self, ledger: Ledger, folder: Folder, run: Run) -> None:
        self.folder = folder
        self.ledger = ledger
        self.run = run
        self.examiner: Examiner | None = None
        self.jobs: list[int] = []

    def projects(self) -> Collection[str]:
        return ("p",)

    def address(self, name: str) -> Address:
        return address(name)

    def claimed(self, jobs: list[int]) -> None:
        self.jobs += jobs

    def refused(self, jobs: list[int]) -> None: ...

    def place_left(self) -> None: ...

    def changed(self) -> None: ...

    def unsafe(self) -> str | None:
        return None

    def released(self) -> bool:
        return False

    def holds(self) -> bool:
        return True

    def idle(self) -> bool:
        return True


class Quiet:
    """An intake that nobody wakes."""

    def happened(self, name: str) -> None: ...

    def wake(self) -> None: ...

    def has_answer(self) -> None: ...

    def tick(self) -> float:
        return time.monotonic()

    def over(self) -> bool:
        return False


def address(name: str) -> Address:
    return Address(project="p", rule="r", record=name, field="f")


def rule(pattern: str) -> Rule:
    """A rule for such names."""
    return Rule("files", compile_pattern(pattern, {}), compile_template("f", {}, ()))


class Desk:
    """A drop folder, its ledger and its intake."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path / "consents"
        self.path.mkdir()
        self.ledger = Ledger(tmp_path / "ledger.db")
        self.context = Context(self.ledger, self.folder(), Run.of(tmp_path))
        self.intake: Intake | None = None

    @property
    def claimed(self) -> list[int]:
        return self.context.jobs

    def folder(self, **settings: Any) -> Folder:
        defaults: dict[str, Any] = {"rescan": 60.0, "settle_closed": 0.0, "settle_quiet": 0.3, "min_free": 0}
        rules = settings.pop("rules", (rule("*"),))
        return Folder("consents", self.path, "p", rules, **{**defaults, **settings})

    def start(self, *, watched: bool = True, **settings: Any) -> Intake:
        self.context.folder, self.context.run = self.folder(**settings), Run.of(self.path.parent)
        self.intake = Intake(self.context, watched=watched)
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
