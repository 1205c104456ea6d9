"""The SHA-256 of a file that lies in a folder."""

from __future__ import annotations

import hashlib
import os

from dropcap.files.tree import Tree


def sha256_of(tree: Tree, name: str) -> str:
    """In hex. Raises OSError: it cannot be read; NotRegular: it is no file."""
    with os.fdopen(tree.open(name), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
