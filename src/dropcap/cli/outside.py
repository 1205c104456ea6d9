"""What commands write for people lies outside of the drop folders: in one it would be read by others, and taken as dropped."""

from __future__ import annotations

import os
from pathlib import Path

from dropcap.cli.configured import stop
from dropcap.config.model import Config
from dropcap.display import shown
from dropcap.files.hand import Hand

#: Seconds for which a share is asked where it lies in truth.
_PATIENCE = 5.0


def outside_of_all_folders(config: Config, named: Path) -> Path:
    """Where `named` leads to, links followed; or the end with exit code 2 if that lies in a drop folder."""
    target = Path(os.path.realpath(named))
    for folder in (*config.folders.values(), *config.broken):
        if target.is_relative_to(folder.path) or target.is_relative_to(_real(folder.path)):
            stop(
                f"{shown(str(named))} lies in the drop folder {shown(folder.name)}, where others read and files are taken: "
                "name another place",
                2,
            )
    return target


def _real(path: Path) -> str:
    try:
        return Hand(f"share {path}").do(lambda: os.path.realpath(path), _PATIENCE)
    except OSError:
        return str(path)
