"""A clean Debian that boots its own systemd, in a container; for tests by name, since it takes minutes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests import needs

#: A Debian that was made before may be named here, so that it is made once.
BASE = "DROPCAP_DEBIAN"
_PACKAGES = "systemd,systemd-sysv,dbus,init-system-helpers,python3,acl,samba,smbclient"


class Machine:
    """A booted Debian. It has this machine's network, so that a sandbox on 127.0.0.1 is REDCap for it as well."""

    def __init__(self, root: Path) -> None:
        self.root = root
        nspawn = needs.program("systemd-nspawn")
        words = [nspawn, "--register=no", "--keep-unit", "--link-journal=no", "-q", "-b", "-D", str(root), "--console=pipe"]
        self._log = open(root.parent / "console", "wb")  # noqa: SIM115 - for as long as it runs
        self._process = subprocess.Popen(
            words,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._init = self._booted()

    def _booted(self) -> int:
        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            for child in map(int, children):
                if b"systemd" in Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/comm").read_bytes():
                    self._init = child
                    state = self.run("systemctl", "is-system-running").stdout.strip()
                    if state in ("running", "degraded"):
                        return child
            time.sleep(0.3)
        self.close()
        return needs.lacking(
            f"a machine on which systemd-nspawn boots ({(self.root.parent / 'console').read_text(errors='replace')[-300:]})"
        )

    def run(self, *words: str, patience: float = 120.0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root."""
        enter = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-p", "-C", "-r", "-w"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        env = [f"{key}={value}" for key, value in more.items()]
        command = [*enter, "/usr/bin/env", "-i", path, "LC_ALL=C.UTF-8", *env, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=patience, stdin=subprocess.DEVNULL)

    def good(self, *words: str, patience: float = 120.0) -> str:
        """Run a command that must succeed; what it says."""
        done = self.run(*words, patience=patience)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def show(self, *properties: str) -> dict[str, str]:
        """What systemd says of the service."""
        told = self.good("systemctl", "show", "dropcap", *(f"-p{one}" for one in properties))
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

    def journal(self, *words: str) -> str:
        """What the service has written."""
        return self.good("journalctl", "-u", "dropcap", "--no-pager", *words)

    def close(self) -> None:
        """Switch it off."""
        with contextlib.suppress(Exception):
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, AttributeError):
                os.kill(self._init, signal.SIGKILL)
            self._process.kill()
            self._process.wait(10)
        self._log.close()


def debian(place: Path) -> Path:
    """A clean Debian's files, made or found; skipped where none can be had."""
    given = os.environ.get(BASE)
    if given:
        return Path(given)
    root = place / "debian"
    words = [needs.program("mmdebstrap"), "--variant=apt", f"--include={_PACKAGES}", "trixie", str(root)]
    made = subprocess.run(words, capture_output=True, text=True, timeout=600)
    if made.returncode:
        shutil.rmtree(root, ignore_errors=True)
        needs.lacking(f"a Debian mirror ({made.stderr.strip().splitlines()[-1:]})")
    return root


@contextlib.contextmanager
def machine(place: Path) -> Iterator[Machine]:
    """One that starts clean and leaves nothing."""
    needs.root("to boot a container")
    needs.program("systemd-nspawn")
    base = debian(place)
    layers = place / "layers"
    needs.mounting("-t", "tmpfs", "dropcap-test", _made(layers))
    root, upper, work = (_made(layers / name) for name in ("root", "upper", "work"))
    try:
        needs.mounting("-t", "overlay", "-o", f"lowerdir={base},upperdir={upper},workdir={work}", "overlay", root)
        booted = Machine(root)
        try:
            yield booted
        finally:
            booted.close()
            subprocess.run(["umount", "-R", str(root)], check=False)
    finally:
        subprocess.run(["umount", "-l", str(layers)], check=False)


def _made(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
