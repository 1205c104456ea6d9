"""A Samba server of the test's own: its ports, state and users lie in the test's folder, the machine's are not touched."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests import needs
from tests.shares.mounting import mounted, unmount

WRAPPER = next(Path("/usr/lib").glob("*/libnss_wrapper.so"), None)
GROUP = 50010
#: Two of the share's group and one who is not.
USERS = {"desk1": 50001, "desk2": 50002, "stranger": 50003}
PASSWORD = "only for this test"


class Samba:
    """Serves `share` as `//HOST/drop` to the group of `desk1` and `desk2`."""

    def __init__(self, root: Path, share: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        """At any free port, if it is 0."""
        self._root = root
        self.host = host
        self.port = port or _free_port()
        self.config = root / "smb.conf"
        self._env = {
            **os.environ,
            "LD_PRELOAD": str(WRAPPER),
            "NSS_WRAPPER_PASSWD": str(root / "passwd"),
            "NSS_WRAPPER_GROUP": str(root / "group"),
        }
        passwd = ["root:x:0:0::/:/bin/false", "nobody:x:65534:65534::/:/bin/false"]
        passwd += [f"{name}:x:{uid}:{uid}::/:/bin/false" for name, uid in USERS.items()]
        group = ["root:x:0:", "nogroup:x:65534:", f"data:x:{GROUP}:desk1,desk2"]
        group += [f"{name}:x:{uid}:" for name, uid in USERS.items()]
        (root / "passwd").write_text("\n".join(passwd) + "\n")
        (root / "group").write_text("\n".join(group) + "\n")
        directories = "".join(f"  {kind} dir = {_made(root / kind)}\n" for kind in ("private", "ncalrpc"))
        directories += "".join(f"  {kind} directory = {_made(root / kind)}\n" for kind in ("state", "cache", "lock", "pid"))
        self.config.write_text(
            f"[global]\n  server role = standalone server\n  interfaces = {host}/8\n  bind interfaces only = yes\n"
            f"  smb ports = {self.port}\n  passdb backend = smbpasswd:{root / 'smbpasswd'}\n{directories}"
            f"  log file = {root / 'smbd.log'}\n  disable spoolss = yes\n  load printers = no\n  map to guest = never\n"
            f"[drop]\n  path = {share}\n  read only = no\n  valid users = +data\n  inherit permissions = yes\n"
        )

    def start(self) -> subprocess.Popen[bytes]:
        for user in USERS:
            subprocess.run(
                [needs.program("smbpasswd"), "-c", str(self.config), "-L", "-a", "-s", user],
                input=f"{PASSWORD}\n{PASSWORD}\n".encode(), env=self._env, check=True, capture_output=True,
            )  # fmt: skip
        command = [needs.program("smbd"), "--foreground", "--no-process-group", f"--configfile={self.config}"]
        # A session of its own: at its end smbd sends a signal to its whole process group.
        process = subprocess.Popen(
            command, env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        end = time.monotonic() + 15
        while not _answers(self.host, self.port):
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise AssertionError(f"smbd does not start:\n{(self._root / 'smbd.log').read_text()}")
            time.sleep(0.05)
        return process

    def client(self, user: str, *commands: str) -> subprocess.CompletedProcess[str]:
        """What smbclient says when `user` gives these commands."""
        command = ["smbclient", f"//{self.host}/drop", "-p", str(self.port), "-U", f"{user}%{PASSWORD}"]
        command += [f"--configfile={self.config}", "-c", "; ".join(commands)]
        return subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=30)


@contextlib.contextmanager
def samba(root: Path, share: Path, host: str = "127.0.0.1", port: int = 0) -> Iterator[Samba]:
    """A running server, ended afterwards with all its children."""
    for program in ("smbd", "smbpasswd", "smbclient"):
        needs.program(program)
    if WRAPPER is None:
        needs.lacking("libnss_wrapper.so")
    needs.root("for a Samba server with users of its own")
    (root / "samba").mkdir()
    os.chown(share, -1, GROUP)
    share.chmod(0o2770)
    made = Samba(root / "samba", share, host, port)
    process = made.start()
    try:
        yield made
    finally:
        process.terminate()
        process.wait(15)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1.0).close()
    except OSError:
        return False
    return True


class Smbnetfs:
    """What `server` serves, mounted through FUSE as `desk1` at `path`."""

    def __init__(self, root: Path, server: Samba) -> None:
        self._point = root / "network"
        self._home = root / "home"
        self._point.mkdir()
        self.path = self._point / server.host / "drop"
        settings = self._home / ".smb"
        settings.mkdir(mode=0o700, parents=True)
        (settings / "smb.conf").write_text("[global]\n")
        (settings / "smbnetfs.conf").write_text(f'auth "{server.host}" "desk1" "{PASSWORD}"\nsmb_query_browsers false\n')
        (settings / "smbnetfs.conf").chmod(0o600)  # else it is not read
        self._process: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        env = {**os.environ, "HOME": str(self._home)}
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(["smbnetfs", str(self._point), "-f"], env=env, stdout=quiet, stderr=quiet)
        end = time.monotonic() + 15
        while not (mounted(self._point) and self.path.is_dir()):
            if self._process.poll() is not None or time.monotonic() > end:
                self.unmount()
                needs.lacking("the right to mount FUSE file systems, which smbnetfs is refused")
            time.sleep(0.02)

    def unmount(self) -> None:
        unmount(self._point)
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


@contextlib.contextmanager
def smbnetfs(root: Path, server: Samba) -> Iterator[Smbnetfs]:
    """It mounted. It looks for servers at port 445 only."""
    needs.fuse("smbnetfs")
    made = Smbnetfs(root, server)
    made.mount()
    try:
        yield made
    finally:
        made.unmount()


def lone_host() -> str:
    """An address of this machine's loopback where nobody serves files at port 445."""
    host = f"127.{secrets.randbelow(200) + 10}.{secrets.randbelow(250)}.{secrets.randbelow(250) + 2}"
    with socket.socket() as one:
        try:
            one.bind((host, 445))
        except OSError as error:
            needs.lacking(f"port 445 of a loopback address ({error.strerror})")
    return host
