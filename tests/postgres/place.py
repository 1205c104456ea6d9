"""Directories of temporary PostgreSQL clusters, whose processes end with that of the tests, however that ends."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import needs

#: Ends a cluster ($1: its name, $2: its directory) once nobody holds the other end of its input any more, as when the tests
#: were killed. PostgreSQL ends by SIGQUIT, and by SIGKILL if it has not after two seconds. Of one that was killed there is
#: still the segment of shared memory by which a second one of the same directory is kept out.
_KEEPER = """
read -r _
tried=0
while [ $tried -lt 100 ]; do
  pids=$(grep -lzxE -e "--cluster_name[=]$1" -e "postgres[:] $1: .*" -e "$2[/]data" /proc/[0-9]*/cmdline | cut -d/ -f3)
  [ -n "$pids" ] || break
  [ $tried -lt 40 ] && how=QUIT || how=KILL
  kill -$how $pids
  kill -CONT $pids
  tried=$((tried + 1))
  sleep 0.05
done
segment=$(sed -n '7s/.* //p' "$2/data/postmaster.pid") && ipcrm -m $segment
until rm -rf "$2" || [ $tried -gt 200 ]; do
  tried=$((tried + 1))
  sleep 0.05
done
"""


class Place:
    """A directory of PostgreSQL's own, and its keeper, by whom all ends that was started there, also if the tests are killed."""

    def __init__(self) -> None:
        self._user = _user()
        self.path = Path(tempfile.mkdtemp(prefix="dropcap-pg-", dir=_passable()))
        self.name = self.path.name
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", self.name, str(self.path)],
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._give(self.path)

    def popen(self, words: list[str], env: Mapping[str, str], **more: Any) -> subprocess.Popen[bytes]:
        """Start a program as PostgreSQL's user, away from the terminal's signals."""
        who: dict[str, Any] = {}
        if self._user is not None:
            who = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        plain = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **env}
        return subprocess.Popen(words, cwd=self.path, env=plain, stdin=subprocess.DEVNULL, start_new_session=True, **who, **more)

    def run(self, words: list[str]) -> None:
        """Run a program to its end as PostgreSQL's user."""
        with self.popen(words, {}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            said = process.communicate(timeout=60)[0]
        assert process.returncode == 0, said.decode(errors="replace")

    def write(self, name: str, text: str) -> None:
        """Write a file that PostgreSQL's user alone may read."""
        path = self.path / name
        fresh = path.with_name(path.name + ".new")
        fresh.touch(0o600)
        fresh.write_text(text)
        self._give(fresh)
        fresh.replace(path)

    def close(self) -> None:
        self._keeper.communicate()

    def _give(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)


def _user() -> pwd.struct_passwd | None:
    """Who PostgreSQL is to be if root runs the tests, for whom it does not start; None: who runs them."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    user = known.get("postgres") or known["nobody"]
    try:
        subprocess.run(["/bin/sh", "-c", ":"], user=user.pw_uid, group=user.pw_gid, extra_groups=[], check=True)
    except PermissionError:
        needs.lacking("the right to be somebody else")
    return user


def _passable() -> str:
    """The directory for temporary files, or another one if that is closed to others."""
    for name in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(name).resolve()
        if len(name) < 70 and all(above.stat().st_mode & 0o001 for above in (path, *path.parents)):
            return name
    return needs.lacking("a directory for temporary files that other users may pass")
