"""In which drop folders this host works: in all, where it has its ledger for itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from dropcap.config.model import Config
from dropcap.delivery.clients import MakeWindow, window_of
from dropcap.hosts.grip import Grip
from dropcap.ledger.job import Job


class Allotment(Protocol):
    """What the engine asks of it. Every method may be called from any thread, and waits for nothing but `begins`."""

    @property
    def window(self) -> MakeWindow:
        """Makes the request limit of a project's server."""

    @property
    def host(self) -> str | None:
        """The id of this host among those that share the ledger, None if it has it for itself."""

    def grip(self, folder: str) -> Grip | None:
        """This host's lease of a folder that it is to work in; None if another host is to."""

    def at_work_elsewhere(self) -> Collection[str]:
        """In which folders other hosts work now, be they in this host's configuration or not."""

    def begins(self, jobs: Sequence[Job]) -> None:
        """These jobs are about to be sent. Raises OSError: nothing of them may be."""

    def configured(self, config: Config) -> None:
        """Another configuration is in force."""

    def kept_by(self, folder: str, within: float) -> str | None:
        """Which other host still works in a folder that was let go of. Waits so many seconds at most until none does."""

    def alive(self) -> bool:
        """Whether whoever keeps the leases still does."""


class Alone:
    """One host, one ledger."""

    def __init__(self) -> None:
        self._grips: dict[str, Grip] = {}

    @property
    def window(self) -> MakeWindow:
        """A file in `state_dir` counts, for all processes of this host."""
        return window_of

    @property
    def host(self) -> None:
        """It is one of one."""
        return

    def grip(self, folder: str) -> Grip:
        """It is always held."""
        return self._grips.setdefault(folder, Grip.alone(folder))

    def at_work_elsewhere(self) -> Collection[str]:
        """There is no other host."""
        return ()

    def begins(self, jobs: Sequence[Job]) -> None:
        """The ledger knows, and lies on the same disk."""

    def configured(self, config: Config) -> None:
        """Whatever it names is this host's."""

    def kept_by(self, folder: str, within: float) -> str | None:
        """There is no other."""
        return None

    def alive(self) -> bool:
        """There is nothing to keep."""
        return True
