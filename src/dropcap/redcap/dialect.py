"""In which format a server tells its errors, though it is always asked for JSON."""

from __future__ import annotations

import time
from collections.abc import Callable

from dropcap.redcap.reply import Asked, Meaning

#: PHP drops the whole body of a request over its `post_max_size`. No server that takes files has it below this (bytes).
MAY_LOSE_FORM = 1024 * 1024
#: For so long (seconds) counts what was heard.
_COUNTS = 3600.0


class Dialect:
    """What was heard of one server by one client. May be used by any thread: times are replaced whole."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._json_at = self._xml_at = -_COUNTS

    def heard(self, meaning: Meaning, for_: Asked) -> None:
        """A reply. Of one to an import, whose form may be lost, only JSON tells something."""
        if meaning.in_json:
            self._json_at = self._clock()
        elif meaning.in_xml and for_ != "import":
            self._xml_at = self._clock()

    def is_json(self) -> bool | None:
        """Whether errors come in JSON, all of them; None if none was heard lately."""
        now = self._clock()
        if now - self._xml_at < _COUNTS:
            return False
        return True if now - self._json_at < _COUNTS else None
