"""`_STATUS.html`: what a person who only sees the share can know, kept in the drop folder. What it shows: `page_html`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from dropcap.config.model import Folder
from dropcap.files.tree import Tree
from dropcap.filing.page_html import LATEST, MARK, render
from dropcap.filing.status_view import StatusView

# The mark stands in the head, and only there: a page that quotes it in its text is not ours.
_OURS = re.compile(rb'<!doctype html>\n<html lang="[a-z]{2}">\n<head>\n<meta charset="utf-8">\n' + re.escape(MARK.encode()))


def is_ours(content: bytes) -> bool:
    """Whether `content` is a page that `render` made."""
    return _OURS.match(content) is not None


NAME = "_STATUS.html"
#: Where somebody else's file has that name.
OTHER_NAME = "_STATUS (dropcap).html"

#: Seconds between two pages at least.
SOONEST = 5.0

_log = structlog.get_logger()


class StatusPage:
    """Keeps one folder's page: at once when something changed, at most every 5 s, at least every 60 s."""

    def __init__(self, tree: Tree, folder: Folder, clock: Callable[[], float] = time.monotonic) -> None:
        self._tree = tree
        self._folder = folder
        self._clock = clock
        self._offered: StatusView | None = None
        self._written: StatusView | None = None
        self._tried_at: float | None = None
        self._trouble: str | None = None

    def offer(self, view: StatusView) -> bool:
        """Take the newest view, and write it if it is time to, or the last one. Whether it was written. Never raises OSError."""
        self._offered = view
        now = self._clock()
        if self.due(now) > now and not view.stopped:
            return False
        self._tried_at = now
        try:
            self._write(render(view).encode())
        except OSError as error:
            self._tell(error.strerror or str(error))
            return False
        self._written = view
        self._trouble = None
        return True

    def due(self, now: float) -> float:
        """When, on the clock given, the page next wants a view: in the past if at once."""
        if self._tried_at is None:
            return now
        changed = self._offered is not None and (self._written is None or not _same(self._offered, self._written))
        return self._tried_at + (SOONEST if changed else LATEST)

    def _write(self, page: bytes) -> None:
        try:
            self._tree.write_over(NAME, page, is_ours)
        except FileExistsError:
            self._tree.write_over(OTHER_NAME, page, is_ours)

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning(
                "check_problem",
                folder=self._folder.name,
                file=NAME,
                message=f"the status page cannot be written: {trouble}",
                remedy="give dropcap's user the right to write in the folder, and make room on its disk",
            )


def _same(one: StatusView, other: StatusView) -> bool:
    """Whether the two differ in nothing but the time."""
    epoch = datetime.fromtimestamp(0, UTC)
    return replace(one, generated=epoch) == replace(other, generated=epoch)
