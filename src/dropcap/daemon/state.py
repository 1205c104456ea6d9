"""The state directory: its lock, its installation; and what systemd is told."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from dropcap import __version__
from dropcap.display import shown
from dropcap.intake import owner
from dropcap.ledger.backup import backup, version_of
from dropcap.ledger.database import VERSION, Damaged, DatabaseError, LedgerError
from dropcap.ledger.store import Ledger


def notify(*lines: str) -> bool:
    """Send lines like `READY=1` to systemd; False if nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "/@":
        return False
    if address[0] == "@":  # an abstract socket
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto("\n".join(lines).encode(), address)
        return True
    return False


def status(text: str) -> bool:
    """Say in one line what `systemctl status` is to show."""
    return notify("STATUS=" + shown(text))


def reloading() -> bool:
    """Say that a reload has begun (Type=notify-reload asks for the time as well)."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear that the daemon is alive (half of its limit), None if it does not."""
    with contextlib.suppress(ValueError):
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
        meant_for = os.environ.get("WATCHDOG_PID", "")
        if microseconds > 0 and meant_for in ("", str(os.getpid())):
            return microseconds / 2e6
    return None


log = structlog.get_logger()

LEDGER = "ledger.db"
#: The installation's id, kept beside the ledger too: folders know it, and a new ledger after a damaged one takes it up.
INSTALLATION = "installation"
SUSPECT = "ledger.suspect"
#: There while a dropcap writes the ledger: where one begins and finds it, the last has ended without a word.
IN_USE = "ledger.in-use"
#: With less on its disk (bytes) a ledger may not even be opened.
_FULL = 1024 * 1024
#: Seconds from which it is told how long a look through the whole ledger took (20 s for a million files on a cold disk).
_WORTH_A_WORD = 1.0


class StateError(LedgerError):
    """The state directory, and so the ledger in it, cannot be used; the message says what to do."""


class NeedsSomebody(StateError):  # noqa: N818 - a state, not a fault
    """The same, and to try again changes nothing."""


class AlreadyRunning(Exception):  # noqa: N818 - a state, not a fault
    """Another dropcap works with this state directory."""


def prepare(state_dir: Path) -> None:
    """Make the state directory if it is not there.

    Raises:
        StateError: it cannot be made or written.
    """
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        (state_dir / "windows").mkdir(mode=0o750, exist_ok=True)
        give_to_owner(state_dir, state_dir / "windows")
    except OSError as error:
        raise StateError(
            f"state_dir {state_dir} cannot be made ({error.strerror}): make it and give it to dropcap's user, or name another"
        ) from None
    if not os.access(state_dir, os.W_OK | os.X_OK):
        raise StateError(f"state_dir {state_dir} cannot be written: give it to dropcap's user, or name another")
    if not (state_dir / owner.NAME).exists():  # should a drop folder lead here by a link, none of it is taken
        with contextlib.suppress(OSError):
            (state_dir / owner.NAME).write_bytes(owner.STATE)
            give_to_owner(state_dir, state_dir / owner.NAME)


@contextlib.contextmanager
def only_one(state_dir: Path) -> Iterator[None]:
    """Hold the state directory's lock; it goes with the process, however that ends.

    Raises:
        AlreadyRunning: another process holds it.
        PermissionError: the lock file is not ours.
        StateError: it cannot be opened for another reason.
    """
    try:
        fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except PermissionError:
        raise
    except OSError as error:
        raise StateError(
            f"state_dir {state_dir} cannot be written ({error.strerror}): mount it writable, make room there, or name another"
        ) from None
    try:
        give_to_owner(state_dir, state_dir / "lock")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"another dropcap uses {state_dir}") from None
        yield
    finally:
        os.close(fd)


def give_to_owner(state_dir: Path, *paths: Path) -> None:
    """What root makes in the state directory (by `dropcap pause`, say) is for the daemon's user all the same."""
    if os.geteuid() != 0:
        return
    owner = state_dir.stat()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if (path.stat().st_uid, path.stat().st_gid) != (owner.st_uid, owner.st_gid):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def running(state_dir: Path) -> bool:
    """Whether a dropcap holds the lock."""
    try:
        with only_one(state_dir):
            return False
    except AlreadyRunning:
        return True
    except (OSError, StateError):
        return False


def open_ledger(state_dir: Path) -> Ledger:
    """The ledger. A damaged one is set aside, kept, and a new one begun; the folders then tell what is still to be done.

    What cannot be written fails at once, until `keep_trying`.

    Raises:
        LedgerError: it cannot be opened for another reason.
        StateError: the state directory cannot be written.
    """
    path = state_dir / LEDGER
    _keep_old(state_dir, path)
    try:
        ledger = Ledger(path, patience=0.0)
        try:
            if (state_dir / SUSPECT).exists() or (state_dir / IN_USE).exists():
                status(f"starting: looking through the whole ledger {path}, since the last run ended without a word")
                _look_through(ledger)
            ledger.query.counts()
            ledger.query.pauses()
        except DatabaseError:
            ledger.close()
            raise
    except LedgerError:
        raise
    except Damaged as error:
        ledger = _begin_anew(path, error)
    except DatabaseError as error:
        raise unusable(path, error) from None
    else:
        known = installation(state_dir)
        if known is not None and ledger.installation != known:  # SQLite makes a new one where there is none
            ledger.rebuilt(known)
            log.error(
                "ledger_damaged",
                message=f"the ledger {path} is not the one that was here before; what is missing in it is begun from the folders",
                remedy="put the old one back from a backup only while dropcap does not run, if its history is needed",
            )
    keep_installation(state_dir, ledger.installation)
    files = (path, Path(f"{path}-wal"), Path(f"{path}-shm"))
    give_to_owner(state_dir, state_dir / INSTALLATION, *files)
    _let_the_group_read(state_dir, files)
    with contextlib.suppress(FileNotFoundError):
        (state_dir / SUSPECT).unlink()
    with contextlib.suppress(OSError):
        (state_dir / IN_USE).touch()
        give_to_owner(state_dir, state_dir / IN_USE)
        fd = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    return ledger


def _keep_old(state_dir: Path, path: Path) -> None:
    """Copy a ledger that is about to be brought to this version. Raises LedgerError: there is no room for the copy."""
    before = version_of(path)
    if not 0 < before < VERSION:
        return
    copy = state_dir / f"ledger.before-{__version__}.db"
    if before <= version_of(copy) < VERSION:
        return  # of a start that was cut off
    try:
        copy.unlink(missing_ok=True)
        backup(path, copy)
    except Damaged:
        return  # it is set aside
    except (OSError, DatabaseError) as error:
        message = f"the ledger is to be brought to this version, and no copy of the old one can be made ({error})"
        raise LedgerError(f"{message}: make room on the disk of {state_dir}") from None
    give_to_owner(state_dir, copy)
    log.info("ledger_kept", message=f"the ledger is brought to this version; the old one is kept as {copy.name}", file=copy.name)


def unusable(path: Path, error: DatabaseError) -> LedgerError:
    """Why the ledger at `path` cannot be used for now, and what to do."""
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(path.parent).free
        if free < _FULL:  # SQLite may call it a disk I/O error
            return LedgerError(
                f"the ledger {path} cannot be used ({error}): its disk is full ({free // 1024} KiB are free): make room there"
            )
    return LedgerError(
        f"the ledger {path} cannot be used ({error}): see whether its disk is full, whether dropcap's user may write there, and"
        " whether something else has it open"
    )


def _let_the_group_read(state_dir: Path, files: Sequence[Path]) -> None:
    """Users who can read the state directory may ask for `status`, whatever the umask."""
    with contextlib.suppress(OSError):
        if state_dir.stat().st_mode & stat.S_IRGRP:
            for path in files:
                os.chmod(path, 0o640)


def close_ledger(ledger: Ledger, state_dir: Path) -> None:
    """The orderly end: all of the ledger is in its one file then, and the next start need not look through it."""
    ledger.close()
    with contextlib.suppress(OSError):
        (state_dir / IN_USE).unlink()


def _look_through(ledger: Ledger) -> None:
    """Look at the whole ledger after an end without a word. Raises Damaged."""
    began = time.monotonic()
    ledger.query.check()
    seconds = time.monotonic() - began
    if seconds > _WORTH_A_WORD:
        message = "the last dropcap ended without a word; the ledger is sound"
        log.info("ledger_checked", message=message, seconds=round(seconds, 1))


def installation(state_dir: Path) -> str | None:
    """The id by which folders know this installation, if it has one already."""
    try:
        kept = (state_dir / INSTALLATION).read_text(errors="replace").strip()
    except OSError:
        return None
    return kept if re.fullmatch("[0-9a-f]{32}", kept) else None


def keep_installation(state_dir: Path, wanted: str) -> None:
    """Keep the id of this installation beside the ledger. Raises StateError."""
    if installation(state_dir) == wanted:
        return
    try:
        replace(state_dir, INSTALLATION, wanted + "\n")
    except OSError as error:
        raise StateError(
            f"state_dir {state_dir} cannot be written ({error.strerror}): make room there, or give it to dropcap's user"
        ) from None


def replace(state_dir: Path, name: str, text: str) -> None:
    """Write a small file in the state directory, whole or not at all. Raises OSError."""
    beside = state_dir / f"{name}.new"
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(state_dir / name)
    give_to_owner(state_dir, state_dir / name)


def suspect(state_dir: Path) -> None:
    """Let the next start look at the whole ledger: it gave an answer that no sound one gives."""
    with contextlib.suppress(OSError):
        (state_dir / SUSPECT).touch()


def _begin_anew(path: Path, error: Damaged) -> Ledger:
    aside = path.with_name(f"ledger.damaged-{time.strftime('%Y%m%d-%H%M%S')}.db")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    ledger = Ledger(path, patience=0.0)
    ledger.rebuilt(installation(path.parent))
    log.error(
        "ledger_damaged",
        message=f"the ledger is damaged ({error}); it was set aside as {aside.name} and a new one begun from the folders",
        remedy="nothing needs to be done for the files; find out why the disk damaged it, and keep the old one for its history",
    )
    return ledger
