"""What a test needs and a machine may lack. It is asked here and nowhere else: a test without it is skipped, and the reason
names what is missing and the Debian package that brings it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from dropcap.intake.mounts import UNKNOWN, Mounts

#: Programs that tests start, libraries that they load, and the Debian package of each. `.ci/run` installs these packages.
PACKAGES = {
    "bindfs": "bindfs",
    "chromium": "chromium",
    "libfaketime": "libfaketime",
    "libfuse": "fuse3",
    "libnss_wrapper.so": "libnss-wrapper",
    "man": "man-db",
    "mandoc": "mandoc",
    "mkfs.ext4": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "openssl": "openssl",
    "php": "php-cli",
    "postgres": "postgresql",
    "prlimit": "util-linux",
    "promtool": "prometheus",
    "script": "bsdutils",
    "setfacl": "acl",
    "setpriv": "util-linux",
    "smbclient": "smbclient",
    "smbd": "samba",
    "smbnetfs": "smbnetfs",
    "smbpasswd": "samba-common-bin",
    "strace": "strace",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "systemd-sysusers": "systemd",
    "systemd-tmpfiles": "systemd",
    "testparm": "samba-common-bin",
    "tinyproxy": "tinyproxy",
    "umount": "mount",
    "unshare": "util-linux",
}
#: User and group of a command that root's tests start for somebody else.
SOMEBODY = (61234, 61234)
#: Where systems keep programs for root, which not everybody has on their PATH.
_SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"


def lacking(what: str) -> NoReturn:
    """Skip the test for want of `what`."""
    pytest.skip(_reason(what))


def found(program: str) -> str | None:
    """The path of a program, if it is there."""
    assert program in PACKAGES
    return shutil.which(program, path=os.environ.get("PATH", os.defpath) + _SBIN)


def program(name: str) -> str:
    """The path of a program; the test is skipped without it."""
    return found(name) or lacking(name)


def every_test_needs(name: str) -> pytest.MarkDecorator:
    """A mark for all tests of a file that need one program."""
    return pytest.mark.skipif(found(name) is None, reason=_reason(name))


def by_name(variable: str, make: str) -> None:
    """Skip what takes minutes, unless it was asked for by name."""
    if os.environ.get(variable) != "1":
        lacking(f"minutes, so it is run by name: make {make}")


def git() -> None:
    """Skip where there is no git."""
    if shutil.which("git") is None:
        lacking("git")


def library(name: str) -> None:
    """Skip all tests of the file that asks, where an extra of dropcap's is not installed."""
    pytest.importorskip(name, reason=f"needs {name} (pip install -e '.[dev]')")


def browser() -> str:
    """The path of a browser that can be driven; the test is skipped without it, or without the extra [dev]."""
    path = program("chromium")
    if importlib.util.find_spec("playwright") is None or importlib.util.find_spec("axe_playwright_python") is None:
        lacking("the extra [dev]")
    return path


def root(why: str) -> None:
    """Skip unless root runs the tests."""
    if os.geteuid() != 0:
        lacking(f"root, {why}")


def systemd_analyze() -> str:
    """The path of systemd-analyze(1), which notes in /run/systemd what it has read, or makes that; the test is skipped where it
    can do neither.
    """
    path = program("systemd-analyze")
    if not os.path.isdir("/run/systemd") and not os.access("/run", os.W_OK):
        lacking("/run/systemd: a systemd that runs, or root")
    return path


def mounting(*words: str | Path) -> None:
    """Run `mount` with these arguments; the test is skipped where nothing may be mounted."""
    done = subprocess.run([program("mount"), *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        lacking(f"root and the right to mount ({_why(done.stderr)})")


def right(to: str, command: Sequence[str]) -> None:
    """Skip where `command`, which does nothing else, is refused."""
    tried = subprocess.run(command, capture_output=True, text=True)
    if tried.returncode:
        lacking(f"the right to {to} ({_why(tried.stderr)})")


def unprivileged(without: str = "-all") -> list[str]:
    """The words before a command that run it without root's privileges (or some of them, as setpriv(1) names them), if the
    tests run as root: file modes count for it as for anybody, yet it may go where the test lies.
    """
    if os.geteuid() != 0:
        return []
    words = [program("setpriv"), "--bounding-set", without, "--inh-caps", without]
    right("put away root's privileges", [*words, "true"])
    return words


def limited_threads() -> list[str]:
    """The words before a command for which a limit on its threads holds (see `limit_threads`): for root it does not, so the
    command is somebody else's then, who may read and write what lies where the tests do.
    """
    if os.geteuid() != 0:
        return []
    may = "-all,+dac_override,+dac_read_search,+chown,+fowner"
    words = [program("setpriv"), "--reuid", str(SOMEBODY[0]), "--regid", str(SOMEBODY[1]), "--clear-groups"]
    words += ["--inh-caps", may, "--ambient-caps", may]
    right("be somebody else", [*words, "true"])
    return words


def limit_threads(process: int, most: int | None) -> None:
    """Let a command that was begun with `limited_threads` have no thread more once its user has so many; None: let it again."""
    number = resource.getrlimit(resource.RLIMIT_NPROC)[1] if most is None else most
    words = [program("prlimit"), "--pid", str(process), f"--nproc={number}:"]
    right("limit another's threads", [*limited_threads(), *words])


def terminal() -> str:
    """The path of script(1), which gives a command a terminal; the test is skipped where there is none to be had."""
    script = program("script")
    right("open a terminal", [script, "-qec", "true", os.devnull])
    return script


def mount_table(path: Path) -> None:
    """Skip where the machine does not tell on what file system `path` lies, so that dropcap takes it for a network's."""
    if Mounts.now().of(str(path), path.stat().st_dev) is UNKNOWN:
        lacking("a line about the tests' file system in /proc/self/mountinfo, which a chroot hides")


def fuse(*programs: str) -> None:
    """Skip where FUSE or one of these programs is not to be had."""
    for name in programs:
        program(name)
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        lacking("/dev/fuse and the right to use it")


def faketime() -> str:
    """The path of the library that shows a command another time; the test is skipped without it."""
    return faketime_if_there() or lacking("libfaketime")


def faketime_if_there() -> str | None:
    """The same, or None."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


def postgresql() -> Path:
    """The directory with PostgreSQL's programs, of the newest that is whole; the test is skipped without one. Debian and
    PostgreSQL's own packages for Red Hat keep them off the PATH.
    """
    library("psycopg")
    if os.geteuid() not in [user.pw_uid for user in pwd.getpwall()]:
        lacking("an account of who runs the tests, without which PostgreSQL does not start")
    places = [Path(path).resolve().parent for path in (found("postgres"),) if path]
    for above in ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"):
        places += sorted(Path("/").glob(above[1:]), key=_version, reverse=True)
    whole = [place for place in places if all((place / name).exists() for name in ("initdb", "pg_basebackup", "postgres"))]
    return whole[0] if whole else lacking("postgres")


def libfuse() -> None:
    """Skip where a file system of the test's own cannot be made."""
    fuse("umount")
    try:
        import mfusepy  # noqa: F401
    except OSError:  # it looks for the library when it is imported
        lacking("libfuse")


def _version(programs: Path) -> int:
    return int(re.sub(r"\D", "", str(programs)) or 0)


def _reason(what: str) -> str:
    return f"needs {what} (Debian package {PACKAGES[what]})" if what in PACKAGES else f"needs {what}"


def _why(text: str) -> str:
    """What a program says of its failure first; what follows is advice."""
    return (text.strip().splitlines() or ["it does not say why"])[0]
