"""Writes the version into what is built, so that the program knows it without asking for its metadata."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WrittenVersion(BuildHookInterface):
    """`dropcap/_build.py` in wheels and sdists; not in an editable install, whose version would soon be an old one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds."""
        if version == "editable":
            return
        written = Path(tempfile.mkdtemp()) / "_build.py"
        written.write_text(f'"""Written by the build."""\n\nVERSION = "{self.metadata.version}"\n')
        inside = "dropcap/_build.py" if self.target_name == "wheel" else "src/dropcap/_build.py"
        build_data["force_include"][str(written)] = inside
