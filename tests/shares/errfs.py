"""A FUSE file system for tests: another directory, whose operations fail, hang or lie as a control file says.

    python errfs.py LOWER MOUNTPOINT CONTROL [modes]

With `modes` the kernel asks for the modes of files, without it everybody may do everything.

Each line of CONTROL is `OPERATION WHAT`. OPERATION is `stat`, `list`, `open`, `read`, `write`, `create`, `rename`, `link`,
`mkdir`, `unlink`, `fsync` or `fsyncdir`; WHAT is the name of an error (`EIO`), `block` (no answer until the line is gone;
CONTROL.blocks is there then), or for fsync `ignore`. `case fold` makes upper and lower case the same, `inode new` numbers a
file anew at every look, `rename closed` refuses to rename what is open, `space untold` does not say how much is free.

Neither RENAME_NOREPLACE nor changes made in LOWER itself, of which no event tells, are known to it.
"""

from __future__ import annotations

import errno
import itertools
import os
import sys
import time
from typing import Any

import mfusepy


class ErrorInjecting(mfusepy.Operations):  # type: ignore[misc]
    """Passes everything on to `lower`, unless told otherwise. RENAME_NOREPLACE is answered as file systems without it do."""

    use_ns = True

    def __init__(self, lower: str, control: str) -> None:
        self._lower = lower
        self._control = control
        self._numbers = itertools.count(1 << 32)
        self._paths: dict[int, str] = {}  # of open files

    def _obey(self, operation: str) -> str:
        while True:
            what = self._told(operation)
            if what == "block":
                open(self._control + ".blocks", "w").close()
                time.sleep(0.02)
                continue
            if what and what not in ("ignore", "closed"):
                raise mfusepy.FuseOSError(getattr(errno, what))
            return what

    def _told(self, operation: str) -> str:
        try:
            with open(self._control) as file:
                told = dict(line.split() for line in file)
        except FileNotFoundError:
            return ""
        return told.get(operation, "")

    def _path(self, path: str) -> str:
        if self._told("case") != "fold":
            return self._lower + path
        found = self._lower
        for part in path.strip("/").split("/"):
            there = os.listdir(found) if os.path.isdir(found) else []
            found += "/" + next((name for name in there if name.casefold() == part.casefold()), part)
        return found

    # What there is

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self._obey("stat")
        found = os.lstat(self._path(path)) if fh is None else os.fstat(fh)
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_ino", "st_blocks")
        times = {"st_atime": found.st_atime_ns, "st_mtime": found.st_mtime_ns, "st_ctime": found.st_ctime_ns}
        number = {"st_ino": next(self._numbers)} if self._told("inode") == "new" else {}
        return {name: getattr(found, name) for name in names} | times | number

    def readdir(self, path: str, fh: int) -> list[str]:
        self._obey("list")
        return [".", "..", *os.listdir(self._path(path))]

    def readlink(self, path: str) -> str:
        return os.readlink(self._path(path))

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._path(path))
        names = (
            "f_bavail",
            "f_bfree",
            "f_blocks",
            "f_bsize",
            "f_favail",
            "f_ffree",
            "f_files",
            "f_flag",
            "f_frsize",
            "f_namemax",
        )
        untold = self._told("space") == "untold"
        return {name: 0 if untold and name != "f_namemax" else getattr(found, name) for name in names}

    # What becomes of it

    def rename(self, old: str, new: str, flags: int = 0) -> int:
        told = self._obey("rename")
        if flags:
            raise mfusepy.FuseOSError(errno.EINVAL)
        if told == "closed" and old in self._paths.values():
            raise mfusepy.FuseOSError(errno.EBUSY)
        os.rename(self._path(old), self._path(new))
        return 0

    def link(self, target: str, source: str) -> int:
        self._obey("link")
        os.link(self._path(source), self._path(target), follow_symlinks=False)
        return 0

    def unlink(self, path: str) -> int:
        self._obey("unlink")
        os.unlink(self._path(path))
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        self._obey("mkdir")
        os.mkdir(self._path(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._path(path))
        return 0

    def symlink(self, target: str, source: str) -> int:
        os.symlink(source, self._path(target))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        os.chmod(self._path(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._path(path), uid if uid != 0xFFFFFFFF else -1, gid if gid != 0xFFFFFFFF else -1, follow_symlinks=False)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        os.utime(self._path(path), ns=times, follow_symlinks=False)
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._obey("write")
        os.truncate(self._path(path), length)
        return 0

    # Open files

    def open(self, path: str, flags: int) -> int:
        self._obey("open")
        return self._opened(path, os.open(self._path(path), flags & ~os.O_NOFOLLOW))

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._obey("create")
        return self._opened(path, os.open(self._path(path), os.O_RDWR | os.O_CREAT, mode))

    def _opened(self, path: str, fh: int) -> int:
        self._paths[fh] = path
        return fh

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._obey("read")
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._obey("write")
        return os.pwrite(fh, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        if self._obey("fsync") != "ignore":
            os.fsync(fh)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        self._obey("fsyncdir")
        return 0

    def release(self, path: str, fh: int) -> int:
        del self._paths[fh]
        os.close(fh)
        return 0


if __name__ == "__main__":
    mfusepy.FUSE(
        ErrorInjecting(sys.argv[1], sys.argv[3]),
        sys.argv[2],
        foreground=True,
        nothreads=False,
        use_ino=True,
        attr_timeout=0,
        entry_timeout=0,
        allow_other=True,
        default_permissions="modes" in sys.argv[4:],
    )
