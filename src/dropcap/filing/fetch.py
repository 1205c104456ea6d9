"""Fetching a copy: whole, compared, replacing nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from dropcap.files import names
from dropcap.files.tree import Tree
from dropcap.filing.copies import Copy

_CHUNK = 1024**2


class Differs(Exception):  # noqa: N818 - a finding
    """A copy has not the bytes any more that it was told to have."""


def fetch(place: Path, copy: Copy, into: Tree) -> str:
    """Copy `copy`, which lies in `place`, to a free name in `into`, with mode 0600; returns that name.

    Raises Differs, and OSError as the system calls beneath do; nothing is left behind then.
    """
    source = Tree(place)
    try:
        with os.fdopen(source.open(copy.name), "rb") as file, into.stage(mode=0o600) as staged:
            digest = hashlib.sha256()
            while data := file.read(_CHUNK):
                digest.update(data)
                staged.write(data)
            if digest.hexdigest() != copy.sha256:
                raise Differs("its bytes are not those that were kept: compare with a backup")
            for leaf in names.candidates(names.split(copy.name)[1]):
                try:
                    staged.place(leaf)
                except FileExistsError:
                    continue
                return leaf
            raise AssertionError("candidates never end")
    finally:
        source.close()
