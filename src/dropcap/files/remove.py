"""Removing a file for good: the very one that was compared, and never what somebody puts under its name meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

from dropcap.files import names
from dropcap.files.durable import fsync
from dropcap.files.regular import NotRegular, open_regular
from dropcap.files.rename import rename_new
from dropcap.files.root import Root
from dropcap.files.scan import scan


def remove(root: Root, name: str, is_it: Callable[[int], bool]) -> str | None:
    """Remove the file `name` if `is_it` says so of its descriptor. None: it is removed; else where it lies now.

    While it is looked at, it lies in its directory under a name that dropcap alone uses and that tells its own: `put_all_back`
    puts it back after a crash. Not durable before the directory is synced. Raises OSError: it is not removed, or was not there
    (FileNotFoundError).
    """
    root.be_ours()
    directory_name = names.split(name)[0]
    with root.parent(name) as (directory, leaf):
        aside = names.aside(leaf)
        rename_new(directory, leaf, directory, aside, root.ways)
        try:
            removed = _removed(root, directory, aside, is_it)
        except BaseException:
            with contextlib.suppress(OSError):
                back(root, directory, aside, directory, leaf)
            raise
        return None if removed else names.join(directory_name, back(root, directory, aside, directory, leaf))


def put_all_back(root: Root, within: str = "") -> None:
    """Put back what a crash, or a share that broke off, has left aside beneath `within`. Raises OSError."""
    for name in [entry.name for entry in scan(root, within, True, None) if entry.kind == "file" and names.set_aside(entry.leaf)]:
        put_back(root, name)


def put_back(root: Root, name: str) -> None:
    """Put back one file that lies aside, under its own name or the next one that is free. Raises OSError."""
    with root.parent(name) as (directory, aside), contextlib.suppress(FileNotFoundError):
        back(root, directory, aside, directory, names.set_aside(aside) or aside)


def back(root: Root, now_in: int, now: str, directory: int, leaf: str) -> str:
    """Move a file to where it was, past `holds`: it is another than was meant. Its name there. Raises OSError."""
    for candidate in names.candidates(leaf):
        with contextlib.suppress(FileExistsError):
            rename_new(now_in, now, directory, candidate, root.ways)
            fsync(directory, candidate)
            return candidate
    raise AssertionError("there is no end of names")


def _removed(root: Root, directory: int, aside: str, is_it: Callable[[int], bool]) -> bool:
    try:
        fd, before = open_regular(directory, aside)
    except NotRegular:
        return False
    try:
        if not is_it(fd):
            return False
    finally:
        os.close(fd)  # some file systems remove nothing that is open
    root.be_ours()
    now = os.stat(aside, dir_fd=directory, follow_symlinks=False)
    if _sight(now, root.stable_inodes) != _sight(before, root.stable_inodes):
        return False
    os.unlink(aside, dir_fd=directory)
    return True


def _sight(status: os.stat_result, stable_inodes: bool) -> tuple[int, ...]:
    """What changes when somebody writes to a file, or puts another one in its place."""
    seen = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, *seen) if stable_inodes else seen
