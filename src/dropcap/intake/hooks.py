"""Whom the thread of one drop folder tells of what it did, and whom it asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntakeHooks:
    """All are called from the folder's own thread; `unsafe` alone may hang on its share.

    `claimed`: jobs were entered in the ledger, or renamed there. `place_left`: a person has renamed or taken away a job's file,
    so that those behind it in REDCap's order can be next. `noted`: other files than before wait for something. `unsafe` says why
    nothing may be taken, if so; it is asked each time before the folder is opened. While `released` says so, the folder is let go
    of, since a person wants that; it is also while `holds` does not say that no other host may work there at this moment.
    """

    claimed: Callable[[list[int]], None]
    place_left: Callable[[], None] = lambda: None
    noted: Callable[[], None] = lambda: None
    unsafe: Callable[[], str | None] = lambda: None
    released: Callable[[], bool] = lambda: False
    holds: Callable[[], bool] = lambda: True
