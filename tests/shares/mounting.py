"""File systems that a test mounts inside its own folder, and takes away again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests import needs
from tests.site import eventually


def mounted(path: Path) -> bool:
    """Whether something is mounted at `path`, told without touching it."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return str(path) in points


def unmount(path: Path) -> None:
    """Take away what is mounted at `path`, though somebody still uses it."""
    if mounted(path):
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)


def mount_tmpfs(path: Path, size: str, *options: str) -> None:
    """A small disk of memory; the test is skipped where mounting is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    wanted = ",".join([f"size={size}", *options])
    needs.mounting("-t", "tmpfs", "-o", wanted, "dropcap-test", path)


@contextlib.contextmanager
def tmpfs(path: Path, size: str = "4m", *options: str) -> Iterator[Path]:
    """`mount_tmpfs` for a while."""
    mount_tmpfs(path, size, *options)
    try:
        yield path
    finally:
        unmount(path)


@contextlib.contextmanager
def bindfs(lower: Path, path: Path, *options: str) -> Iterator[Path]:
    """`lower` seen through a FUSE file system: changes made in `lower` itself send no events to `path`."""
    needs.fuse("bindfs")
    lower.mkdir(exist_ok=True)
    path.mkdir(exist_ok=True)
    done = subprocess.run(["bindfs", *options, str(lower), str(path)], capture_output=True, text=True)
    if done.returncode:
        needs.lacking(f"the right to mount FUSE file systems ({done.stderr.strip()})")
    try:
        yield path
    finally:
        unmount(path)


class ErrorFs:
    """A mounted `errfs`; `set` tells it how to behave."""

    def __init__(self, lower: Path, path: Path, control: Path, *words: str) -> None:
        self.lower = lower
        self._words = words
        self.path = path
        self._control = control
        self._process: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        """Mount it, as well behaved as it was told last."""
        self._process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("errfs.py")),
                str(self.lower),
                str(self.path),
                str(self._control),
                *self._words,
            ],
            stderr=subprocess.PIPE,
        )
        end = time.monotonic() + 10
        while not mounted(self.path):
            if self._process.poll() is not None or time.monotonic() > end:
                self.unmount()
                needs.lacking("the right to mount FUSE file systems")
            time.sleep(0.01)

    def set(self, **behaviour: str) -> None:
        """What each operation shall do from now on: `stat="block"`, `rename="EIO"`; none: all is well."""
        beside = self._control.with_suffix(".new")
        beside.write_text("".join(f"{operation} {what}\n" for operation, what in behaviour.items()))
        beside.rename(self._control)

    def wait_until_it_blocks(self) -> None:
        """Wait for an operation that gets no answer."""
        blocks = Path(f"{self._control}.blocks")
        blocks.unlink(missing_ok=True)  # who waits makes it again and again
        eventually(blocks.exists)

    def unmount(self) -> None:
        """Take it away, even in the midst of a call."""
        self.set()
        unmount(self.path)
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def errfs(root: Path, path: Path, *words: str) -> Iterator[ErrorFs]:
    """The error-injecting file system at `path`, its files in `root/lower`; `words` are those of `errfs.py`."""
    needs.libfuse()
    lower = root / "lower"
    lower.mkdir(exist_ok=True)
    path.mkdir(exist_ok=True)
    made = ErrorFs(lower, path, root / "errfs.control", *words)
    made.set()
    made.mount()
    try:
        yield made
    finally:
        made.unmount()


def drop(folder: Path, name: str, content: bytes = b"%PDF some content\n") -> Path:
    """Drop a file the careful way: written within the same file system, then renamed."""
    path = folder / name
    beside = folder / f".putting-{time.monotonic_ns()}"
    beside.write_bytes(content)
    beside.rename(path)
    return path


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill a file system up, but for `leave` bytes."""
    filler = folder / ".filler"
    with filler.open("wb", buffering=0) as file:
        while (system := os.statvfs(folder)).f_bavail * system.f_frsize > leave:
            left = system.f_bavail * system.f_frsize - leave
            try:
                file.write(b"x" * min(65536, left))
            except OSError:
                break
    return filler


__all__ = ["ErrorFs", "bindfs", "drop", "errfs", "eventually", "fill", "mounted", "tmpfs", "unmount"]
