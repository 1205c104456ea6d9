"""What an installation may lack: the sandbox is an extra, since a server that only delivers files needs no HTTP server."""

from __future__ import annotations

import shlex
import sys

from dropcap.cli.configured import stop


def sandbox_or_stop() -> None:
    """The sandbox can be imported, or the end with exit code 2 and the command that installs it."""
    if missing := what_the_sandbox_lacks():
        stop(missing, 2)


def what_the_sandbox_lacks() -> str:
    """What to install before the sandbox can be used; empty where nothing is missing."""
    try:
        import redcap_sandbox  # noqa: F401
    except ModuleNotFoundError as error:
        python = shlex.quote(sys.executable or "python3")
        return f"the sandbox needs {error.name}; install it: {python} -m pip install 'dropcap-redcap[sandbox]'"
    return ""
