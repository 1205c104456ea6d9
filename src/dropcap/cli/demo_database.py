"""A PostgreSQL of the demo's own: in a directory, reached by a socket in it alone, gone with the demo however that ends."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

_PROGRAMS = ("initdb", "postgres")
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "30",
    "dynamic_shared_memory_type": "mmap",
    "fsync": "off",  # it does not outlive the demo
}
#: Ends the server ($@) when the other end of the input is closed, which it is at last when the demo ends.
_KEEPER = '"$@" </dev/null & read -r _; kill -INT $!; wait $!'
#: What the address of a socket may take, less its name.
_LONGEST = 107 - len("/.s.PGSQL.5432")
_PATIENCE = 60.0


class NoDatabase(Exception):  # noqa: N818 - a state
    """There is no database, and what to do about it."""


def what_two_hosts_lack() -> str:
    """What to install before a ledger on PostgreSQL can be shown; empty where nothing is missing."""
    if importlib.util.find_spec("psycopg") is None:
        python = shlex.quote(sys.executable or "python3")
        return f"two hosts need psycopg; install it: {python} -m pip install 'dropcap-redcap[postgres]'"
    if _programs() is None:
        return "two hosts need PostgreSQL's server; install it: apt install postgresql, or dnf install postgresql-server"
    return ""


class DemoDatabase:
    """A running server, from entry to exit; `url` names its database. It does not run as root: for root, as another user."""

    def __init__(self, root: Path) -> None:
        """`root` is the demo's directory; what is written here stands in one within it."""
        self._place = root / "postgresql"
        self.url = f"postgresql://dropcap@/postgres?host={quote(str(self._place), safe='/')}"

    def __enter__(self) -> Self:
        """Raises NoDatabase."""
        programs = _programs()
        if programs is None:
            raise NoDatabase(what_two_hosts_lack())
        if len(os.fsencode(self._place)) > _LONGEST:
            raise NoDatabase(f"the name of {self._place} is too long for a socket in it: set TMPDIR to a shorter one")
        self._who = self._prepared()
        data = str(self._place / "data")
        self._run([str(programs / "initdb"), "-D", data, "-U", "dropcap", "-E", "UTF8", "--locale=C", "-A", "trust", "-N"])
        settings = {**_SETTINGS, "unix_socket_directories": str(self._place)}
        words = [str(programs / "postgres"), "-D", data, *(f"--{name}={value}" for name, value in settings.items())]
        with open(self._place / "log", "ab") as log:
            self._keeper = self._popen(["/bin/sh", "-c", _KEEPER, "keeper", *words], subprocess.PIPE, log)
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._keeper.communicate()

    def _prepared(self) -> Mapping[str, Any]:
        """Make the directory, for whom the server is to run as; how to begin a process as that one."""
        self._place.mkdir(0o700)
        if os.geteuid() != 0:
            return {}
        known = {user.pw_name: user for user in pwd.getpwall()}
        user = known.get("postgres") or known["nobody"]
        self._place.parent.chmod(0o711)
        if closed := [above for above in self._place.parents if not above.stat().st_mode & 0o001]:
            raise NoDatabase(
                f"PostgreSQL does not run as root, and {user.pw_name} may not enter {closed[-1]}:"
                " set TMPDIR to a directory that all may enter"
            )
        os.chown(self._place, user.pw_uid, user.pw_gid)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def _popen(self, words: list[str], given: int, to: Any) -> subprocess.Popen[bytes]:
        env = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        # Away from the terminal: its Ctrl-C is for the daemons, which need the database until they have ended.
        return subprocess.Popen(
            words, cwd=self._place, env=env, stdin=given, stdout=to, stderr=subprocess.STDOUT, start_new_session=True, **self._who
        )

    def _run(self, words: list[str]) -> None:
        try:
            with self._popen(words, subprocess.DEVNULL, subprocess.PIPE) as process:
                said = process.communicate(timeout=_PATIENCE)[0].decode(errors="replace").strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoDatabase(f"{words[0]} cannot be run: {error}") from None
        if process.returncode != 0:
            raise NoDatabase(f"{words[0]} failed: {said.splitlines()[-1] if said else process.returncode}")

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _PATIENCE
        while self._keeper.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError, IndexError):
                if (self._place / "data" / "postmaster.pid").read_text().splitlines()[7].strip() == "ready":
                    return
            time.sleep(0.05)
        last = (self._place / "log").read_text(errors="replace").strip().splitlines()[-1:]
        raise NoDatabase(f"PostgreSQL did not start: {''.join(last) or 'it does not say why'}")


def _programs() -> Path | None:
    """The directory of the newest PostgreSQL whose programs are all there; Debian and Red Hat keep them off the PATH."""
    found = [Path(path).resolve().parent for path in (shutil.which("postgres"),) if path]
    for above in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin"):
        found += sorted(Path("/").glob(above), key=lambda path: int(re.sub(r"\D", "", str(path)) or 0), reverse=True)
    return next((path for path in found if all((path / name).exists() for name in _PROGRAMS)), None)
