"""A file that is filed to another file system is copied; what is to be done where that was cut off.

The ledger keeps, from before the copy begins, under which temporary name it grows and which name it gets once it is whole. So
exactly one copy is left afterwards, and no directory of `done/` needs to be searched.
"""

from __future__ import annotations

import hashlib
import os

from dropcap.files import names
from dropcap.files.digest import sha256_of
from dropcap.files.durable import fsync
from dropcap.files.move import remove_original
from dropcap.files.tree import Tree

_CHUNK = 1024 * 1024


def finish(tree: Tree, source: str, temporary: str, final: str, sha256: str | None = None) -> bool:
    """Whether the file `source` has arrived as `final`, which was free when the copy began; if so, `source` is gone afterwards.

    `sha256` are the bytes that must have arrived; those of the source if it is None. What is half copied is removed, and so is
    the source, but only if the copy is proven to be the same: if somebody has written to it since, it stays for intake.

    Raises:
        OSError: it cannot be told now, or another host may work there; nothing was removed that was not proven to be there twice.
    """
    tree.be_ours()
    if _remove_temporary(tree, temporary):
        return False  # the copy had not got its name yet
    try:
        copied = sha256_of(tree, final)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        before = tree.lstat(source)
        original = sha256_of(tree, source)
    except (FileNotFoundError, NotADirectoryError):
        return sha256 in (None, copied)
    if copied != (sha256 or original):
        _remove_half(tree, source, final)
        return False
    directory, leaf = names.split(final)
    with tree.directory(directory) as fd:
        fsync(fd, leaf)
    if original == copied:
        with tree.parent(source) as (fd, leaf):
            tree.be_ours()  # the bytes of both may have taken long
            remove_original(tree, fd, leaf, before, copied)
        tree.remove_empty(names.split(source)[0])
    return True


def _remove_temporary(tree: Tree, temporary: str) -> bool:
    if not names.is_temporary(names.split(temporary)[1]):
        return False
    try:
        with tree.parent(temporary) as (fd, leaf):
            os.unlink(leaf, dir_fd=fd)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _remove_half(tree: Tree, source: str, final: str) -> None:
    """Remove `final` if it is no more than the beginning of `source`, as after a power cut; else it is somebody's own."""
    before, begins = tree.lstat(final), hashlib.sha256()
    with os.fdopen(tree.open(source), "rb") as whole, os.fdopen(tree.open(final), "rb") as half:
        while chunk := half.read(_CHUNK):
            if whole.read(len(chunk)) != chunk:
                return
            begins.update(chunk)
        if not whole.read(1):
            return
    with tree.parent(final) as (fd, leaf):
        tree.be_ours()
        remove_original(tree, fd, leaf, before, begins.hexdigest())
