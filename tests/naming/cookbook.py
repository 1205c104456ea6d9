"""What docs/cookbook.md says of names: read by its test."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

from dropcap.config.load import load
from dropcap.config.model import Folder
from dropcap.naming.doctor import diagnose
from dropcap.routing.route import Route, route
from dropcap.routing.rule import Target

_AROUND = """\
projects: {{study: {{url: "https://redcap.example.org/api/", token_env: TOKEN}}}}
{tables}
folders:
  files:
    path: /srv/files
    project: study
{rules}
"""


def loaded(snippet: str, tmp_path: Path) -> Folder:
    """The folder that has the tables and rules of a snippet, as dropcap reads it."""
    tables, _, rules = snippet.rpartition("rules:")
    path = tmp_path / "config.yaml"
    path.write_text(_AROUND.format(tables=tables, rules=indent("rules:" + rules, "    ")))
    config = load(path)
    assert config.problems == ()
    assert config.doubts == ()
    return config.folders["files"]


def told(folder: Folder, name: str) -> str:
    """Where a name goes, in the words of the page."""
    found = route(folder.rules, folder.name, name)
    if isinstance(found, Route):
        return _of(found.target)
    meant = diagnose(folder.rules, folder.name, name)
    if meant.candidates:
        return "nowhere; one of " + ", ".join(f"`{one}`" for one in meant.candidates)
    return "nowhere" + (f"; `{meant.suggestion}`?" if meant.suggestion else "")


def _of(target: Target) -> str:
    parts = [f"record {target.record}" if target.record else ""]
    parts += [f"the record whose {field} is {value}" for field, value in target.record_where.items()]
    parts += [f"event {target.event}" if target.event else "", f"field {target.field}"]
    parts += ["a new instance" if target.instance == "next" else f"instance {target.instance}" if target.instance else ""]
    parts += [f"if {field} is {value}" for field, value in target.must_match.items()]
    return ", ".join(part for part in parts if part)
