"""In which instances a file for `next` may lie already: it was dragged back from done/, or a dropcap of which this ledger knows
nothing has perhaps sent it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from dropcap.delivery.plan import Facts
from dropcap.display import shown
from dropcap.files.tree import Tree
from dropcap.ledger.job import Held, Job
from dropcap.ledger.query import Query
from dropcap.reasons import Reason
from dropcap.redcap.request import safe_name

#: So many are exported at most: each is a request, and may be large.
MOST = 20


@dataclass(frozen=True, slots=True)
class Perhaps:
    """The `instances` to be looked at, in this order, before the file is sent; `more` have files, and are too many for that."""

    instances: tuple[int, ...] = ()
    more: int = 0

    def too_many(self, record: str) -> Held:
        """It was in none of those that were looked at, and is perhaps in another."""
        return Held(
            Reason.NOT_CONFIRMED,
            f"it may have been sent, and record `{shown(record)}` has {len(self.instances) + self.more} instances with files"
            f" that dropcap does not know: {len(self.instances)} hold other ones, the rest was not looked at",
            "look at the instances in REDCap: if this file is in none, drop a copy of it after taking it out of in_progress/",
        )


#: It was never sent before.
NOWHERE = Perhaps()


def perhaps_in(job: Job, facts: Facts, upload_as: str, query: Query, tree: Tree) -> Perhaps:
    """Where to look for the file of a job that is about to be sent. Each instance accounts for one file: those of other jobs are
    not looked at, but for the one that this very file was in before. Raises DatabaseError.
    """
    if not job.takes_next or not facts.filled:
        return NOWHERE
    shows = dict(facts.filled)
    back = (filed.instance for filed in query.was_filed(job) if filed.instance in shows and _has_left(filed, job, tree))
    perhaps = [number for number in (next(back, None),) if number is not None]
    if job.instance_unknown:
        others = shows.keys() - query.instances_of_others(job) - set(perhaps)
        name = safe_name(upload_as)
        perhaps += sorted(others, key=lambda number: (shows[number] != name, -number))
    return Perhaps(tuple(perhaps[:MOST]), len(perhaps[MOST:]))


def _has_left(filed: Job, job: Job, tree: Tree) -> bool:
    """Whether the file that was filed, and looks like that of `job`, is it. Where inodes tell nothing, so does a copy."""
    if job.inode:
        return True
    with contextlib.suppress(OSError):
        try:
            tree.lstat(filed.filed_as or "")
        except (FileNotFoundError, NotADirectoryError):
            return filed.folder == job.folder
    return False
