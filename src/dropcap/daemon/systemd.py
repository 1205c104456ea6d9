"""Talking to systemd: sd_notify(3) and the watchdog. Without systemd all of it does nothing.

The protocol is a datagram of KEY=VALUE lines to the socket that NOTIFY_SOCKET names; a library for it would be longer than this.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from dropcap.display import shown


def notify(*lines: str) -> bool:
    """Send lines like `READY=1` to systemd; False if nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "/@":
        return False
    if address[0] == "@":  # an abstract socket
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto("\n".join(lines).encode(), address)
        return True
    return False


def status(text: str) -> bool:
    """Say in one line what `systemctl status` is to show."""
    return notify("STATUS=" + shown(text))


def reloading() -> bool:
    """Say that a reload has begun (Type=notify-reload asks for the time as well)."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear that the daemon is alive (half of its limit), None if it does not."""
    with contextlib.suppress(ValueError):
        microseconds = int(os.environ.get("WATCHDOG_USEC", "0"))
        meant_for = os.environ.get("WATCHDOG_PID", "")
        if microseconds > 0 and meant_for in ("", str(os.getpid())):
            return microseconds / 2e6
    return None
