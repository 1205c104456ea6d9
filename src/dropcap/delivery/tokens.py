"""Refused tokens: a project that was paused for its token goes on as soon as another one lies in the token's place."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from dropcap.delivery.health import Health
from dropcap.delivery.line import ProjectLine
from dropcap.reasons import Scope


class RefusedTokens:
    """Which paused projects had which token. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamps: dict[str, int | None] = {}  # by project: the stamp of the token that it had when it was paused

    def paused(self, project: str, line: ProjectLine) -> None:
        """A project was paused, perhaps for its token."""
        stamp = line.token_stamp()
        with self._lock:
            self._stamps[project] = stamp

    def resumed(self, project: str) -> None:
        """It goes on."""
        with self._lock:
            self._stamps.pop(project, None)

    def try_renewed(self, lines: Mapping[str, ProjectLine], health: Health) -> None:
        """Let the projects be tried at once whose token is another one now."""
        with self._lock:
            refused = dict(self._stamps)
        for name, stamp in refused.items():
            line = lines.get(name)
            if line is None or (now := line.token_stamp()) is None or now == stamp:
                continue
            line.forget()
            paused = health.try_now(Scope.PROJECT, name)
            with self._lock:
                if not paused:
                    self._stamps.pop(name, None)
                elif name in self._stamps:  # nobody has resumed it meanwhile
                    self._stamps[name] = now
