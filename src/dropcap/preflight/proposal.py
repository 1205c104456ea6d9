"""A configuration for a project, proposed from its structure: one rule for each file field and kind of event. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from dropcap.config.model import REQUESTS_PER_MINUTE
from dropcap.display import shown
from dropcap.redcap.project import ProjectStructure
from dropcap.routing.rule import NEXT

_LONGEST_LABEL = 60

#: (word, event) for each event that stands in names of a rule.
Words = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the person chose; the rest comes from the project. Paths are text as it shall stand in the file."""

    project_name: str
    url: str
    token_file: str
    folder_name: str
    folder: str
    state_dir: str | None  # None: the file is one that another includes
    way: dict[str, str] = field(default_factory=dict)  # further keys of the project: how its server is reached
    tables_taken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProposedRule:
    """One rule. `events` are those at which files of this field may land; none in a classic project.

    `words` are what stands for them in names: none where there is one event, and no other rule of the field leads to another.
    """

    name: str
    field: str
    label: str
    events: tuple[str, ...]
    repeats: bool
    words: Words = ()


def proposed_rules(structure: ProjectStructure) -> list[ProposedRule]:
    """One rule for each file field; two where its form repeats at some events and not at others.

    Names that the two match have the event in them, also where each leads to one event alone: else a mere `-2` behind the
    name would decide to which event a file goes.
    """
    rules: list[ProposedRule] = []
    for name in structure.file_fields():
        info = structure.fields[name]
        label = _plain(info.label)
        if not structure.longitudinal:
            rules.append(ProposedRule(name, name, label, (), structure.repeats(None, info.form)))
            continue
        at = [event for event in structure.events if structure.is_designated(event, info.form)]
        once = tuple(event for event in at if not structure.repeats(event, info.form))
        again = tuple(event for event in at if structure.repeats(event, info.form))
        words = event_words(at) if len(at) > 1 else {}
        for events, repeats in ((once, False), (again, True)):
            if events:
                called = f"{name} (repeating)" if once and repeats else name
                own = tuple((word, event) for word, event in words.items() if event in events)
                rules.append(ProposedRule(called, name, label, events, repeats, own))
    return rules


def record_type(records: Sequence[str]) -> str:
    """The type of capture that the names of a project's records allow."""
    for kind, allowed in (("digits", r"[0-9]+"), ("alnum", r"[0-9A-Za-z]+")):
        if records and all(re.fullmatch(allowed, record) for record in records):
            return kind
    return "word"


def event_words(events: Sequence[str]) -> dict[str, str]:
    """A short word for each unique event name: `month_6_arm_1` -> `month6`; with the arm where that alone is not one."""
    short = {event: re.sub(r"_arm_\d+$", "", event).replace("_", "") for event in events}
    arms = {event: found.group(1) if (found := re.search(r"_arm_(\d+[a-z]?)$", event)) else "" for event in events}
    words: dict[str, str] = {}
    for event in events:
        shared = sum(word == short[event] for word in short.values()) > 1
        word = f"{short[event]}-arm{arms[event]}" if shared else short[event]
        words[word if word not in words else event.replace("_", "-")] = event
    return words


#: A made-up record for each type of capture: the names of real ones do not belong in a configuration.
_EXAMPLES = {"digits": "101", "alnum": "A101", "word": "A-101"}


def config_text(proposal: Proposal, structure: ProjectStructure, records: Sequence[str], version: str) -> str:
    """The whole file, with comments. The project has at least one file field at an event."""
    rules = proposed_rules(structure)
    tables = _tables(rules, proposal.tables_taken)
    lines = [*_head(proposal), *_table_lines(tables), *_project(proposal, structure, version), *_folder(proposal)]
    for rule in rules:
        lines += _rule(rule, tables, record_type(records))
    return "\n".join(lines) + "\n"


def _tables(rules: Sequence[ProposedRule], taken: Collection[str]) -> dict[Words, str]:
    """A table for each set of events that stand in names: a field must not be offered events that it is not at."""
    sets = dict.fromkeys(rule.words for rule in rules if rule.words)
    names = (name for number in count(1) if (name := "visits" if number == 1 else f"visits_{number}") not in taken)
    return dict(zip(sets, names, strict=False))


def _head(proposal: Proposal) -> Iterator[str]:
    yield "# dropcap: configuration, proposed by `dropcap init` from the project's structure."
    yield "# Change what differs, then: dropcap check; and try names with: dropcap explain NAME"
    yield ""
    if proposal.state_dir is None:
        return
    yield "# Ledger, request windows, lock and control socket. On a local disk, not on a share."
    yield f"state_dir: {_quoted(proposal.state_dir)}"
    yield "# Several hosts may share a ledger on PostgreSQL: docs/several-hosts.md"
    yield "# ledger: postgresql://USER@HOST/DATABASE?sslmode=verify-full"
    yield ""
    yield "# Whom people ask: shown beside failed files and on each folder's status page."
    yield '# contact: "Data desk, ext. 4711"'
    yield ""


def _table_lines(tables: dict[Words, str]) -> Iterator[str]:
    if not tables:
        return
    yield "# Words in file names -> events in REDCap. Choose the words that people use."
    yield "tables:"
    for words, table in tables.items():
        yield f"  {table}:"
        yield from (f"    {_quoted(word)}: {_quoted(event)}" for word, event in words)
    yield ""


def _project(proposal: Proposal, structure: ProjectStructure, version: str) -> Iterator[str]:
    info = structure.project
    yield "projects:"
    yield f"  # {_plain(info.title)}; REDCap {version}"
    yield f"  {_quoted(proposal.project_name)}:"
    yield f"    url: {_quoted(proposal.url)}"
    yield "    # The file holds the project's API token and nothing else, with mode 0600."
    yield f"    token_file: {_quoted(proposal.token_file)}"
    yield f"    project_id: {info.project_id}   # the token of another project is refused"
    yield from (f"    {key}: {_quoted(value)}" for key, value in proposal.way.items())
    yield f"    # requests_per_minute: {REQUESTS_PER_MINUTE}   # per host; dropcap check says what to ask before you raise it"
    yield ""


def _folder(proposal: Proposal) -> Iterator[str]:
    yield "folders:"
    yield f"  {_quoted(proposal.folder_name)}:"
    yield f"    path: {_quoted(proposal.folder)}"
    yield f"    project: {_quoted(proposal.project_name)}"
    yield "    # existing_file: preserve   # the field holds a file already: preserve (a copy is kept) | replace | refuse"
    yield "    # confirm: readback         # called done when: readback (exported again, the same bytes) | listed | none"
    yield "    # missing_record: refuse    # no such record: refuse | wait | create"
    yield "    # A file is taken once it has not changed for so long: where it is known that nobody has it open, and elsewhere"
    yield "    # (network shares). A scanner may close a file after each page: shorten these only for folders whose writers"
    yield "    # rename whole files into them or write each in one go, to 1s and 10s, say."
    yield "    # settle_closed: 5s"
    yield "    # settle_quiet: 15s"
    yield "    rules:   # the first that matches wins"


def _rule(rule: ProposedRule, tables: dict[Words, str], kind: str) -> Iterator[str]:
    record = _EXAMPLES[kind]
    table = tables.get(rule.words)
    visit = f"_{{visit:{table}}}" if table else ""
    # `-` and what follows tells several files of one form apart; no field name has a `-`.
    pattern = f"{{record:{kind}}}{visit}_{rule.field}{'[-*]' if rule.repeats else ''}.*"
    word, event = rule.words[0] if table else ("", rule.events[0] if rule.events else "")
    example = "_".join(part for part in (record, word, rule.field) if part) + ("-2.pdf" if rule.repeats else ".pdf")
    goal = f"record {record}" + (f", event {event}" if event else "") + f", field {rule.field}"
    yield f"      # {rule.label}" if rule.label else f"      # {rule.field}"
    yield f"      # {shown(example)} -> {shown(goal)}" + (", a new instance" if rule.repeats else "")
    yield f"      - name: {_quoted(rule.name)}"
    yield f"        pattern: {_quoted(pattern)}"
    if rule.events:
        yield f"        event: {_quoted(f'{{visit|{table}}}' if table else event)}"
    yield f"        field: {rule.field}"
    if rule.repeats:
        yield f"        instance: {NEXT}"


def _quoted(text: str) -> str:
    """A YAML scalar: JSON's strings are among YAML's, and need none of its rules about plain ones."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else json.dumps(text)


def _plain(text: str) -> str:
    """A label as it can stand in a comment: one line, without markup."""
    line = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return shown(line if len(line) <= _LONGEST_LABEL else line[: _LONGEST_LABEL - 1] + "…")
