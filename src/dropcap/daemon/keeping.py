"""The places for copies of what REDCap held, one for each folder, and whether their droppers could get at them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dropcap.config.model import Config, Folder
from dropcap.filing.keep import Keep
from dropcap.intake.mounts import Mounts
from dropcap.preflight.private import exposed, keeps_copies


class Keeping:
    """Makes them; `config` gives the configuration that is in force."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._real: dict[str, Path] = {}  # where folders lie once links are followed, as far as they were opened

    def of(self, folder: Folder) -> Keep:
        """The place of a folder's copies."""
        config = self._config()
        place = config.keeps_in(folder)
        return Keep(place, folder.min_free, config.state_dir, lambda: self._exposed(place), make_above=folder.preserve_in is None)

    def unsafe(self, folder: Folder, keep: Keep) -> str | None:
        """Why nothing may be taken from a folder: for the thread that opens it, which alone may hang on its share."""
        self._real[folder.name] = Path(os.path.realpath(folder.path))
        return keep.exposure() if keeps_copies(folder) else None

    def _exposed(self, place: Path) -> str | None:
        config = self._config()
        shares = {folder.path for folder in config.folders.values()} | set(self._real.values())
        return exposed(place, config.state_dir, shares, Mounts.now())
