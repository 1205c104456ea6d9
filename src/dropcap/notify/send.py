"""Hands one message to Apprise, in a process of its own (`child`).

What Apprise and its services do, hang in, log or crash with stays in here; the addresses, which hold secrets, come by standard
input and are shown nowhere. The answer is one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from typing import Any

import apprise

from dropcap.child import silence_stderr

_CODE = re.compile(r"error=(\d{3})\b")


class _Codes(logging.Handler):
    """Of what Apprise logs, the status codes alone: its words may hold parts of an address."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.codes: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.codes += _CODE.findall(record.getMessage())


def send(asked: dict[str, Any]) -> dict[str, Any]:
    """Send `title` and `body` to all `urls`; whether that went well, and if not, what happened and what to do."""
    codes = _Codes()
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.handlers = [codes]
    logger.setLevel(logging.INFO)
    to = apprise.Apprise()
    for number, url in enumerate(asked["urls"], 1):
        if not to.add(url):
            return _not(
                f"line {number} is no address that Apprise knows",
                "write it as Apprise's documentation shows, one a line, nothing else",
            )
    kind = apprise.NotifyType.SUCCESS if asked["good"] else apprise.NotifyType.WARNING
    if to.notify(title=asked["title"], body=asked["body"], notify_type=kind, body_format=apprise.NotifyFormat.TEXT):
        return {"sent": True}
    services = ", ".join(dict.fromkeys(str(one.service_name) for one in to))
    how = f"refused it ({codes.codes[-1]})" if codes.codes else "could not be reached, or refused it"
    return _not(f"{services} {how}", "check the address, if it stays so; a message of a running dropcap is tried again by itself")


def _not(message: str, remedy: str) -> dict[str, Any]:
    return {"sent": False, "message": message, "remedy": remedy}


def main() -> None:
    """Send what standard input asks for."""
    silence_stderr()
    with contextlib.redirect_stdout(sys.stderr):
        told = send(json.load(sys.stdin))
    print(json.dumps(told))
