"""Now and then, what `keep` says is over is removed: one thread a folder, so that a share that hangs holds up only its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from dropcap.config.model import Config
from dropcap.daemon.channel import Channel
from dropcap.daemon.tidying import tidy_copies, tidy_done, tidy_subfolders
from dropcap.filing.keep import NoCopy
from dropcap.ledger.act import Means, Who
from dropcap.ledger.errors import DatabaseError
from dropcap.ledger.store import Ledger
from dropcap.threads import NoThread, begin

log = structlog.get_logger()

#: Seconds between two looks at a folder.
EVERY = 3600.0


class Housekeeping:
    """Looks at each folder once an hour; `config` and `channels` give what is in force. `look` is called by the main thread."""

    def __init__(self, ledger: Ledger, config: Callable[[], Config], channels: Callable[[], dict[str, Channel]]) -> None:
        self._ledger = ledger
        self._config = config
        self._channels = channels
        self._due: dict[str, float] = {}  # by folder, and by "" for the ledger; monotonic seconds
        self._threads: dict[str, threading.Thread] = {}

    def soon(self) -> None:
        """The configuration may be another one."""
        self._due.clear()

    def look(self) -> None:
        """Begin with what is due. Waits for nothing."""
        keep = self._config().keep
        if not keep.ends:
            return
        for name, one in self._channels().items():
            if one.intake.lent is not None:  # it is there
                self._begin(name, lambda one=one: self._tidy(one))  # type: ignore[misc]
        if keep.history is not None:
            self._begin("", self._forget)

    def _begin(self, name: str, task: Callable[[], None]) -> None:
        running = self._threads.get(name)
        if time.monotonic() < self._due.get(name, 0.0) or (running is not None and running.is_alive()):
            return
        try:
            self._threads[name] = begin(task, f"housekeeping {name}".strip())
            self._due[name] = time.monotonic() + EVERY
        except NoThread:
            return

    def _tidy(self, one: Channel) -> None:
        keep, folder = self._config().keep, one.folder
        tree = one.intake.lent
        if tree is None:
            return
        try:
            if keep.done is not None and one.intake.confirm() is not None:
                for _ in tidy_done(tree, folder, self._ledger, keep.done, directories=keep.empty_subfolders is not None):
                    if one.retired or one.intake.lent is not tree:
                        return
            if keep.preserved is not None:
                kept_for = keep.preserved
                one.keep.do(lambda place, _: tidy_copies(place, folder.name, self._ledger, kept_for))
            if keep.empty_subfolders is not None and one.intake.confirm() is not None:
                tidy_subfolders(tree, folder, self._ledger, keep.empty_subfolders)
        except (OSError, NoCopy, DatabaseError) as error:
            message = f"what `keep` says is over could not be removed ({error}); it is tried again in an hour"
            log.warning("check_problem", folder=folder.name, message=message, remedy="let dropcap's user read and write there")

    def _forget(self) -> None:
        kept_for = self._config().keep.history
        try:
            while kept_for is not None and (jobs := self._ledger.query.over(time.time() - kept_for)):
                number = self._ledger.prune(jobs, Who.me(Means.ITSELF))
                log.info("removed", what="history", jobs=number, kept_for=f"{kept_for / 86400:g}d")
        except DatabaseError as error:
            log.warning("check_problem", message=f"no history was forgotten ({error})", remedy="see `dropcap status`")
