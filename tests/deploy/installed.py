"""dropcap as the Debian package brings it: in a library folder that its command alone adds to the path of the system's Python."""

from __future__ import annotations

import runpy
import sys
import sysconfig
from collections.abc import Container
from pathlib import Path

import dropcap
import redcap_sandbox

ROOT = Path(__file__).parents[2]
#: The Python that the virtual environment of the tests was made with: it finds nothing of what is in there.
PYTHON: str = getattr(sys, "_base_executable", sys.executable)
_OURS = (dropcap, redcap_sandbox)


def library(place: Path, without: Container[str] = ()) -> Path:
    """Such a folder, with all that dropcap is installed with here, but for the packages `without`."""
    place.mkdir()
    for package in _OURS:
        assert package.__file__ is not None
        (place / package.__name__).symlink_to(Path(package.__file__).parent)
    for found in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(found).iterdir():
            name = entry.name.split(".")[0]
            if entry.suffix != ".pth" and name not in without and not (place / entry.name).exists():
                (place / entry.name).symlink_to(entry)
    return place


def command(place: Path) -> list[str]:
    """The package's own command, for this folder."""
    launcher: str = runpy.run_path(str(ROOT / "release/deb.py"))["_LAUNCHER"]
    assert launcher.startswith("#!/usr/bin/python3 -I\n")
    assert launcher.count('"/usr/lib/dropcap"') == 1
    program = place.parent / f"{place.name}-dropcap"
    program.write_text(launcher.replace("/usr/lib/dropcap", str(place)))
    return [PYTHON, "-I", str(program)]
