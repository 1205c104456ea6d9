"""The burst with its files in eight folders: dropcap against the same scripts, each watching all eight."""

from __future__ import annotations

import burst
from ground import Options

FOLDERS = 8


def run(options: Options) -> list[str]:
    """Files a second of each, and dropcap's ratio to them."""
    return burst.compared(options, FOLDERS)
