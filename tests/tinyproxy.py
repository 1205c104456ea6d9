"""A real proxy: Debian's tinyproxy, on loopback."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import needs
from tests.site import eventually


@dataclass
class Tinyproxy:
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self) -> list[str]:
        """The request lines that it has seen."""
        return [line.rpartition("): ")[2] for line in self.log.read_text().splitlines() if "Request (file descriptor" in line]


@contextlib.contextmanager
def dead_port() -> Iterator[int]:
    """A port of loopback at which nobody listens, and nobody else will meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # who asks for it by number may listen there
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def free_port() -> int:
    """A port of loopback that nobody listens at just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def tinyproxy(folder: Path, *settings: str, port: int | None = None) -> Iterator[Tinyproxy]:
    """A proxy with these lines in its configuration; the test is skipped where there is none."""
    program = needs.program("tinyproxy")
    made = Tinyproxy(port or free_port(), folder / "tinyproxy.log")
    lines = [f"Port {made.port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 50", f'LogFile "{made.log}"', *settings]
    (folder / "tinyproxy.conf").write_text("\n".join(lines) + "\n")
    command = [program, "-d", "-c", str(folder / "tinyproxy.conf")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _listens(made.port) or process.poll() is not None)
        assert process.poll() is None, "tinyproxy does not start"
        yield made
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
