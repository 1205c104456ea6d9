"""What people did to dropcap's own directories: renamed, moved back, took away. Files are known again by their inode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dropcap.files.tree import Tree
from dropcap.intake.settle import Sight
from dropcap.ledger.model import FailedFile, OpenFile, State

#: Jobs in these states can be withdrawn or renamed; in the others delivery itself is sending or moving the file.
_STILL = frozenset({State.WAITING, State.HELD, State.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Compared:
    """in_progress/ against the ledger, by relative name."""

    renamed: dict[str, tuple[str, int]]  # new name -> old name and job
    strangers: dict[str, Sight]  # files without a job
    missing: dict[str, int]  # names without a file -> job
    in_hand: frozenset[str] = frozenset()  # files renamed while delivery has them in hand: for the next look


def compare(present: Mapping[str, Sight], jobs: Mapping[str, OpenFile]) -> Compared:
    """Match the files that lie in in_progress/ with the open jobs. Pure."""
    strangers = {name: sight for name, sight in present.items() if name not in jobs}
    missing = {name: job for name, job in jobs.items() if name not in present and job.state in _STILL}
    lost = {(job.inode, job.size): (name, job.job) for name, job in jobs.items() if name not in present}
    renamed: dict[str, tuple[str, int]] = {}
    for name, sight in strangers.items():
        match = lost.pop((sight.inode, sight.size), None)
        if match is not None:
            renamed[name] = match
    in_hand = frozenset(name for name, (old, _) in renamed.items() if old not in missing)
    for name in in_hand:
        del strangers[name], renamed[name]
    for name, (old, _) in renamed.items():
        del strangers[name], missing[old]
    return Compared(renamed, strangers, {name: job.job for name, job in missing.items()}, in_hand)


class FailedFiles:
    """The failed files of a folder, to be known again wherever a person has moved them."""

    def __init__(self, files: Mapping[str, FailedFile]) -> None:
        self._paths = frozenset(files)
        self._by_inode: dict[tuple[int, int, int], list[tuple[str, FailedFile]]] = {}
        for path, file in files.items():
            self._by_inode.setdefault((file.inode, file.size, file.mtime_ns), []).append((path, file))

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    def moved_to(self, tree: Tree, sight: Sight) -> tuple[str, FailedFile] | None:
        """The failed file (and where it lay) that is now seen as `sight` somewhere else; None if it is no such file."""
        for path, file in self._by_inode.get((sight.inode, sight.size, sight.mtime_ns), ()):
            if not _lies(tree, path, sight.inode):
                return path, file
        return None


def _lies(tree: Tree, path: str, inode: int) -> bool:
    try:
        return tree.lstat(path).st_ino == inode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # it cannot be told, and nothing is to be concluded from that


def lies_there(tree: Tree, names: Iterable[str]) -> set[str]:
    """Those of `names` under which there is, or may be, anything now."""
    found = set()
    for name in names:
        try:
            tree.lstat(name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # as above
        found.add(name)
    return found
