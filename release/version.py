"""The version of what is built: `NEXT` at its tag, and `NEXT.devN+gHASH` before, N commits after the last release.

hatchling asks for it (pyproject.toml). setuptools-scm does the same where there are tags; in a clone or an archive without any it
counts from 0.1, below what has been released, which is why this is written out.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

#: The release that is being worked on; after it, the next one is written here.
NEXT = "0.2.0"
#: `git archive` puts the commit in its place (.gitattributes).
_ARCHIVED = "$Format:%h$"
_ROOT = Path(__file__).resolve().parents[1]
#: Written into an sdist by the build hook: a wheel that is built from it is the same version.
_WRITTEN = _ROOT / "src/dropcap/_build.py"


def version() -> str:
    """The version.

    Raises:
        ValueError: the tag at this commit is not `NEXT`, so that one of them is wrong.
    """
    if _WRITTEN.exists() and not (_ROOT / ".git").exists():
        return re.findall(r'VERSION = "(.+)"', _WRITTEN.read_text())[0]
    commit = _git("rev-parse", "--short=9", "HEAD")
    if not commit:
        return f"{NEXT}.dev0+g{_ARCHIVED}" if "$" not in _ARCHIVED else f"{NEXT}.dev0+unknown"
    changed = bool(_git("status", "--porcelain", "--untracked-files=no"))
    tag = _git("describe", "--tags", "--exact-match", "--match", "v[0-9]*")
    if tag and not changed:
        if tag != f"v{NEXT}":
            raise ValueError(f"the tag here is {tag}, and release/version.py says {NEXT}: correct one of them")
        return NEXT
    last = _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    since = _git("rev-list", "--count", f"{last}..HEAD" if last else "HEAD")
    return f"{NEXT}.dev{since}+g{commit}" + (".changed" if changed else "")


def _git(*words: str) -> str:
    """What git says; nothing if it cannot tell, or this is no clone of its own (a folder within another repository)."""
    try:
        inside = subprocess.run(["git", "-C", _ROOT, "rev-parse", "--show-toplevel"], capture_output=True, text=True)
        if inside.returncode or Path(inside.stdout.strip()) != _ROOT:
            return ""
        done = subprocess.run(["git", "-C", _ROOT, *words], capture_output=True, text=True)
    except OSError:  # no git here
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
