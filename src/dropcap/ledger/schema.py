"""What the schemas of both engines have in common."""

from __future__ import annotations

#: The open states as SQL. The indexes of open jobs are used only by a query that says this, word for word.
OPEN_STATES = "('waiting', 'held', 'sending', 'unknown', 'stored', 'refused')"

#: That a fail-over of the database has put a job aside, as SQL.
PUT_ASIDE = (
    f"state in {OPEN_STATES} and state = 'held' and may_have_arrived and coalesce(reason, '') in ('not_confirmed', 'newer_went')"
)


def open_by_key(job: str) -> str:
    """That a job is open, as SQL, where it is looked for by its key. In PostgreSQL the index of keys is used only by a query that
    says the second half; see `postgres.migrations`."""
    return f"{job}.state in {OPEN_STATES} and {job}.state || '' in {OPEN_STATES}"


#: The schema that this dropcap reads and writes: its tables are the same in both engines.
VERSION = 8
