"""Where one folder's copies of what REDCap held are kept: a directory that nobody but dropcap may look into."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dropcap.display import shown
from dropcap.files.hand import Hand
from dropcap.files.private import PrivateTree, keeps_modes, make_private, open_to_others
from dropcap.files.remove import put_all_back
from dropcap.filing.copies import Index
from dropcap.reasons import Reason
from dropcap.threads import NoThread

T = TypeVar("T")

#: Bytes that stay free for the ledger, where copies lie on its file system.
FOR_THE_LEDGER = 1024**3
#: Seconds that one act in the place may take. Less than those after which a drop folder is taken to hang.
_PATIENCE = 20.0
#: Bytes a second that the slowest place is granted.
_SLOWEST = 2 * 1024**2
#: Seconds for which the start of a folder waits for the place.
_AT_START = 5.0
#: Seconds for which it is taken to be as private as it was.
_LOOKED = 1.0
#: Seconds for which a job is taken to need the copy that it needed. REDCap can hold another file by then, or none.
_BELIEVED = 600.0


class NoCopy(Exception):  # noqa: N818 - a state of the place more than an error
    """A copy cannot be kept now: what needs one waits. `reason` is `no_space` or `no_copy`."""

    def __init__(self, reason: Reason, message: str, remedy: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy


class _NotPrivate(Exception):  # noqa: N818
    """Others could get at copies there; the message says how."""


class Keep:
    """The place of one folder's copies. Safe to use from several threads; what hangs in it is waited for only so long.

    `path` lies in a directory that is there, or that is made if `make_above`. `exposed` looks who else could get at `path`,
    and says how (OSError: it cannot be looked at).
    """

    def __init__(
        self, path: Path, min_free: int, state_dir: Path, exposed: Callable[[], str | None], *, make_above: bool = False
    ) -> None:
        self.path = path
        self._min_free = min_free
        self._state_dir = state_dir
        self._exposed = exposed
        self._make_above = make_above
        self._hand = Hand(f"copies {path.name}")
        self._tree: PrivateTree | None = None
        self._index: Index | None = None
        self._looked = -_LOOKED
        self._short: dict[int, tuple[int, float]] = {}  # jobs that no copy could be kept for: the bytes that it had, and when
        self._lock = threading.Lock()

    def exposure(self) -> str | None:
        """Who could get at the copies, and what to do, for the start of the folder; None if nobody can, or if that cannot be
        found out now: then what needs a copy waits."""
        try:
            self._hand.do(self._open, _AT_START)
        except _NotPrivate as error:
            return f"copies of what REDCap held would not be safe in {shown(str(self.path))}: {error}; {_PRIVATE}"
        except OSError:
            pass
        return None

    def clean(self) -> None:
        """Remove what a crash left half written, if the place is to be had."""
        with contextlib.suppress(OSError, _NotPrivate):
            self._hand.do(self._clean, _PATIENCE)

    def let_go(self) -> None:
        """Another one works in this place from now on: the directory is closed. Waits for nothing."""
        self.later(self._close)

    def expect(self, job: int) -> None:
        """Whether a copy for `job`, that could not be kept before, could be now. Raises NoCopy if not."""
        with self._lock:
            size, when = self._short.get(job, (0, -_BELIEVED))
        if time.monotonic() - when < _BELIEVED:
            self.do(lambda tree, _: self.room(tree, size))

    def failed(self, job: int, size: int | None) -> None:
        """A copy of so many bytes could not be kept for `job`; or it could be (None)."""
        with self._lock:
            if size is None:
                self._short.pop(job, None)
            else:
                self._short[job] = (size, time.monotonic())

    def do(self, act: Callable[[PrivateTree, Index], T], size: int = 0) -> T:
        """What `act`, which reads or writes so many bytes, makes of the place. Raises NoCopy in place of OSError."""
        try:
            return self._hand.do(lambda: act(self._open(), self._known()), _PATIENCE + size / _SLOWEST)
        except (OSError, _NotPrivate) as error:
            raise self._in_words(error) from error

    def later(self, act: Callable[[], object]) -> None:
        """Tidy up, after whatever is being done in the place; not at all if there is no thread for it."""
        with contextlib.suppress(NoThread):
            self._hand.begin(act, _PATIENCE)

    def room(self, tree: PrivateTree, size: int) -> None:
        """Make sure that `size` more bytes leave free what is to stay free. Raises OSError (ENOSPC)."""
        for_ledger = os.fstat(tree.fd).st_dev == self._state_dir.stat().st_dev
        stays = max(self._min_free, FOR_THE_LEDGER if for_ledger else 0)
        free = tree.free_bytes()
        if free - size < stays:
            whose = "for the ledger" if stays > self._min_free else "by min_free"
            raise OSError(errno.ENOSPC, f"{_mib(free)} MiB are free there, and {_mib(stays)} MiB stay free {whose}")

    def _in_words(self, error: OSError | _NotPrivate) -> NoCopy:
        """What a person is told of an error in the place."""
        path = shown(str(self.path))
        if isinstance(error, _NotPrivate):
            # The message stands on the status page, which need not tell those who drop how they could get at copies.
            message = "a copy of what REDCap holds would not be safe from others"
            return NoCopy(Reason.NO_COPY, message, f"{path}: {error}; {_PRIVATE}")
        said = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"no room for a copy of what REDCap holds ({said})"
            return NoCopy(Reason.NO_SPACE, message, f"make room in {path}; dropcap goes on by itself")
        if isinstance(error, TimeoutError) and not error.errno:
            said = "its disk or share does not answer"
        return NoCopy(
            Reason.NO_COPY, f"no copy of what REDCap holds can be kept ({said})", f"check {path}; dropcap goes on by itself"
        )

    # -- by the hand's thread alone

    def _clean(self) -> None:
        if self.path.is_dir():
            self._open().remove_temporaries(recursive=False)

    def _close(self) -> None:
        self._tree = self._index = None

    def _known(self) -> Index:
        if self._index is None:
            tree = self._open()
            put_all_back(tree)  # what a crash came between
            self._index = Index(tree)
        return self._index

    def _open(self) -> PrivateTree:
        """The place, made if it is not there, and looked at anew each time: what protects it can change."""
        if time.monotonic() - self._looked > _LOOKED:
            if (why := self._exposed()) is not None:
                raise _NotPrivate(why)
            self._looked = time.monotonic()
        if self._tree is not None and not self._tree.still_there():
            self._tree = self._index = None  # closed with the last copy that still uses it
        if self._tree is None:
            for directory in (self.path.parent, self.path) if self._make_above else (self.path,):
                if not directory.is_dir():
                    make_private(directory, self._state_dir.stat())
            tree = PrivateTree(self.path)
            if not keeps_modes(tree.fd):
                raise _NotPrivate("its file system keeps no modes, so everybody may read there")
            self._tree = tree
        # Of what was opened, not of its name: somebody may have put it there a moment ago.
        status = os.fstat(self._tree.fd)
        if open_to_others(status) or (os.geteuid() != 0 and status.st_uid != os.geteuid()):
            raise _NotPrivate("it is not dropcap's own, or others may read it")
        return self._tree


_PRIVATE = "put it right as `dropcap check` says, or name another place with preserve_in"


def _mib(size: int) -> str:
    return f"{size / 1024**2:,.0f}"
