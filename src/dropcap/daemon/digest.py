"""One digest a folder of all that decides where its files go and how they are treated, as it was parsed.

A folder whose digest is the same runs on over a reload, and its jobs keep their addresses over a start. Every field of what was
parsed counts, so a new setting does by itself; what is for people alone, or made from the rest, says `compare=False`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import time
from pathlib import Path

from dropcap.config.model import Config, Folder
from dropcap.delivery.order import takes_next


def digested(config: Config) -> Config:
    """`config`, each of its folders with its digest. The projects of all folders have to be there."""
    choosing = {config.projects[folder.project].api for folder in config.folders.values() if _takes_next(folder)}
    return replace(
        config, folders={name: replace(one, digest=_digest(config, one, choosing)) for name, one in config.folders.items()}
    )


def _takes_next(folder: Folder) -> bool:
    return any(takes_next(rule.instance) for rule in folder.rules)


def _digest(config: Config, folder: Folder, choosing: set[str]) -> str:
    """Of the project only what orders files counts: its client is made anew with each configuration."""
    project = config.projects[folder.project]
    decides = [_parsed(folder), config.contact, project.api, project.project_id, project.api in choosing]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def _parsed(value: object) -> object:
    """`value` as JSON can hold it. Raises TypeError for what nobody has said how to compare."""
    if is_dataclass(value):
        return {one.name: _parsed(getattr(value, one.name)) for one in fields(value) if one.compare}
    if isinstance(value, Mapping):
        return {str(key): _parsed(one) for key, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_parsed(one) for one in value]
    if isinstance(value, Path | time):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be compared")
