"""The place for a folder's copies of what REDCap held, looked at from here."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from dropcap.config.model import Config, Folder
from dropcap.display import shown
from dropcap.files.private import keeps_modes
from dropcap.filing.keep import FOR_THE_LEDGER
from dropcap.intake.mounts import Mounts
from dropcap.preflight.private import exposed, keeps_copies
from dropcap.preflight.remark import Place, Remark, place_of

_HOW = (
    "let it lie outside of all drop folders, in directories that only root and dropcap's user may write, "
    "on a file system that keeps modes; or name another place with preserve_in"
)


def keep_remarks(config: Config, folder: Folder, shares: Collection[Path], mounts: Mounts) -> Iterator[Remark]:
    """Whether copies are safe there, and have room. `shares` are the drop folders, links followed. Leaves nothing behind."""
    if not keeps_copies(folder):
        return
    where, place = place_of(folder), config.keeps_in(folder)
    named = f"preserve_in: {shown(str(place))}" if folder.preserve_in else f"copies of what REDCap held ({shown(str(place))})"
    try:
        why = exposed(place, config.state_dir, shares, mounts)
        base = next(above for above in (place, *place.parents) if above.exists())
        if folder.preserve_in is not None and not folder.preserve_in.is_dir():
            message = f"{named}: there is no directory {shown(str(folder.preserve_in))}"
            yield Remark("error", where, message, "make it for dropcap's user, or mount what it lies on")
            return
        if why is not None:
            yield Remark("error", where, f"{named}: others could get at them: {why}", _HOW)
        elif folder.preserve_in is not None or config.state_dir.exists():
            yield from _keeps(where, named, base)
        yield from _room(config, folder, where, named, base)
    except OSError as error:
        message = f"{named}: cannot be read ({error.strerror})"
        yield Remark("error", where, message, "let dropcap's user read it, and run this check as that user")


def _keeps(where: Place, named: str, base: Path) -> Iterator[Remark]:
    if not os.access(base, os.W_OK | os.X_OK):
        yield Remark("error", where, f"{named}: {base} cannot be written", "give it to dropcap's user")
        return
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kept = keeps_modes(fd)
    finally:
        os.close(fd)
    if kept:
        yield Remark("ok", where, f"{named}: dropcap's user alone can get at them")
    else:
        message = f"{named}: its file system does not keep modes, so that everybody who sees it may read there"
        yield Remark("error", where, message, _HOW)


def _room(config: Config, folder: Folder, where: Place, named: str, base: Path) -> Iterator[Remark]:
    system, status = os.statvfs(base), base.stat()
    free = system.f_bavail * system.f_frsize
    beside_ledger = not config.state_dir.exists() or config.state_dir.stat().st_dev == status.st_dev
    stays = max(folder.min_free, FOR_THE_LEDGER if beside_ledger else 0)
    if system.f_blocks and free < stays:
        whose = "for the ledger" if stays > folder.min_free else "by min_free"
        message = (
            f"{named}: {_mib(free)} MiB are free there, and {_mib(stays)} MiB must stay free {whose}: what needs a copy waits"
        )
        yield Remark("warning", where, message, "make room there, or name another place with preserve_in")


def _mib(size: int) -> str:
    return f"{size / 1024**2:,.0f}"
