"""The order of files to one place in REDCap, and the rule and configuration that a job's origin records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any

from dropcap import __version__
from dropcap.config.model import Folder, Project
from dropcap.ledger.job import Address, Held, Job
from dropcap.reasons import Reason
from dropcap.redcap.client import ProjectInfo
from dropcap.routing.route import NoRoute, Route, route
from dropcap.routing.rule import NEXT, Rule, Target, Template

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

    def learn(self, entry: str, project: ProjectInfo) -> None:
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


#: The last part of the keys of all files of a record and event that share its instances.
_INSTANCES = "instances"


class Identity(Enum):
    """What is known of the REDCap project that an entry leads to."""

    TOLD = "by its configuration or by REDCap"
    UNTOLD = "not asked yet"
    HIDDEN = "REDCap does not tell this token"


class Order:
    """The keys by which files are ordered. Safe for threads: what is learned is only ever replaced."""

    def __init__(self, projects: Iterable[Project], folders: Iterable[Folder], told: Mapping[str, int]) -> None:
        """`told` are the project ids that REDCap has told by entry, of an earlier run too."""
        self._told = dict(told)
        self.origins = Origins()
        self._hidden: set[str] = set()
        self._classic: set[str] = set()  # entries of projects without events: a rule may name one all the same
        self.configure(projects, folders)

    def configure(self, projects: Iterable[Project], folders: Iterable[Folder]) -> None:
        """Go by these entries and rules. What was told of an entry is told anew before it matters."""
        entries = {project.name: project for project in projects}
        used = [folder for folder in folders if folder.project in entries]
        self.origins.configure(entries, used)
        sharing: dict[str, set[str]] = {}
        for folder in used:
            sharing.setdefault(entries[folder.project].api, set()).add(folder.project)
        self._hidden = set()
        self._projects, self._sharing = entries, sharing
        #: URLs of whose projects some rule takes the next instance.
        self._takes_next = {
            entries[folder.project].api for folder in used if any(takes_next(rule.instance) for rule in folder.rules)
        }

    # Which project an entry leads to ------------------------------------------------------------------------------

    def has(self, entry: str) -> bool:
        """Whether the configuration has this entry; while it is taken up, what is under way may have others."""
        return entry in self._projects

    def learn(self, entry: str, project: ProjectInfo) -> None:
        """REDCap has told the project of an entry."""
        self._hidden.discard(entry)
        self.origins.learn(entry, project)
        (self._classic.discard if project.longitudinal else self._classic.add)(entry)
        self._told[entry] = project.project_id

    def hides(self, entry: str) -> None:
        """REDCap does not tell this entry's token which project it belongs to."""
        if self.identity(entry) is Identity.UNTOLD:
            self._hidden.add(entry)

    def identity(self, entry: str) -> Identity:
        """What is known of an entry's project."""
        if self.number(entry) is not None:
            return Identity.TOLD
        return Identity.HIDDEN if entry in self._hidden else Identity.UNTOLD

    def must_be_told(self, entry: str) -> bool:
        """Whether its project must be known before anything is sent, as far as REDCap tells it."""
        url = self._projects[entry].api
        shared = len(self._sharing.get(url, ())) > 1 or url in self._takes_next
        return shared and self.identity(entry) is Identity.UNTOLD

    def unordered(self, entry: str) -> Held | None:
        """Why a file of this entry cannot choose an instance: another entry's token may lead to the same project, which REDCap
        does not tell, so that its files are not in order with this one. (One that was not asked yet sends nothing before.)
        """
        others = self._sharing.get(self._projects[entry].api, set()) - {entry}
        other = next((name for name in sorted(others) if self.identity(name) is Identity.HIDDEN), None)
        if other is None:
            return None
        message = (
            f"the projects `{entry}` and `{other}` have the same url, and REDCap does not tell whether `{other}` is the same"
            " project: each could overwrite the instances of the other"
        )
        return Held(Reason.RIGHTS, message, f"set project_id for `{other}`, or give its token API export; then reload dropcap")

    def number(self, entry: str) -> int | None:
        """The id of an entry's project, as far as it is known."""
        project = self._projects.get(entry)
        configured = None if project is None else project.project_id
        return self._told.get(entry) if configured is None else configured

    def alike(self, entry: str) -> list[str]:
        """The entries that lead to the project of this one, or may: with its url, and not known to be another project's."""
        mine, number = self._projects.get(entry), self.number(entry)
        if mine is None:
            return [entry]
        others = (project.name for project in self._projects.values() if project.api == mine.api and project.name != entry)
        return [entry, *(name for name in others if number is None or self.number(name) in (None, number))]

    def elsewhere(self, job: Job) -> str:
        """The project in which a job has its place, if that is another one than its entry leads to now; else empty."""
        project, number = self._projects.get(job.project), self.number(job.project)
        which = (job.key or job.project).partition("\0")[0]
        if project is None or number is None or which in (job.project, f"{project.api}#{number}"):
            return ""
        api, _, its = which.rpartition("#")
        return f"REDCap project {its} of {api}"

    # Keys ---------------------------------------------------------------------------------------------------------

    def key(self, entry: str, target: Target, record: str) -> str:
        """The key of files to this place of `record`, complete if the entry's project is known."""
        project = self._projects.get(entry)
        shares = target.instance == NEXT or (
            target.instance is not None and project is not None and project.api in self._takes_next
        )
        # Where something repeats, REDCap takes a file without an instance for the first one.
        last = _INSTANCES if shares else f"{target.field}\0{'' if target.instance == 1 else target.instance or ''}"
        event = "" if entry in self._classic else target.event or ""
        return "\0".join((self._which(entry), record, event, last))

    def completed(self, entry: str, key: str) -> str:
        """A key that was made before REDCap told the project of its entry."""
        place, event, *last = key.rsplit("\0", 2 if key.endswith(f"\0{_INSTANCES}") else 3)
        record = place.partition("\0")[2]
        return "\0".join((self._which(entry), record, "" if entry in self._classic else event, *last))

    def _which(self, entry: str) -> str:
        """What stands in a key for a project."""
        project, number = self._projects.get(entry), self.number(entry)
        return entry if project is None or number is None else f"{project.api}#{number}"

    def address(self, folder: Folder, name: str) -> Address:
        """Where a file goes as far as its name tells, and its key."""
        return self.address_of(folder, route(folder.rules, folder.name, name))

    def address_of(self, folder: Folder, found: Route | NoRoute) -> Address:
        """The same of a file of which it is known what the rules say."""
        if isinstance(found, NoRoute):
            return Address(folder.project, found.rule.name if found.rule else "", origin=self.origins.of(folder, found.rule))
        target = found.target
        record = target.record or "\0".join(f"{k}={v}" for k, v in sorted(target.record_where.items()))
        instance = target.instance if isinstance(target.instance, int) else None
        key = self.key(folder.project, target, record)
        return Address(
            *(folder.project, found.rule.name, target.record, target.event, target.field, instance, key, target.instance == NEXT),
            self.origins.of(folder, found.rule),
        )


def takes_next(instance: Template | None) -> bool:
    """Whether a rule's `instance` is `next`."""
    return instance is not None and instance.text == NEXT
