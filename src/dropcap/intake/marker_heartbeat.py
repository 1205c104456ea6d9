"""The heartbeat in a drop folder's marker: it shows other runs that this one works there, and is read again before each act."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import structlog

from dropcap.files.tree import NotRegular, Tree
from dropcap.hosts.membership import boot_time
from dropcap.intake import owner
from dropcap.intake.owner import EVERY, LASTS, Away, Marker, Run
from dropcap.intake.watch import IntakeThread
from dropcap.threads import start

_log = structlog.get_logger()

#: A beat is written so often, at once, while somebody removes the marker.
_TRIES = 3
#: How soon a beat is tried again that failed, and how often it is asked whether all is over (seconds).
_AGAIN, _OVER_LOOK = 5.0, 1.0


class MarkerHeartbeat:
    """One run in one drop folder, from the folder's opening until nothing is under way in it any more. Safe for threads.

    A thread of its own writes the beat, so that a share that hangs stops nobody else, and a long walk does not look like an end.
    """

    def __init__(
        self,
        tree: Tree,
        marker: Marker,
        run: Run,
        intake: IntakeThread,
        *,
        every: float = EVERY,
        lasts: float = LASTS,
    ) -> None:
        """Beats once; `tree` must be open since `marker` was read in it. `intake` is told that the folder is not ours any more.

        Raises:
            Away, OSError: as `beat`.
        """
        self._tree = tree
        self._marker = marker
        self._run = run
        self._intake = intake
        self._every, self._lasts = every, lasts
        self._sure_until = 0.0
        self._lost: Away | None = None
        self._changed = threading.Condition()
        self._hurry = self._ending = self._says_so = self._once_over = False
        self.beat()
        self._thread = threading.Thread(target=self._go_on, name=f"beat-{marker.folder}", daemon=True)

    def start(self) -> None:
        """Go on beating."""
        start(self._thread)

    # What it is for ---------------------------------------------------------------------------------------------------

    def sure(self) -> bool:
        """Whether the folder is known to be ours at this moment. Touches no file system."""
        return self._lost is None and boot_time() < self._sure_until

    def confirm(self) -> None:
        """Read the marker again, before something is done in the folder.

        Raises:
            Away: the folder is not ours any more.
            OSError: the marker cannot be read, or not written for too long.
        """
        if not self.sure():
            self.beat()
            return
        try:
            with self._losing():
                mine = self._mine(self._read())
            if not mine:
                self.beat()
        except OSError:
            self._sure_until = 0.0  # the next beat decides
            self._soon()
            raise

    def keep(self) -> None:
        """Beat, if the folder is not known to be ours at this moment. Raises as `beat`."""
        if not self.sure():
            self.beat()

    def beat(self) -> None:
        """Write the next beat, in place: it needs no room, and no event tells of it but that the marker was written.

        A marker that somebody has removed is written anew, as long as the path leads to the very directory in which it was read.

        Raises:
            Away: the folder is not ours any more.
            OSError: the marker cannot be written.
        """
        if self._lost is not None:
            raise self._lost
        began = boot_time()
        with self._losing():
            if not any(self._written() for _ in range(_TRIES)):
                raise OSError(errno.EAGAIN, "its marker was replaced while it was written", owner.NAME)
        self._sure_until = began + self._lasts

    # Beneath ----------------------------------------------------------------------------------------------------------

    def _written(self) -> bool:
        """Whether a beat was written where it can be read: the file may have been removed while it was open."""
        marker = replace(self._marker, beat=self._run.beat())
        if not self._write_over(marker):
            self._write_whole(marker)
        return self._mine(self._read())

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except Away as error:
            if self._lost is None:
                self._lost = error
                self._intake.has_answer()
            raise

    def _read(self) -> Marker | None:
        found = owner.read(self._tree)
        if found is not None:
            self._judge(found)
        return found

    def _mine(self, found: Marker | None) -> bool:
        return found is not None and found.beat is not None and found.beat.run == self._run.number

    def _judge(self, found: Marker) -> None:
        owner.name_whose(found, self._marker.installation, self._marker.folder)
        if found.id != self._marker.id:
            raise Away(f"its marker {owner.NAME} was replaced by another one of this installation")
        if not self._run.knows(found.beat):
            raise Away(owner.TWIN)

    def _write_over(self, marker: Marker) -> bool:
        """Write the beat over the one that is there; False if none is, or if we may not."""
        try:
            fd = self._tree.open(owner.NAME, write=True)
        except (FileNotFoundError, PermissionError, NotRegular):
            return False
        try:
            found = owner.read_open(fd)
            self._judge(found)
            place = os.pread(fd, owner.LARGEST, 0).rfind(str(found.beat).encode())
            if found.beat is None or place < 0:
                return False
            os.pwrite(fd, str(marker.beat).encode(), place)
            return True
        finally:
            os.close(fd)

    def restore(self) -> None:
        """Write the marker anew, if it is gone, as `beat` does. Raises Away and OSError."""
        if owner.read(self._tree) is None:
            self._write_whole(self._marker)

    def _write_whole(self, marker: Marker) -> None:
        """The marker is one of an earlier dropcap, or somebody else's file, or gone."""
        if self._read() is None and not (self._tree.stable_inodes and self._tree.still_there()):
            raise Away(
                f"its marker {owner.NAME} is gone, and it cannot be told whether this is still the folder where it was: "
                "mount its share or disk, or, if this is the folder, run `dropcap check --adopt`"
            )
        try:
            owner.put(self._tree, marker, lambda present: present == marker)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OSError(error.errno, f"there is no room for its marker {owner.NAME}", owner.NAME) from None
            raise

    # The thread -------------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        wait = self._every
        told = ""
        while self._waits(wait):
            try:
                self.beat()
            except Away:
                return
            except OSError as error:
                wait = min(_AGAIN, self._every)
                if told != (told := error.strerror or str(error)):
                    message = f"the marker {owner.NAME} cannot be written ({told}): after a minute nothing is taken or sent there"
                    remedy = "let dropcap's user write in the folder; dropcap goes on by itself"
                    _log.warning("check_problem", folder=self._marker.folder, message=message, remedy=remedy)
            else:
                wait, told = self._every, ""
        if self._says_so:
            with contextlib.suppress(OSError, Away):
                self._write_over(replace(self._marker, beat=self._run.over()))

    def _waits(self, seconds: float) -> bool:
        """Wait for the next beat; False if there is to be none."""
        until = boot_time() + seconds
        with self._changed:
            while not self._ending and not self._hurry and (left := until - boot_time()) > 0:
                self._changed.wait(min(left, _OVER_LOOK) if self._once_over else left)
                if self._once_over and self._intake.over():
                    self._ending = self._says_so = True
            self._hurry = False
            return not self._ending

    def _soon(self) -> None:
        with self._changed:
            self._hurry = True
            self._changed.notify()

    @property
    def goes_on(self) -> bool:
        """Whether its thread has not ended."""
        return self._thread.is_alive()

    # The end ----------------------------------------------------------------------------------------------------------

    def end(self, *, say_so: bool = False, within: float = 0.0) -> None:
        """Beat no more; `say_so` in the marker, since nothing is under way any more. Waits for the share so long at most."""
        with self._changed:
            self._ending, self._says_so = True, say_so or self._says_so
            self._changed.notify()
        if within and self._thread.ident is not None:
            self._thread.join(within)

    def end_once_over(self, wanted: bool) -> None:
        """End, and say so, once nothing is under way any more; not by itself, if that is not `wanted`."""
        with self._changed:
            self._once_over = wanted
            self._changed.notify()
