"""By which rule, configuration and dropcap a file goes where it goes, as a document that the ledger keeps once.

Many files have the same: the text is made once for each rule, and anew when REDCap tells more of the project.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from dropcap import __version__
from dropcap.config.model import Folder, Project
from dropcap.redcap.model import ProjectInfo
from dropcap.routing.rule import Rule

_ENCODE = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode


class Origins:
    """The documents of all folders and rules. Safe for threads: what is known is only ever replaced."""

    def __init__(self) -> None:
        #: The configuration and the project of a folder, by its digest: what goes on by an earlier one keeps that.
        self._gone_by: Mapping[str, tuple[str, Project | None]] = {}
        self._told: dict[str, ProjectInfo] = {}
        self._users: dict[str, str] = {}
        self._texts: dict[tuple[str, int], tuple[Rule | None, str]] = {}

    def configure(self, projects: Mapping[str, Project], folders: Iterable[Folder]) -> None:
        """Go by these projects and folders."""
        now = {folder.digest: (folder.configuration, projects.get(folder.project)) for folder in folders}
        self._gone_by = {**self._gone_by, **now}
        self._texts = {}

    def told(self, entry: str, project: ProjectInfo) -> None:
        """REDCap has told the project of an entry."""
        before = self._told.get(entry)
        if before is None or (before.project_id, before.title) != (project.project_id, project.title):
            self._told[entry] = project
            self._texts = {}

    def is_used_by(self, entry: str, user: str) -> None:
        """REDCap has told whose token an entry has; empty: it has another one, and not been told."""
        if self._users.get(entry, "") != user:
            self._users[entry] = user
            self._texts = {}

    def of(self, folder: Folder, rule: Rule | None) -> str:
        """The document of files that go by a rule of a folder, or by none."""
        texts, key = self._texts, (folder.digest, id(rule))
        found = texts.get(key)
        if found is None or found[0] is not rule:
            found = (rule, self._text(folder, rule))
            texts[key] = found
        return found[1]

    def _text(self, folder: Folder, rule: Rule | None) -> str:
        entry = folder.project
        configuration, project = self._gone_by.get(folder.digest, (None, None))
        told = self._told.get(entry)
        if told and project and project.project_id not in (None, told.project_id):  # of another token, before
            told = None
        redcap: dict[str, Any] = {
            "project": entry,
            "url": project.url if project else None,
            "project_id": told.project_id if told else project.project_id if project else None,
            "title": told.title if told else None,
            "user": self._users.get(entry) or None,
        }
        return _ENCODE(
            {
                "dropcap": __version__,
                "configuration": configuration,
                "redcap": redcap,
                "rule": None if rule is None else rule_text(rule),
            }
        )


def rule_text(rule: Rule) -> dict[str, Any]:
    """A rule with the tables that it uses, and the settings that it has of its own, of its folder and of `defaults`."""
    templates = {"record": rule.record, "event": rule.event, "field": rule.field, "instance": rule.instance}
    return {
        "name": rule.name,
        "pattern": rule.pattern.text,
        **{name: template.text for name, template in {**templates, "upload_as": rule.upload_as}.items() if template is not None},
        **{
            name: {key: template.text for key, template in of.items()}
            for name, of in (("record_where", rule.record_where), ("must_match", rule.must_match))
            if of
        },
        **({"tables": {name: dict(table) for name, table in rule.tables.items()}} if rule.tables else {}),
        "settings": asdict(rule.settings),
    }
