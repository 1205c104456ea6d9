"""The text file for node_exporter: written beside and renamed, so that it is never read half written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import structlog

log = structlog.get_logger()


class Textfile:
    """Keeps one file. What cannot be written is told in the log once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told = False

    def write(self, content: bytes) -> None:
        """Put `content` into the file's place."""
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")  # no *.prom: node_exporter leaves it alone
        try:
            # What others run reads it, and it holds no names of files.
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644), "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(content)
            os.rename(beside, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            if not self._told:
                log.error(
                    "metrics_unwritable",
                    message=f"{self.path} cannot be written ({error.strerror})",
                    remedy="make its directory, and let dropcap's user write there (ReadWritePaths= of the unit too)",
                )
            self._told = True
            return
        self._told = False
