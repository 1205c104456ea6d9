"""The way to a server: whom it trusts, whose certificate it shows, and through which proxy it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dropcap.reasons import Reason
from dropcap.secret import Secret


class NoWay(Exception):  # noqa: N818
    """Something on the way to the server, and the server was sent nothing. `remedy` is empty if waiting is all there is to do."""

    def __init__(self, reason: Reason, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that connects to servers (CONNECT). `credentials` gives `user:password`, or raises `NoWay`."""

    host: str
    port: int
    credentials: Callable[[], Secret] | None = None

    def __str__(self) -> str:
        return authority(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Way:
    """Files are PEM. `ca_file` None: the system's trust store; `client_key_file` None: the key is in `client_cert_file`."""

    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    proxy: Proxy | None = None


DIRECT = Way()


def authority(host: str, port: int) -> str:
    """Host and port as HTTP writes them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
