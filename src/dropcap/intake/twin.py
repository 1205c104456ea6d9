"""A claim to another file system is a copy: one that was cut off after the copy had its name has left the file in both places."""

from __future__ import annotations

import stat

from dropcap.files import names
from dropcap.files.digest import sha256_of
from dropcap.files.move import remove_original
from dropcap.files.tree import Tree
from dropcap.intake import walk


def remove_twin(tree: Tree, copy: str, name: str) -> str | None:
    """`copy` lies in in_progress/ and has no job: remove what it was copied from, dropped as `name` or moved within failed/, if
    that has the same size, mtime and bytes. Where it lay, None if there is none.

    Raises:
        OSError: it cannot be told, somebody writes to it, or another host may work there.
    """
    there = tree.lstat(copy)
    for source in (name, f"{walk.FAILED}/{name}"):
        try:
            tree.remove_temporaries(names.split(source)[0], recursive=False)  # it may lie aside
            before = tree.lstat(source)
        except (FileNotFoundError, NotADirectoryError):
            continue
        one = stat.S_ISREG(before.st_mode) and (before.st_dev, before.st_ino) != (there.st_dev, there.st_ino)
        if not one or (before.st_size, before.st_mtime_ns) != (there.st_size, there.st_mtime_ns):
            continue
        sha256 = sha256_of(tree, copy)
        if sha256_of(tree, source) != sha256:
            continue
        with tree.parent(source) as (fd, leaf):
            tree.be_ours()  # the bytes of both may have taken long
            remove_original(tree, fd, leaf, before, sha256)
            return source
    return None
