"""Whose token an entry has. A token belongs to one project for good; another token may be another project's, and then nothing
goes there unless the configuration says so.
"""

from __future__ import annotations

import hashlib

from dropcap.config.model import Project
from dropcap.delivery.order import Order
from dropcap.ledger.store import Lead, Ledger
from dropcap.reasons import Reason
from dropcap.redcap.client import ProjectInfo, RedcapError
from dropcap.redcap.reply import Meaning, Verdict
from dropcap.secret import Token


def stamp(ledger: Ledger, token: str) -> str:
    """Stands for a token where it is kept; the token cannot be told from it."""
    return hashlib.sha256(f"{ledger.installation} {token}".encode()).hexdigest()[:16]


def mismatch(project: Project, kept: Lead | None, told: int | None) -> Meaning:
    """Why nothing goes to the project that REDCap has told of a token (None: it tells none)."""
    name, before = project.name, kept.number if kept is not None else None
    if project.project_id is not None:
        message = f"the token of `{name}` belongs to REDCap project {told}, the configuration says {project.project_id}"
        return _meaning(message, "use the token of the right project, or correct project_id")
    if told is None:
        led = f", and files of it went to project {before} so far" if before is not None else ""
        message = f"`{name}` has another token than before, and REDCap does not tell whose it is{led}"
        means = f"set `project_id` for `{name}` to the project that they are to go to"
        remedy = f"put the old token back; or give the token's user API Export, so that REDCap tells it; or {means}, and reload"
        return _meaning(message, f"{remedy} dropcap. The files wait")
    led = "REDCap did not tell whose the old one was" if before is None else f"files of it went to project {before} so far"
    message = f"the token of `{name}` is another one than before and belongs to REDCap project {told}; {led}"
    means = f"if files are to go to project {told} from now on, set `project_id: {told}` for `{name}` and reload dropcap"
    return _meaning(message, f"put the old token back; or, {means}. The files wait")


def _meaning(message: str, remedy: str) -> Meaning:
    return Meaning(Verdict.PROJECT, Reason.PROJECT_MISMATCH, message, remedy)


class Identities:
    """What the ledger keeps of that, also over a start and for all hosts. Safe for threads."""

    def __init__(self, ledger: Ledger, order: Order) -> None:
        self._ledger = ledger
        self._order = order
        self._tokens: dict[str, Token] = {}  # by entry, as it was admitted last

    def admit(self, project: Project, told: ProjectInfo | None, token: Token) -> None:
        """REDCap has told whose a token is (None: it does not tell). Durable on return. Raises RedcapError if that is not the
        project to which the entry leads.
        """
        number = told.project_id if told is not None else None
        kept, admitted = self._ledger.lead(project.name, Lead(number, stamp(self._ledger, token.reveal())), project.project_id)
        if not admitted:
            raise RedcapError(mismatch(project, kept, number))
        if self._tokens.get(project.name) not in (None, token):
            self._order.origins.is_used_by(project.name, "")
        self._tokens[project.name] = token
        if told is not None:
            self._order.told(project.name, told)
            entered = self._ledger.query.keys_without_project(project.name)
            self._ledger.order([(job, key, self._order.completed(project.name, key)) for job, key in entered])
        else:
            self._order.hides(project.name)
