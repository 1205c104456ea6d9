"""What lies in a drop folder: the truth that events only hint at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterator

from dropcap.config.model import Folder
from dropcap.files.tree import Entry, Tree
from dropcap.routing.route import ignored

IN_PROGRESS = "in_progress"
FAILED = "failed"
#: dropcap's own directories at the top of a drop folder. done/ can hold a million files and is never walked here.
OWN = frozenset({IN_PROGRESS, "done", FAILED, "preserved"})
WHY = ".why.txt"

#: Called with each directory and its descriptor before it is listed, so that nothing slips in between unseen;
#: says whether to list it at all.
OnDirectory = Callable[[str, int], bool]


def top(name: str) -> str:
    """The first part of a relative name."""
    return name.partition("/")[0]


def is_dropped(name: str, folder: Folder) -> bool:
    """Whether a file or directory of this name is neither dropcap's own nor ignored."""
    return top(name) not in OWN and ignored(name, folder.ignore) is None


def dropped(
    tree: Tree, folder: Folder, on_directory: OnDirectory, start: str = "", known: Container[str] = ()
) -> Iterator[Entry]:
    """Everything in the drop folder, or beneath its subfolder `start`, that is not dropcap's own or ignored.

    The names in `known` are none of those, so that a folder of many files is walked in half the time.

    Raises:
        OSError: the folder (or `start`) cannot be listed; of a subfolder beneath, its entry says so.
    """

    def enter(name: str) -> bool:
        return folder.subfolders and is_dropped(name, folder) and _announce(tree, name, on_directory)

    if not start or enter(start):
        if not start:
            _announce(tree, start, on_directory)
        for entry in tree.scan(start, enter=enter):
            if entry.name in known or is_dropped(entry.name, folder):
                yield entry


def kept(tree: Tree, own: str, on_directory: OnDirectory | None = None) -> Iterator[Entry]:
    """Everything in one of dropcap's own directories, nothing if it is not there."""

    def enter(name: str) -> bool:
        return on_directory is None or _announce(tree, name, on_directory)

    with contextlib.suppress(FileNotFoundError):
        enter(own)
        for entry in tree.scan(own, enter=enter):
            if ignored(entry.name.partition("/")[2], ()) is None:
                yield entry


def _announce(tree: Tree, name: str, on_directory: OnDirectory) -> bool:
    try:
        with tree.directory(name) as fd:
            return on_directory(name, fd)
    except OSError:
        return True  # listing it meets the same and says so
