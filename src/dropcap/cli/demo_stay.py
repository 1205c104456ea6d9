"""`dropcap demo --stay`: sandbox, daemon and page go on, to play with."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shlex
import socket
import sys
from pathlib import Path

import click

from dropcap.cli.demo_daemon import DemoDaemon, NotSeenError

#: Where the page is, if that is free.
_PORT = 8750
_DOWN = json.dumps({"kind": "maintenance", "times": 3})
_FOREVER = 10 * 365 * 86400.0
_LIBRARIES = ("starlette", "uvicorn", "jinja2", "prometheus_client")


def page_section(root: Path) -> str:
    """The configuration's section of the page, with a secret of its own; empty where its libraries are missing."""
    if any(importlib.util.find_spec(name) is None for name in _LIBRARIES):
        return ""
    secret = root / "page-secret"
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(18))
    return f"dashboard: {{listen: '127.0.0.1:{_free_port()}', secret_file: {json.dumps(str(secret))}}}\n"


def _free_port() -> int:
    for port in (_PORT, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as free:
                return int(free.getsockname()[1])
        except OSError:
            continue
    return _PORT


def stay(root: Path, drop: Path, sandbox: str, daemon: DemoDaemon) -> None:
    """Say what to try, and wait for Ctrl-C or the daemon's end (told as NotSeenError)."""
    config = shlex.quote(str(root / "config.yaml"))
    python = shlex.quote(sys.executable or "python3")
    dropcap = f"{python} -m dropcap"
    where = shlex.quote(str(drop))
    click.echo("\nIt goes on until Ctrl-C. Things to try, in another terminal:\n")
    two = (f"echo hello > {where}/{name}" for name in ("106_V1_consent.pdf", "106_V9_consent.pdf"))
    tries = {
        "Drop a file, and one whose name is wrong": "; ".join(two),
        "See what is so": f"{dropcap} status -c {config}",
        "Let REDCap be down for three requests": f"curl {sandbox}/_sandbox/ill -d {shlex.quote(_DOWN)}",
        "Change the rules, then have them taken up": f"$EDITOR {config}; {dropcap} reload -c {config}",
        "Read the log": f"tail -f {shlex.quote(str(root / 'dropcap.log'))}",
    }
    if (root / "page-secret").exists():
        link = daemon.command("dashboard", "--link")
        click.echo(f"  The operator's page; this link is good once, for a minute\n    {link}")
        tries = {"Another link": f"{dropcap} dashboard --link -c {config}"} | tries
    else:
        click.echo(f"  The operator's page needs more: {python} -m pip install 'dropcap-redcap[web]'")
    for what, how in tries.items():
        click.echo(f"  {what}\n    {how}")
    click.echo(f"\nThe folder: {drop}")
    sys.stdout.flush()
    try:
        daemon.wait_for("stopped", patience=_FOREVER)
    except KeyboardInterrupt:
        return
    raise NotSeenError("the daemon ended")
