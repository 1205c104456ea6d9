"""Moving a file within a folder: renamed, or copied and compared where it goes to another file system."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dropcap.files import names
from dropcap.files.copy import busy, copy_verified, still, unchanged
from dropcap.files.durable import fsync
from dropcap.files.lease import Lease, held, hold
from dropcap.files.regular import open_regular
from dropcap.files.remove import back
from dropcap.files.rename import rename_new
from dropcap.files.root import Root

#: So often a directory may be removed as empty beneath a move; each removal follows the filing of a file.
_ATTEMPTS = 10
_ANOTHER = "another host works in the folder by now, and has put another file there"


@dataclass(frozen=True, slots=True)
class Crossing:
    """How a file goes to another file system, and which one is meant.

    `begins(temporary, final)` is told, before anything is written, under which name the copy grows and which one it is to have.
    `sha256` (in hex) is what its bytes must be, if that is known. `is_it(status, stable_inodes)` is asked where another host may
    have put another file in its place by the time that this process, which was stopped, moves it.
    """

    begins: Callable[[str, str], None] = lambda temporary, final: None
    sha256: str | None = None
    is_it: Callable[[os.stat_result, bool], bool] = lambda status, stable_inodes: True


#: Nothing is known and nobody keeps a journal.
PLAIN = Crossing()


def move(
    root: Root, source: str, destination: str, candidates: Callable[[str], Iterable[str]], crossing: Crossing = PLAIN
) -> str:
    """Move a file to the first of the names that `candidates` gives for its destination's, which is returned.

    Directories are made as needed. Never replaces: raises FileExistsError if all are taken, else OSError: ESTALE if another host
    has put another file there, which lies where it was. Not durable before both directories are synced; across file systems it
    is at once.
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
            taken = _rename(root, source_dir, leaf, target_dir, candidates(wanted), crossing)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            taken = _across(root, source_dir, leaf, target_dir, directory, candidates(wanted), crossing)
    return names.join(directory, taken)


def _rename(root: Root, source_dir: int, source: str, target_dir: int, candidates: Iterable[str], crossing: Crossing) -> str:
    for candidate in candidates:
        try:
            rename_new(source_dir, source, target_dir, candidate, root.ways)
        except FileExistsError as error:
            taken = error
        else:
            with contextlib.suppress(FileNotFoundError):  # whoever works there now has moved it on
                if not root.holds() and not _is_it(root, os.stat(candidate, dir_fd=target_dir, follow_symlinks=False), crossing):
                    back(root, target_dir, candidate, source_dir, source)
                    raise OSError(errno.ESTALE, _ANOTHER, source)
            return candidate
    raise taken


def _is_it(root: Root, status: os.stat_result, crossing: Crossing) -> bool:
    return crossing.is_it(status, root.stable_inodes)


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
                _, before, sha256 = copy_verified(source_dir, source, target_dir, temporary, crossing.sha256)
                if not root.holds() and not _is_it(root, before, crossing):
                    raise OSError(errno.ESTALE, _ANOTHER, source)
            _must_be(source_dir, source, before, sha256)
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
    remove_original(root, source_dir, source, before, sha256)
    return taken


def remove_original(root: Root, directory: int, leaf: str, before: os.stat_result, sha256: str) -> None:
    """Remove, durably, what was copied, as `before` tells, with the bytes of `sha256` (in hex). Nothing is removed that somebody
    has written to since, or writes to now, nor what another host or a person has put there in this very moment.

    Raises OSError: EBUSY or ESTALE then.
    """
    aside = names.aside(leaf)  # should it end right here, `Tree.remove_temporaries` puts it back
    fd, _ = open_regular(directory, leaf)
    try:
        lease = hold(fd)
        if lease is Lease.WRITER or not still(fd, before, sha256):
            raise busy(leaf)
        if root.stable_inodes:  # a share without moves nothing that is open
            rename_new(directory, leaf, directory, aside, root.ways)
            if lease is Lease.FREE and not held(fd):
                back(root, directory, aside, directory, leaf)
                raise busy(leaf)
    finally:
        os.close(fd)
    if not root.stable_inodes:
        rename_new(directory, leaf, directory, aside, root.ways)
    if not unchanged(directory, aside, before, root.stable_inodes):
        back(root, directory, aside, directory, leaf)
        raise OSError(errno.ESTALE, _ANOTHER, leaf)
    os.unlink(aside, dir_fd=directory)
    fsync(directory, leaf)


def _exists(directory: int, leaf: str) -> bool:
    try:
        os.stat(leaf, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _must_be(directory: int, leaf: str, before: os.stat_result, sha256: str) -> None:
    fd, _ = open_regular(directory, leaf)
    try:
        if not still(fd, before, sha256):
            raise busy(leaf)
    finally:
        os.close(fd)
