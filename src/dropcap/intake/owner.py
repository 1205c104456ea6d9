"""The owner marker `.dropcap`: which installation works in a drop folder, and whether this is the folder it was."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from dropcap.display import shown
from dropcap.files.tree import NotRegular, Tree
from dropcap.intake.entries import IntakeLedger, KnownFolders
from dropcap.intake.mounts import Mount

NAME = ".dropcap"
_VERSION = 1
_LARGEST = 4096
_NO_MARKER = (ValueError, KeyError, TypeError, RecursionError)
_ADOPT = "if this installation is to work here, run `dropcap check --adopt`"


#: What a state_dir has as its marker.
STATE = b'{"about": "dropcap keeps its ledger here: this is no folder to drop files into.", "state_dir": true}\n'


class Away(Exception):  # noqa: N818  a state of the folder more than an error
    """The folder is not to be touched for now; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What `.dropcap` says.

    `since_ns` is when the folder was first watched, by the clock of its own file system (nanoseconds since 1970):
    `first_start: leave` goes by it.
    """

    installation: str
    folder: str
    id: str
    since_ns: int = 0
    dropcap: int = _VERSION

    def to_bytes(self) -> bytes:
        about = {"about": "dropcap works in this folder; please leave this file where it is."}
        return json.dumps({**about, **asdict(self)}, indent=1).encode() + b"\n"


def own(tree: Tree, folder: str, path: str, mount: Mount, ledger: IntakeLedger) -> Marker:
    """The folder's marker, if it is ours to work in; made if the folder is new.

    Raises:
        Away: it is not.
        OSError: the folder cannot be read or written.
    """
    marker = examine(tree, folder, path, mount, ledger)
    if marker is None:
        return _make(tree, folder, path, mount, ledger)
    known = ledger.known_folder(folder)
    if known is None or known.path != path:
        ledger.remember_folder(folder, path, marker.id, str(mount))
    return marker


def examine(tree: Tree, folder: str, path: str, mount: Mount, ledger: KnownFolders) -> Marker | None:
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
        return None
    if marker.installation != ledger.installation:
        raise Away(
            f"its marker {NAME} names another installation of dropcap: two must not work in one folder; "
            f"end the other one, then, {_ADOPT}"
        )
    if marker.folder != folder:
        raise Away(
            f"its marker {NAME} says that it is the folder {shown(marker.folder)!r}: "
            f"two folders must not share one path; if it was renamed, {_ADOPT}"
        )
    if known is not None and known.marker != marker.id:
        raise Away(
            f"its marker {NAME} is not the one that dropcap left here: perhaps a copy or a backup is mounted "
            f"in its place (it was on {known.mount}; now {mount}); mount the right one, or {_ADOPT}"
        )
    return marker


def adopt(tree: Tree, folder: str, path: str, mount: Mount, ledger: IntakeLedger) -> Marker:
    """Make the folder ours, whichever installation or folder its marker named.

    Raises:
        Away: something lies there as `.dropcap` that dropcap did not write; it is left alone.
        OSError: the folder cannot be written.
    """
    read(tree)
    return _make(tree, folder, path, mount, ledger)


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
        raise Away(f"{NAME} in it is not a plain file, and dropcap did not make it: remove it") from None
    try:
        data = os.read(fd, _LARGEST + 1)
    finally:
        os.close(fd)
    if data == STATE:
        raise Away("it is where a dropcap keeps its ledger: name another folder as its `path`")
    try:
        return _parse(data)
    except _NO_MARKER:
        raise Away(
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
    values: Any = json.loads(data[:_LARGEST])
    if len(data) > _LARGEST or values["dropcap"] != _VERSION:
        raise ValueError
    marker = Marker(values["installation"], values["folder"], values["id"], values["since_ns"])
    texts = (marker.installation, marker.folder, marker.id)
    if not all(isinstance(text, str) and text for text in texts) or type(marker.since_ns) is not int:
        raise TypeError
    return marker


def _make(tree: Tree, folder: str, path: str, mount: Mount, ledger: IntakeLedger) -> Marker:
    # The file system's own clock is read off a file that it has just made; ours may differ from a server's.
    with tree.stage() as probe:
        probe.seal()
    marker = Marker(ledger.installation, folder, uuid.uuid4().hex, probe.status.st_ctime_ns)
    try:
        tree.write_over(NAME, marker.to_bytes(), _is_marker)
    except FileExistsError:
        raise Away(f"{NAME} in it was just put there by somebody else: look at it, or remove it") from None
    # The marker first: should the end come in between, it is ours by the installation's id.
    ledger.remember_folder(folder, path, marker.id, str(mount))
    return marker


def _is_marker(content: bytes) -> bool:
    try:
        _parse(content)
    except _NO_MARKER:
        return False
    return True
