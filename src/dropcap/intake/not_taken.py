"""What lies in a folder and cannot be taken."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from dropcap.display import shown


class NotTaken:
    """What cannot be taken, and why; each reason is logged once. Other threads may copy `all`, but not go through it."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        self._log = log
        self.all: dict[str, str] = {}

    def put(self, name: str, why: str) -> None:
        """`name` cannot be taken."""
        if self.all.get(name) != why:
            self.all[name] = why
            self._log.warning("entry_ignored", file=shown(name), message=why)

    def drop(self, name: str) -> None:
        """`name` is gone or taken after all."""
        self.all.pop(name, None)

    def keep(self, names: Iterable[str]) -> None:
        """Nothing but these is there."""
        if not self.all:
            return
        for name in self.all.keys() - set(names):
            del self.all[name]
