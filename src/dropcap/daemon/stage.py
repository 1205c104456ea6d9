"""Which projects are in development, as REDCap has told last: also after a restart while it cannot be asked."""

from __future__ import annotations

import time

from dropcap.delivery.vacancy import FOR_GOOD
from dropcap.ledger.store import Ledger
from dropcap.redcap.model import ProjectInfo

_KIND, _DEVELOPMENT = "stage", "development"


class Stages:
    """The stages of all entries' projects. Safe for threads: single steps alone change them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        learned = ledger.query.learned(time.time())
        self._in_development = {project for project, kind, what in learned if (kind, what) == (_KIND, _DEVELOPMENT)}

    def in_development(self, entry: str) -> bool:
        """Whether REDCap has told that an entry's project is in development, and not yet that it is in production."""
        return entry in self._in_development

    def told(self, entry: str, project: ProjectInfo) -> bool:
        """REDCap has told the project of an entry; whether its stage is news. Durable on return."""
        if project.in_production is not self.in_development(entry):
            return False
        self._ledger.learn(entry, _KIND, _DEVELOPMENT, 0.0 if project.in_production else time.time() + FOR_GOOD)
        (self._in_development.discard if project.in_production else self._in_development.add)(entry)
        return True
