"""The SHA-256 of a file."""

from __future__ import annotations

import hashlib
import os

from dropcap.files.tree import Tree

#: Bytes read at a time.
_CHUNK = 256 * 1024


def sha256(fd: int) -> str:
    """The SHA-256 of an open file, in hex; it is read from its beginning, and its position is left alone. Raises OSError."""
    digest, position = hashlib.sha256(), 0
    chunk = min(os.fstat(fd).st_size + 1, _CHUNK)  # of a small file no more than it takes
    while data := os.pread(fd, chunk, position):
        digest.update(data)
        position += len(data)
    return digest.hexdigest()


def sha256_of(tree: Tree, name: str) -> str:
    """The same of a file in a folder. Raises OSError: it cannot be read; NotRegular: it is no file."""
    fd = tree.open(name)
    try:
        return sha256(fd)
    finally:
        os.close(fd)
