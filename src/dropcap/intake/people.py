"""What people do with files that dropcap has."""

from __future__ import annotations

import contextlib
import math
import stat as modes
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dropcap.display import shown
from dropcap.files import names
from dropcap.files.tree import Tree
from dropcap.filing.why import forget_lone_why, forget_why, lone_texts
from dropcap.intake import arrivals
from dropcap.intake.arrivals import Fingerprint
from dropcap.intake.opened import DropDirectory
from dropcap.ledger.job import FailedFile, OpenFile, State

#: Jobs in these states can be withdrawn or renamed; in the others delivery itself is sending or moving the file.
_STILL = frozenset({State.WAITING, State.HELD, State.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Reconciled:
    """in_progress/ against the ledger, by relative name."""

    renamed: dict[str, tuple[str, int]]  # new name -> old name and job
    strangers: dict[str, Fingerprint]  # files without a job
    missing: dict[str, int]  # names without a file -> job
    in_hand: frozenset[str] = frozenset()  # files renamed while delivery has them in hand: for the next look


def compare(present: Mapping[str, Fingerprint], jobs: Mapping[str, OpenFile]) -> Reconciled:
    """Match the files that lie in in_progress/ with the open jobs. Pure."""
    strangers = {name: fingerprint for name, fingerprint in present.items() if name not in jobs}
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
    in_hand |= {name for name, fingerprint in strangers.items() if any(_alike(fingerprint, job) for job in busy)}
    return Reconciled(renamed, {name: strangers[name] for name in strangers.keys() - in_hand}, missing, frozenset(in_hand))


def _matches(strangers: Mapping[str, Fingerprint], lost: Mapping[str, OpenFile]) -> dict[str, str]:
    """Which stranger is which of the lost files."""
    by_inode = {(job.inode, job.size): name for name, job in lost.items() if job.inode}
    matches = {
        name: by_inode.pop((fingerprint.inode, fingerprint.size))
        for name, fingerprint in strangers.items()
        if (fingerprint.inode, fingerprint.size) in by_inode
    }
    known = set(matches.values())
    new = _by_times({name: fingerprint for name, fingerprint in strangers.items() if name not in matches})
    old = _by_times({name: job for name, job in lost.items() if name not in known})
    for times in new.keys() & old.keys():
        if len(new[times]) == len(old[times]) == 1 and _alike(strangers[new[times][0]], lost[old[times][0]]):
            matches[new[times][0]] = old[times][0]
    return matches


def _alike(fingerprint: Fingerprint, file: OpenFile | FailedFile) -> bool:
    """Whether it may be that file, for all that is to be known where one of them has no inode."""
    return not (fingerprint.inode and file.inode) and (fingerprint.size, fingerprint.mtime_ns) == (file.size, file.mtime_ns)


def _by_times(files: Mapping[str, Fingerprint] | Mapping[str, OpenFile]) -> dict[tuple[int, int], list[str]]:
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

    def moved_to(self, tree: Tree, fingerprint: Fingerprint) -> tuple[str, FailedFile] | None:
        """The failed file (and where it lay) that is now seen as `fingerprint` somewhere else; None if it is no such file."""
        alike = self._by_time.get((fingerprint.size, fingerprint.mtime_ns), ())
        for path, file in alike:
            if fingerprint.inode and fingerprint.inode == file.inode and not _lies(tree, path, fingerprint):
                return path, file
        gone = [(path, file) for path, file in alike if _alike(fingerprint, file) and not _lies(tree, path, fingerprint)]
        return gone[0] if len(gone) == 1 else None


def _lies(tree: Tree, path: str, fingerprint: Fingerprint) -> bool:
    try:
        return Fingerprint.of(tree.lstat(path), bool(fingerprint.inode)).same_bytes(fingerprint)
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


#: A job whose file is missing is withdrawn when it is missing for so long (seconds): delivery may just be filing it.
MISSING_FOR = 2.0
#: A failed file that is nowhere in the folder for so long was taken away by somebody (seconds).
FORGET_AFTER = 30.0
#: Filing itself works in failed/, two files a job: what happens there is looked at together after so long (seconds).
FAILED_LOOK = 1.0


class OwnDirectories:
    """in_progress/ and failed/ of one opened folder, against the ledger. For its thread."""

    def __init__(self, opened: DropDirectory) -> None:
        self._opened = opened
        self._tree = opened.tree
        self._folder = opened.folder.name
        self._context = opened.context
        self._ledger = opened.ledger
        self._pending = opened.pending
        self._log = opened.log
        self._missing: dict[int, float] = {}
        self._gone: dict[int, float] = {}  # failed jobs whose file is not in failed/ any more, and since when
        self._lone: dict[str, float] = {}  # texts whose file is not beside them, and when they go
        self._failed_due = math.inf
        self._missing_due = math.inf

    def hint_missing(self) -> None:
        """A file may be away from in_progress/: look there soon, and once more when it may be withdrawn."""
        self._missing_due = min(self._missing_due, time.monotonic())

    def hint(self) -> None:
        """Something happened in failed/."""
        self._failed_due = min(self._failed_due, time.monotonic() + FAILED_LOOK)

    def look(self, none_in_line: bool) -> None:
        """Look at both. `none_in_line`: `pending` has everything that lies in the drop folder.

        Raises:
            marker.Away, OSError: as `OpenedFolder.walk`.
        """
        self._look_at_in_progress()
        self._look_at_failed(none_in_line)

    def look_if_due(self, none_in_line: bool) -> None:
        """Look at what is due. Raises as `look`."""
        now = time.monotonic()
        if now >= self._failed_due:
            self._look_at_failed(none_in_line)
        if now >= self._missing_due or any(now - since >= MISSING_FOR for since in self._missing.values()):
            self._look_at_in_progress()

    def next(self) -> float:
        """When there is something to do again (monotonic), `math.inf` if there is not."""
        return min(min(self._missing.values(), default=math.inf) + MISSING_FOR, self._failed_due, self._missing_due)

    def _look_at_in_progress(self) -> None:
        # The directory first, the ledger afterwards: what delivery has filed in between is no stranger then. Both can be
        # long, and nearly all of it is as it should be.
        self._missing_due = math.inf
        others, whole = self._names_in(arrivals.IN_PROGRESS)
        lost: dict[str, OpenFile] = {}
        for name, file in self._ledger.query.each_open(self._folder):
            if name in others:
                others.remove(name)
            else:
                lost[name] = file
        present, devices, all_seen = self._fingerprints(arrivals.IN_PROGRESS, others)
        compared = compare(present, lost)
        for name, (old, job) in compared.renamed.items():
            if self._ledger.rename_open(job, name, self._context.address(name)):
                self._log.info("claimed", job=job, file=shown(name), renamed_from=shown(old))
                self._context.claimed([job])
                self._context.place_left()
        for name, fingerprint in compared.strangers.items():
            path = f"{arrivals.IN_PROGRESS}/{name}"
            self._pending.see(path, fingerprint, self._opened.pace(path, devices[name]), hinted=False)
        self._pending.drop_beneath(arrivals.IN_PROGRESS, {f"{arrivals.IN_PROGRESS}/{name}" for name in compared.strangers})
        # Half a listing must not pass for missing files.
        self._withdraw(compared.missing if whole and all_seen else {})

    def _withdraw(self, missing: dict[str, int]) -> None:
        now = time.monotonic()
        self._missing = {job: self._missing.get(job, now) for job in missing.values()}
        late = {name: job for name, job in missing.items() if now - self._missing[job] >= MISSING_FOR}
        back = lies_there(self._tree, [f"{arrivals.IN_PROGRESS}/{name}" for name in late])
        if late:
            self._opened.stay()
        for name, job in late.items():
            if f"{arrivals.IN_PROGRESS}/{name}" in back:
                self._missing[job] = now
                continue
            del self._missing[job]
            if self._ledger.withdraw(job, folder=self._folder):
                self._log.info("withdrawn", job=job, file=shown(name))
                self._context.claimed([job])
                self._context.place_left()

    def _look_at_failed(self, none_in_line: bool) -> None:
        self._failed_due = math.inf
        there, whole = self._names_in(arrivals.FAILED)
        known = self._ledger.query.failed_files(self._folder)
        failed = FailedFiles(known)
        others = [name for name in there if not name.endswith(arrivals.WHY) and f"{arrivals.FAILED}/{name}" not in failed]
        present, devices, all_seen = self._fingerprints(arrivals.FAILED, others)
        found = set()
        for name, fingerprint in present.items():
            path = f"{arrivals.FAILED}/{name}"
            if failed.moved_to(self._tree, fingerprint) is not None:
                found.add(path)
                self._pending.see(path, fingerprint, self._opened.pace(path, devices[name]), hinted=False)
        self._pending.drop_beneath(arrivals.FAILED, found)
        if whole and all_seen and none_in_line:  # one that was moved may be in line
            paths = {f"{arrivals.FAILED}/{name}" for name in there}
            self._forget(known, paths)
            self._forget_lone_texts(known, paths)

    def _forget(self, known: Mapping[str, FailedFile], present: set[str]) -> None:
        """Failed files that somebody took away, and did not just move elsewhere in the folder, are dealt with."""
        if not known and not self._gone:
            return
        now = time.monotonic()
        moved = {fingerprint.inode or (fingerprint.size, fingerprint.mtime_ns) for fingerprint in self._pending.fingerprints()}
        missing = {
            path: file.job
            for path, file in known.items()
            if path not in present and not moved & {file.inode, (file.size, file.mtime_ns)}
        }
        self._gone = {job: self._gone.get(job, now) for job in missing.values()}
        dealt_with = {path: job for path, job in missing.items() if now - self._gone[job] >= FORGET_AFTER}
        if dealt_with:
            # The texts first: once the ledger has forgotten the jobs, nobody would come back for them after a crash.
            for path, job in dealt_with.items():
                with contextlib.suppress(OSError):  # a text that cannot be removed does no harm
                    forget_why(self._tree, path, job)
            self._ledger.forget_failed(list(dealt_with.values()))

    def _forget_lone_texts(self, known: Mapping[str, FailedFile], present: Iterable[str]) -> None:
        """Texts of ours whose file is not beside them, whatever crash or fault left them behind: they tell of nothing."""
        leaves: dict[str, set[str]] = {}
        for directory, leaf in map(names.split, present):
            leaves.setdefault(directory, set()).add(leaf)
        lone = {names.join(directory, leaf) for directory, there in leaves.items() for leaf in lone_texts(there)}
        now = time.monotonic()
        self._lone = {path: self._lone[path] if path in self._lone else now + self._rest_of(path) for path in lone}
        late = [path for path, due in self._lone.items() if due <= now]
        if not late:
            return
        # Those whose file is about to be tried again, and those that filing has in hand, are looked after elsewhere.
        others = {file.job for file in known.values()} | {file.job for _, file in self._ledger.query.each_open(self._folder)}
        for path in late:
            self._lone[path] = now + FORGET_AFTER
            with contextlib.suppress(OSError):
                forget_lone_why(self._tree, path, others)

    def _rest_of(self, text: str) -> float:
        """Seconds until a text is as old as a lone one must be: its file may just be being moved."""
        try:
            age = time.time() - self._tree.lstat(text).st_mtime
        except OSError:
            return FORGET_AFTER
        return 0.0 if age >= FORGET_AFTER else FORGET_AFTER

    def _names_in(self, own: str) -> tuple[set[str], bool]:
        """The names of the files in one of the directories, without it; and whether those are all."""
        found, whole = set[str](), True
        for entry in self._opened.kept(own):
            if entry.error is not None:
                self._opened.trouble(entry.name, entry.error)
                whole = False
            elif entry.kind == "file":
                found.add(entry.name.partition("/")[2])
        return found, whole

    def _fingerprints(self, own: str, leaves: Iterable[str]) -> tuple[dict[str, Fingerprint], dict[str, int], bool]:
        """The files of these names in one of dropcap's directories, the devices they lie on, and whether all could be seen."""
        present: dict[str, Fingerprint] = {}
        devices: dict[str, int] = {}
        whole = True
        for name in leaves:
            try:
                status = self._tree.lstat(f"{own}/{name}")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self._opened.trouble(f"{own}/{name}", error)
                whole = False
                continue
            if modes.S_ISREG(status.st_mode):
                present[name], devices[name] = self._opened.fingerprint(status), status.st_dev
        return present, devices, whole
