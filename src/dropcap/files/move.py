"""Moving a file within a folder: renamed, or copied and compared where it goes to another file system."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dropcap.files import names
from dropcap.files.copy import copy_verified, unchanged
from dropcap.files.durable import fsync
from dropcap.files.rename import rename_new
from dropcap.files.root import Root

#: So often a directory may be removed as empty beneath a move; each removal follows the filing of a file.
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Crossing:
    """How a file goes to another file system.

    `begins(temporary, final)` is told, before anything is written, under which name the copy grows and which one it is to have.
    `sha256` (in hex) is what its bytes must be, if that is known.
    """

    begins: Callable[[str, str], None] = lambda temporary, final: None
    sha256: str | None = None


#: Nothing is known and nobody keeps a journal.
PLAIN = Crossing()


def move(
    root: Root, source: str, destination: str, candidates: Callable[[str], Iterable[str]], crossing: Crossing = PLAIN
) -> str:
    """Move a file to the first of the names that `candidates` gives for its destination's, which is returned.

    Directories are made as needed. Never replaces: raises FileExistsError if all are taken, else OSError. Not durable before
    both directories are synced; across file systems it is at once.
    """
    for attempt in range(_ATTEMPTS):
        try:
            # The first time without making directories: most often they are there, and for nothing they are not made.
            return _once(root, source, destination, candidates, crossing, create=attempt > 0)
        except FileNotFoundError:
            # Either the source has gone, as this look tells, or the destination's directory is missing or was just removed.
            root.lstat(source)
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def _once(
    root: Root,
    source: str,
    destination: str,
    candidates: Callable[[str], Iterable[str]],
    crossing: Crossing,
    create: bool,
) -> str:
    directory, wanted = names.split(destination)
    with root.parent(source) as (source_dir, leaf), root.directory(directory, create) as target_dir:
        try:
            taken = _rename(root, source_dir, leaf, target_dir, candidates(wanted))
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            taken = _across(root, source_dir, leaf, target_dir, directory, candidates(wanted), crossing)
    return names.join(directory, taken)


def _rename(root: Root, source_dir: int, source: str, target_dir: int, candidates: Iterable[str]) -> str:
    for candidate in candidates:
        try:
            rename_new(source_dir, source, target_dir, candidate, root.ways)
        except FileExistsError as error:
            taken = error
        else:
            return candidate
    raise taken


def _across(
    root: Root, source_dir: int, source: str, target_dir: int, directory: str, candidates: Iterable[str], crossing: Crossing
) -> str:
    temporary = names.temporary()
    before: os.stat_result | None = None
    try:
        for candidate in candidates:
            taken = candidate
            if _exists(target_dir, candidate):
                continue
            crossing.begins(names.join(directory, temporary), names.join(directory, candidate))
            if before is None:
                before = copy_verified(source_dir, source, target_dir, temporary, crossing.sha256)[1]
            _must_be(source_dir, source, before, root)
            try:
                rename_new(target_dir, temporary, target_dir, candidate, root.ways)
            except FileExistsError:
                continue
            break
        else:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), names.join(directory, taken))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=target_dir)
        raise
    fsync(target_dir, taken)
    _must_be(source_dir, source, before, root)
    os.unlink(source, dir_fd=source_dir)
    fsync(source_dir, source)
    return taken


def _exists(directory: int, leaf: str) -> bool:
    try:
        os.stat(leaf, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _must_be(directory: int, leaf: str, before: os.stat_result, root: Root) -> None:
    if not unchanged(directory, leaf, before, root.stable_inodes):
        raise OSError(errno.EBUSY, "The file changed while it was copied; wait until nobody writes to it", leaf)
