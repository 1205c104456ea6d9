"""What commands write for people lies outside of the drop folders: in one it would be read by others, and taken as dropped."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from dropcap.cli.configured import stop
from dropcap.config.model import Config, Folder
from dropcap.display import shown
from dropcap.files.hand import Hand

#: Seconds for which all shares together are asked which directories they are.
_PATIENCE = 5.0


def outside_of_all_folders(config: Config, named: Path) -> Path:
    """Where `named` leads to, links followed; or the end with exit code 2 if that lies in a drop folder, by whatever path."""
    target = Path(os.path.realpath(named))
    above = {known for one in (target, *target.parents) if (known := _identity(one)) is not None}
    folders = (*config.folders.values(), *config.broken)
    asked = [_asked(folder) for folder in folders]
    end = time.monotonic() + _PATIENCE
    for folder, answer in zip(folders, asked, strict=True):
        if target.is_relative_to(folder.path) or _told(answer, end) in above:
            stop(
                f"{shown(str(named))} lies in the drop folder {shown(folder.name)}, where others read and files are taken: "
                "name another place",
                2,
            )
    return target


def _identity(path: Path) -> tuple[int, int] | None:
    """Which directory it is: another path may lead there as well, by a link or a mount."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _asked(folder: Folder) -> Future[tuple[int, int] | None] | None:
    """A share may hang: it is asked by another thread."""
    try:
        return Hand(f"share {folder.name}").begin(partial(_identity, folder.path), _PATIENCE)
    except OSError:
        return None


def _told(answer: Future[tuple[int, int] | None] | None, end: float) -> object:
    """What was told until then (monotonic)."""
    try:
        return None if answer is None else answer.result(max(0.0, end - time.monotonic()))
    except TimeoutError:
        return None
