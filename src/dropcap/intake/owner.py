"""The marker that names a folder's installation, and its heartbeat."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dropcap.display import shown
from dropcap.files.tree import NotRegular, Tree
from dropcap.filing import page
from dropcap.hosts.membership import boot_time
from dropcap.intake import arrivals
from dropcap.intake.mounts import Mount
from dropcap.ledger.job import KnownFolder, OpenFile
from dropcap.ledger.query import Query
from dropcap.ledger.store import Ledger

#: How often the marker is written (seconds), and how long a run may work in the folder by what it wrote last. Whoever could not
#: write for so long takes and sends nothing there.
EVERY, LASTS = 30.0, 60.0
#: A marker that has not moved for so long is nobody's (seconds): longer than `LASTS`, for shares that show changes late.
LEFT_AFTER = 90.0

_BEAT = re.compile(r"([0-9a-f]{16})([0-9a-f]{16}) ([0-9a-f]{16})")
_OVER = "0" * 16


@dataclass(frozen=True, slots=True)
class MarkerBeat:
    """One beat, always 49 characters long.

    `home` stands for a `state_dir` on a machine since its start, `run` for one run of dropcap; `tick` is another one each time.
    """

    home: str
    run: str
    tick: str

    def __str__(self) -> str:
        return f"{self.home}{self.run} {self.tick}"

    @property
    def over(self) -> bool:
        """Whether the run has ended and said so."""
        return self.tick == _OVER

    @classmethod
    def parse(cls, value: object) -> MarkerBeat | None:
        """What `str` made of a beat; None for anything else."""
        match = _BEAT.fullmatch(value) if isinstance(value, str) else None
        return cls(*match.groups()) if match else None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of dropcap, from its start to its end."""

    home: str
    number: str

    @classmethod
    def of(cls, state_dir: Path) -> Run:
        """A new run with that `state_dir`, which must be there.

        Two runs of one home are never alive at once, since the lock of `state_dir` keeps them apart. A copy of `state_dir`, also
        on a copy of the machine, is another home; so is the same one after the machine has started anew. Raises OSError.
        """
        status = os.stat(state_dir)
        boot = b""
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        home = hashlib.sha256(boot + b"%d %d" % (status.st_dev, status.st_ino)).hexdigest()[:16]
        return cls(home, secrets.token_hex(8))

    @classmethod
    def of_installation(cls, installation: str) -> Run:
        """A new run of one of several hosts that share a ledger: they are one home, and the ledger says which of them works in a
        folder."""
        return cls(hashlib.sha256(b"shared " + installation.encode()).hexdigest()[:16], secrets.token_hex(8))

    def beat(self) -> MarkerBeat:
        """The next beat."""
        return MarkerBeat(self.home, self.number, secrets.token_hex(8))

    def over(self) -> MarkerBeat:
        """What it leaves behind when it ends."""
        return MarkerBeat(self.home, self.number, _OVER)

    def knows(self, beat: MarkerBeat | None) -> bool:
        """Whether nobody else can be alive who left this: a run of the same home, or one that said that it ended."""
        return beat is None or beat.over or beat.home == self.home


class StalenessCheck:
    """Finds out by its own clock whether a folder's marker has gone stale. For one thread."""

    def __init__(self, lasts: float = LEFT_AFTER) -> None:
        self._lasts = lasts
        self._sign: bytes | None = None
        self._since = 0.0
        self.moved = False
        self.another = False  # the folder's marker named another installation, when it was there last

    def look(self, sign: bytes) -> float:
        """Take in what is there now, read anew; for how many seconds more it must not move to be nobody's, 0 if it is."""
        now = boot_time()
        if sign != self._sign:
            self.moved = self._sign is not None
            self._sign, self._since = sign, now
        return max(0.0, self._since + self._lasts - now)

    def forget(self) -> None:
        """The folder is ours: what was seen before tells nothing any more."""
        self._sign, self.moved, self.another = None, False, False


NAME = ".dropcap"
_VERSION = 1
LARGEST = 4096
_NO_MARKER = (ValueError, KeyError, TypeError, RecursionError)
#: What is said of a folder that a copy of this very installation works in.
TWIN = (
    f"another run of this very installation keeps its marker {NAME}: this machine, or its state_dir, has a copy that is alive; "
    "end dropcap on one of them, and give that one an empty state_dir before it starts again"
)
_ADOPT = "if this installation is to work here, run `dropcap check --adopt`"


#: What a state_dir has as its marker.
STATE = b'{"about": "dropcap keeps its ledger here: this is no folder to drop files into.", "state_dir": true}\n'


class Away(Exception):  # noqa: N818  a state of the folder more than an error
    """The folder is not to be touched for now; the message says why and what to do."""


class NoMarker(Away):
    """Something that is no marker has its name."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What `.dropcap` says.

    `since_ns` is when the folder was first watched, by the clock of its own file system (nanoseconds since 1970):
    `first_start: leave` goes by it. `beat` is the last sign of life, which a marker of an earlier dropcap has not; markers that
    differ in nothing else are equal.
    """

    installation: str
    folder: str
    id: str
    since_ns: int = 0
    beat: MarkerBeat | None = field(default=None, compare=False)

    def to_bytes(self) -> bytes:
        """The file's content. The beat comes last, and is written over in place."""
        values: dict[str, object] = {
            "about": "dropcap works in this folder; please leave this file where it is.",
            "installation": self.installation,
            "folder": self.folder,
            "id": self.id,
            "since_ns": self.since_ns,
            "dropcap": _VERSION,
        }
        if self.beat is not None:
            values["beat"] = str(self.beat)
        return json.dumps(values, indent=1).encode() + b"\n"


class KnownFolders:
    """What the ledger remembers of folders; nothing if there is no ledger yet."""

    def __init__(self, query: Query | None, installation: str | None = None) -> None:
        self._query = query
        self.installation = installation or (query.meta("installation") if query else None) or ""

    def open_files(self, folder: str) -> Mapping[str, OpenFile]:
        """The files that should lie in in_progress/."""
        return self._query.open_files(folder) if self._query else {}

    def known_folder(self, folder: str) -> KnownFolder | None:
        """How the folder was seen before, if it was."""
        return self._query.known_folder(folder) if self._query else None

    def left_marks(self, folder: str) -> str | None:
        """Which files were left that lay there at first."""
        return self._query.left_marks(folder) if self._query else None


#: Says of a marker that is there whether it may be replaced.
Over = Callable[[Marker], bool]


def _any(present: Marker) -> bool:
    return True


def own(tree: Tree, folder: str, path: str, mount: Mount, ledger: Ledger, run: Run, staleness: StalenessCheck) -> Marker:
    """The folder's marker, if it is ours to work in; made if the folder is new. `staleness` is the same at each look at the
    folder.

    Raises:
        Away: it is not.
        OSError: the folder cannot be read or written.
    """
    marker = examine(tree, folder, path, mount, KnownFolders(ledger.query, ledger.installation), staleness)
    if marker is None:
        _watch_page(tree, staleness)
        return _make(tree, folder, path, mount, ledger, run.beat(), over=lambda present: False)  # it has none: else look again
    if not run.knows(marker.beat):
        _watch_twin(tree, staleness)
        there, marker = marker, replace(marker, beat=run.beat())
        put(tree, marker, lambda present: present == there and present.beat == there.beat)
    staleness.forget()
    known = ledger.query.known_folder(folder)
    if known is None or known.path != path:
        ledger.remember_folder(folder, path, marker.id, str(mount))
    return marker


def _watch_twin(tree: Tree, staleness: StalenessCheck) -> None:
    """The marker is ours, but another home has kept it last: this machine before it started anew, or a copy of it that is alive.

    Raises:
        Away: it moves, or was not watched for long enough.
        OSError: it cannot be read.
    """
    left = staleness.look(sign_of_life(tree))
    if left > 0 and staleness.moved:
        raise Away(TWIN)
    if left > 0:
        raise Away(
            f"its marker {NAME} was kept last before this machine was started, or by a copy of it: whether a copy is alive is "
            "told by watching it for a minute and a half; nothing needs to be done"
        )


def _watch_page(tree: Tree, staleness: StalenessCheck) -> None:
    """There is no marker; but somebody may just have removed that of a dropcap which is alive, and renews its page.

    Raises:
        Away: the page is too young, and was not watched for long enough.
        OSError: the folder cannot be read or written.
    """
    if _page_is_young(tree) and staleness.look(sign_of_life(tree)) > 0:
        raise Away(
            f"it has no marker {NAME}, but another dropcap has just written {page.NAME} in it: whether that one is alive is told "
            "by watching it for a minute and a half; nothing needs to be done, if it is not"
        )


def left_alone(tree: Tree) -> bool:
    """Whether surely nobody works in a folder that has no marker. Who removed that of a dropcap that is alive may have removed
    its page too, but not all that it made.

    Raises OSError.
    """
    young = _page_is_young(tree)
    return not young if young is not None else not any(tree.exists(name) for name in arrivals.OWN)


def _page_is_young(tree: Tree) -> bool | None:
    """Whether a dropcap that is alive may have written the page; None if there is none of dropcap's. Raises OSError."""
    try:
        fd = tree.open(page.NAME)
    except OSError:
        return None
    try:
        ours, written_ns = page.is_ours(os.read(fd, LARGEST)), os.fstat(fd).st_mtime_ns
    finally:
        os.close(fd)
    return _now_ns(tree) - written_ns < LEFT_AFTER * 1e9 if ours else None


def examine(
    tree: Tree, folder: str, path: str, mount: Mount, ledger: KnownFolders, staleness: StalenessCheck | None = None
) -> Marker | None:
    """The folder's marker, if it is ours to work in; None if the folder is new and shall get one. Changes nothing.

    Raises:
        Away: it is not ours.
        OSError: it cannot be read.
    """
    marker = read(tree)
    known = ledger.known_folder(folder)
    if marker is None:
        if known is not None and known.path == path:
            raise Away(
                f"its marker {NAME} is gone, though dropcap has worked here before (on {known.mount}; now {mount}): "
                f"probably its share or disk is not mounted; mount it, or {_ADOPT}"
            )
        if known is not None and (number := len(ledger.open_files(folder))):
            raise Away(
                f"{number} of its files are still on their way in {shown(known.path)}, where it was before: "
                f"move what lies there (with {NAME}) to the new place, or {_ADOPT}"
            )
        if staleness is not None and staleness.another:
            raise Away(
                f"its marker {NAME}, which named another installation of dropcap, has just gone: that one may be alive; "
                f"end it; then, {_ADOPT}"
            )
        return None
    if staleness is not None:
        staleness.another = marker.installation != ledger.installation
    name_whose(marker, ledger.installation, folder)
    if known is not None and known.marker != marker.id:
        raise Away(
            f"its marker {NAME} is not the one that dropcap left here: perhaps a copy or a backup is mounted "
            f"in its place (it was on {known.mount}; now {mount}); mount the right one, or {_ADOPT}"
        )
    return marker


def name_whose(marker: Marker, installation: str, folder: str) -> None:
    """Raise Away if a marker names another installation or folder than these."""
    if marker.installation != installation:
        raise Away(
            f"its marker {NAME} names another installation of dropcap: two must not work in one folder; "
            f"end the other one; then, {_ADOPT}"
        )
    if marker.folder != folder:
        raise Away(
            f"its marker {NAME} says that it is the folder {shown(marker.folder)!r}: "
            f"two folders must not share one path; if this one was only renamed in the configuration, run `dropcap check --adopt`"
        )


def adopt(tree: Tree, folder: str, path: str, mount: Mount, ledger: Ledger, run: Run) -> Marker:
    """Make the folder ours, whichever installation or folder its marker named; whoever may be alive there was watched before.

    Raises:
        Away: something lies there as `.dropcap` that dropcap did not write; it is left alone.
        OSError: the folder cannot be written.
    """
    read(tree)
    return _make(tree, folder, path, mount, ledger, run.over())


def sign_of_life(tree: Tree) -> bytes:
    """What changes as long as somebody works in the folder, read anew: the marker, and the page that earlier versions write too.

    Raises OSError.
    """
    written = b""
    with contextlib.suppress(FileNotFoundError):
        status = tree.lstat(page.NAME)
        written = b"%d %d" % (status.st_size, status.st_mtime_ns)
    try:
        fd = tree.open(NAME)
    except (FileNotFoundError, NotRegular):
        return written
    try:
        return os.read(fd, LARGEST) + written
    finally:
        os.close(fd)


def written_since(tree: Tree) -> bool:
    """Whether the page was written after the marker: by an earlier version, say, which beats not. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        return tree.lstat(page.NAME).st_mtime_ns > tree.lstat(NAME).st_mtime_ns
    return False


def read(tree: Tree) -> Marker | None:
    """The folder's marker, None if there is none.

    Raises:
        Away: what lies there is no marker.
        OSError: it cannot be read.
    """
    try:
        fd = tree.open(NAME)
    except FileNotFoundError:
        return None
    except NotRegular:
        raise NoMarker(f"{NAME} in it is not a plain file, and dropcap did not make it: remove it") from None
    try:
        return read_open(fd)
    finally:
        os.close(fd)


def read_open(fd: int) -> Marker:
    """The marker that is open as `fd`. Raises as `read`."""
    data = os.pread(fd, LARGEST + 1, 0)
    if data == STATE:
        raise Away("it is where a dropcap keeps its ledger: name another folder as its `path`")
    try:
        return _parse(data)
    except _NO_MARKER:
        raise NoMarker(
            f"{NAME} in it is not a marker that dropcap can read: remove it if it is not needed, "
            "or install the newer dropcap that wrote it"
        ) from None


def lies_in(directory: int) -> bool:
    """Whether the directory open as `directory` has a marker, whosever: it is a drop folder itself, or a state_dir."""
    try:
        os.stat(NAME, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def lies_above(tree: Tree, name: str) -> bool:
    """The same of any of the directories between the drop folder and `name`."""
    above = [name[:end] for end, letter in enumerate(name) if letter == "/"]
    with contextlib.suppress(OSError):
        return any(tree.exists(f"{directory}/{NAME}") for directory in above)
    return False


def _parse(data: bytes) -> Marker:
    values: Any = json.loads(data[:LARGEST])
    if len(data) > LARGEST or values["dropcap"] != _VERSION:
        raise ValueError
    beat = MarkerBeat.parse(values.get("beat"))
    marker = Marker(values["installation"], values["folder"], values["id"], values["since_ns"], beat)
    texts = (marker.installation, marker.folder, marker.id)
    if not all(isinstance(text, str) and text for text in texts) or type(marker.since_ns) is not int:
        raise TypeError
    return marker


def _make(tree: Tree, folder: str, path: str, mount: Mount, ledger: Ledger, beat: MarkerBeat, over: Over = _any) -> Marker:
    marker = Marker(ledger.installation, folder, uuid.uuid4().hex, _now_ns(tree), beat)
    put(tree, marker, over)
    # The marker first: should the end come in between, it is ours by the installation's id.
    ledger.remember_folder(folder, path, marker.id, str(mount))
    return marker


def _now_ns(tree: Tree) -> int:
    """The time by the file system's own clock, read off a file that it has just made: ours may differ from a server's."""
    with tree.stage() as probe:
        probe.seal()
    return probe.status.st_ctime_ns


def put(tree: Tree, marker: Marker, over: Over = _any) -> None:
    """Write a marker whole; in the place of one that is there, if `over` says so of that one.

    Raises:
        Away: what is there may not be replaced.
        OSError: the folder cannot be written.
    """

    def replaceable(content: bytes) -> bool:
        try:
            return over(_parse(content))
        except _NO_MARKER:
            return False

    try:
        tree.write_over(NAME, marker.to_bytes(), replaceable)
    except FileExistsError:
        raise Away(f"{NAME} in it was just put there by somebody else: look at it, or remove it") from None
