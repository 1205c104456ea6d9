"""Processes of dropcap's own: each finds what this process has found, however that was started, and tells why it has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from dropcap.display import shown
from dropcap.secret import without_tokens

#: Bytes of what a child has said last that are looked at, and characters that are shown.
_LOOKED_AT, _MOST = 4096, 300


def command(module: str, *words: str) -> list[str]:
    """What to execute so that `main()` of a module runs in another process, with `words` for its arguments.

    What it imports comes from where this process looks: a library folder that only the package's command knows, PYTHONPATH, a
    virtual environment, a zip file. The working directory and the environment add nothing.
    """
    path = [entry for entry in sys.path if entry]
    ours = str(Path(__file__).parents[1])  # not in there: dropcap was found in the working directory
    if ours not in path:
        path.append(ours)
    boot = f"import sys; sys.path[:] = {path!a}; from {module} import main; main()"
    return [sys.executable, "-I", "-S", "-c", boot, *words]


def start(
    module: str,
    *words: str,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `main()` of a module, which should call `silence_stderr`; standard error is a pipe, for `why`.

    Raises OSError: there is no process to be had.
    """
    return subprocess.Popen(
        command(module, *words), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, pass_fds=pass_fds, env=env
    )


def why(child: subprocess.Popen[bytes], said: bytes | None = None) -> str:
    """How a child that is no more has ended, and the last line of what it `said` on standard error, to be shown: tokens left out.

    Without `said` it is read.
    """
    if said is None and child.stderr is not None:
        os.set_blocking(child.stderr.fileno(), False)
        said = child.stderr.read()
    code = child.returncode
    how = f"exit code {code}" if code >= 0 else signal.strsignal(-code)
    line = ((said or b"")[-_LOOKED_AT:].decode(errors="replace").strip().splitlines() or [""])[-1]
    words = shown(" ".join(without_tokens(line).split()))
    return f"({how})" + (f": {words[:_MOST]}" if words else "")


def close(child: subprocess.Popen[bytes]) -> None:
    """Close its pipes."""
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def silence_stderr() -> None:
    """Have nothing heard of what this process says from now on, but kind and place of the error that ends it: what is said may
    quote an address or a file.
    """
    heard = open(os.dup(2), "w", encoding="utf-8", errors="replace")  # noqa: SIM115 - for as long as the process lives
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        place = traceback.extract_tb(trace)[-1]
        print(f"{kind.__name__} in {place.filename}, line {place.lineno}", file=heard, flush=True)

    sys.excepthook = tell
