"""What is told of a trouble in a folder whose own file has not met it.

REDCap's words may speak of the file that has: of its record, its field, its name. Whoever may look into another folder is told
what kind of trouble it is, and no more; the log and `status` have the words.
"""

from __future__ import annotations

from collections.abc import Iterable

from dropcap.ledger.job import Job
from dropcap.reasons import Reason

_KINDS: dict[Reason, str] = {
    Reason.TOKEN: "REDCap does not accept the API token",
    Reason.RIGHTS: "the token's user lacks a right in REDCap",
    Reason.PROJECT_MISMATCH: "the API token belongs to another project",
    Reason.PROJECT_OFFLINE: "the project is offline in REDCap",
    Reason.NOT_THE_API: "something other than REDCap's API answers",
    Reason.UNREACHABLE: "REDCap cannot be reached",
    Reason.SERVER_ERROR: "REDCap's server is ill",
    Reason.MAINTENANCE: "REDCap is under maintenance",
    Reason.BANNED: "REDCap has banned this machine's address",
    Reason.RATE_LIMITED: "REDCap asks for fewer requests",
    Reason.CERTIFICATE: "REDCap's server cannot be trusted: its certificate is not accepted",
    Reason.CAME_BACK_SHORT: "REDCap's replies break off",
    Reason.NOT_CONFIRMED: "REDCap has not stored what it accepted",
    Reason.REFUSED: "REDCap refuses one file or question after the other",
    Reason.NO_SPACE: "a disk of dropcap's own is full",
    Reason.BY_HAND: "paused by hand",
}


def in_general(reason: str) -> str:
    """What kind of trouble it is, without a word of REDCap's."""
    return _KINDS.get(Reason.of(reason, Reason.SERVER_ERROR), "REDCap does not do what it is asked")


def of_several_folders(jobs: Iterable[Job]) -> bool:
    """Whether one question about all these files may be answered in words about another folder's."""
    return len({job.folder for job in jobs}) > 1
