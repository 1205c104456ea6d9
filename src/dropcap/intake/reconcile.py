"""What people did to dropcap's own directories: renamed, moved back, took away.

Files are known again by their inode. Where it is 0, because inodes are not to be relied on, size and mtime tell, if they are not
those of two files.
"""

from __future__ import annotations

import stat as modes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dropcap.files.tree import Tree
from dropcap.intake.settle import Sight
from dropcap.ledger.job import FailedFile, OpenFile, State

#: Jobs in these states can be withdrawn or renamed; in the others delivery itself is sending or moving the file.
_STILL = frozenset({State.WAITING, State.HELD, State.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Reconciled:
    """in_progress/ against the ledger, by relative name."""

    renamed: dict[str, tuple[str, int]]  # new name -> old name and job
    strangers: dict[str, Sight]  # files without a job
    missing: dict[str, int]  # names without a file -> job
    in_hand: frozenset[str] = frozenset()  # files renamed while delivery has them in hand: for the next look


def compare(present: Mapping[str, Sight], jobs: Mapping[str, OpenFile]) -> Reconciled:
    """Match the files that lie in in_progress/ with the open jobs. Pure."""
    strangers = {name: sight for name, sight in present.items() if name not in jobs}
    lost = {name: job for name, job in jobs.items() if name not in present}
    missing = {name: job.job for name, job in lost.items() if job.state in _STILL}
    busy = [job for name, job in lost.items() if name not in missing]
    renamed: dict[str, tuple[str, int]] = {}
    in_hand: set[str] = set()
    for name, old in _matches(strangers, lost).items():
        del strangers[name]
        if old in missing:
            renamed[name] = (old, missing.pop(old))
        else:
            in_hand.add(name)
    in_hand |= {name for name, sight in strangers.items() if any(_alike(sight, job) for job in busy)}
    return Reconciled(renamed, {name: strangers[name] for name in strangers.keys() - in_hand}, missing, frozenset(in_hand))


def _matches(strangers: Mapping[str, Sight], lost: Mapping[str, OpenFile]) -> dict[str, str]:
    """Which stranger is which of the lost files."""
    by_inode = {(job.inode, job.size): name for name, job in lost.items() if job.inode}
    matches = {
        name: by_inode.pop((sight.inode, sight.size))
        for name, sight in strangers.items()
        if (sight.inode, sight.size) in by_inode
    }
    known = set(matches.values())
    new = _by_times({name: sight for name, sight in strangers.items() if name not in matches})
    old = _by_times({name: job for name, job in lost.items() if name not in known})
    for times in new.keys() & old.keys():
        if len(new[times]) == len(old[times]) == 1 and _alike(strangers[new[times][0]], lost[old[times][0]]):
            matches[new[times][0]] = old[times][0]
    return matches


def _alike(sight: Sight, file: OpenFile | FailedFile) -> bool:
    """Whether it may be that file, for all that is to be known where one of them has no inode."""
    return not (sight.inode and file.inode) and (sight.size, sight.mtime_ns) == (file.size, file.mtime_ns)


def _by_times(files: Mapping[str, Sight] | Mapping[str, OpenFile]) -> dict[tuple[int, int], list[str]]:
    found: dict[tuple[int, int], list[str]] = {}
    for name, file in files.items():
        found.setdefault((file.size, file.mtime_ns), []).append(name)
    return found


class FailedFiles:
    """The failed files of a folder, to be known again wherever a person has moved them."""

    def __init__(self, files: Mapping[str, FailedFile]) -> None:
        self._paths = frozenset(path for path, file in files.items() if file.placed)
        self._by_time: dict[tuple[int, int], list[tuple[str, FailedFile]]] = {}
        for path, file in files.items():
            self._by_time.setdefault((file.size, file.mtime_ns), []).append((path, file))

    def __contains__(self, path: str) -> bool:
        return path in self._paths

    def moved_to(self, tree: Tree, sight: Sight) -> tuple[str, FailedFile] | None:
        """The failed file (and where it lay) that is now seen as `sight` somewhere else; None if it is no such file."""
        alike = self._by_time.get((sight.size, sight.mtime_ns), ())
        for path, file in alike:
            if sight.inode and sight.inode == file.inode and not _lies(tree, path, sight):
                return path, file
        gone = [(path, file) for path, file in alike if _alike(sight, file) and not _lies(tree, path, sight)]
        return gone[0] if len(gone) == 1 else None


def _lies(tree: Tree, path: str, sight: Sight) -> bool:
    try:
        return Sight.of(tree.lstat(path), bool(sight.inode)).same_bytes(sight)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # it cannot be told, and nothing is to be concluded from that


def lies_there(tree: Tree, names: Iterable[str]) -> set[str]:
    """Those of `names` under which there is, or may be, a file now."""
    found = set()
    for name in names:
        try:
            if not modes.S_ISREG(tree.lstat(name).st_mode):
                continue  # somebody has put a link or a directory in its place
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # as above
        found.add(name)
    return found
