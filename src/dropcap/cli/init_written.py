"""What `dropcap init` writes, and for which account. Nothing is written over.

The configuration is proposed from the project's structure: one rule for each file field and kind of event.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import grp
import json
import os
import pwd
import re
import struct
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import click

from dropcap.cli import screen
from dropcap.cli.configured import stop
from dropcap.config.document import read_document
from dropcap.config.load import load
from dropcap.config.model import REQUESTS_PER_MINUTE, Config
from dropcap.display import shown
from dropcap.preflight.machine import DROPPERS, ServiceUnit, giving
from dropcap.redcap.client import ProjectStructure
from dropcap.routing.rule import NEXT
from dropcap.secret import Token

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
    connection: dict[str, str] = field(default_factory=dict)  # further keys of the project: how its server is reached
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
    yield from (f"    {key}: {_quoted(value)}" for key, value in proposal.connection.items())
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


#: The service's account (deploy/dropcap.sysusers).
USER = "dropcap"
_DEFAULT_ACL = "system.posix_acl_default"
_ACL_VERSION, _NOBODY = 2, 0xFFFFFFFF
_OWNER, _GROUP_OF_FILE, _GROUP, _MASK, _OTHERS = 0x01, 0x04, 0x08, 0x10, 0x20


@dataclass(frozen=True, slots=True)
class Account:
    """Numbers of the service's user and its group, and of the group of those who drop files (its own, if there is none)."""

    user: int
    group: int
    droppers: int

    @classmethod
    def here(cls) -> Account | None:
        """The service's account, if root asks and the account is there."""
        if os.geteuid() != 0:
            return None
        try:
            user = pwd.getpwnam(USER)
        except KeyError:
            return None
        droppers = user.pw_gid
        with contextlib.suppress(KeyError):
            droppers = grp.getgrnam(DROPPERS).gr_gid
        return cls(user.pw_uid, user.pw_gid, droppers)

    def give_folder(self, path: Path) -> None:
        """A drop folder that was just made: setgid, with a default ACL by which the group may read and write what others make."""
        os.chown(path, self.user, self.droppers)
        os.chmod(path, 0o2770)
        entries = [
            (_OWNER, 7, _NOBODY),
            (_GROUP_OF_FILE, 7, _NOBODY),
            (_GROUP, 7, self.droppers),
            (_MASK, 7, _NOBODY),
            (_OTHERS, 0, _NOBODY),
        ]
        acl = struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        try:
            os.setxattr(path, _DEFAULT_ACL, acl)
        except OSError as error:
            told = f"{shown(str(path))} got no default ACL ({error.strerror})"
            click.echo(f"{told}: dropcap may not be able to read what others drop there", err=True)

    def give_secret(self, path: Path) -> None:
        """A file that the service alone reads."""
        os.chown(path, self.user, self.group)

    def give_configuration(self, path: Path) -> None:
        """Files that the service reads and cannot change, and that nobody else reads."""
        os.chown(path, 0, self.group)
        os.chmod(path, 0o640)


def left_to_do(account: Account | None, folder: Path, config: Path, token: Path) -> Iterator[str]:
    """What nobody but a person can do, a line each."""
    if account is None:
        yield 'give the drop folder, the token and the configuration to dropcap\'s user (README, "On a server")'
    elif folder.stat().st_uid != account.user and folder.stat().st_gid not in os.getgrouplist(USER, account.group):
        if folder.stat().st_gid == 0:
            yield f"give the drop folder, which was there before, to dropcap's user: {giving(folder, USER)}"
        else:
            yield f"let dropcap's user in: {shown(str(folder))} was there before and belongs to others"
    if account is not None and token.stat().st_uid != account.user:
        yield f"let dropcap's user, and nobody else, read the token: chown {USER}: {shown(str(token))}"
    unit = ServiceUnit.installed()
    if unit is not None and not any(folder.is_relative_to(place) for place in unit.writable):
        yield f"let the service write there: `ReadWritePaths=-{shown(str(folder))}` in [Service], by `systemctl edit dropcap`"
    if account is not None and account.droppers != account.group:
        yield f"let people in who drop files: usermod -aG {DROPPERS} NAME; they log in anew then"
    as_user = "" if account is None else f"runuser -u {USER} -- "
    yield f"look through {shown(str(config))}, then: {as_user}dropcap check -c {shown(str(config))}"
    if unit is not None:
        yield "start it: systemctl enable --now dropcap (where it runs already: dropcap reload)"


#: Where further files go, beside a configuration that includes none yet.
_BESIDE = "conf.d"


@dataclass(frozen=True, slots=True)
class Existing:
    """A configuration that is there, to which a project is added."""

    path: Path
    config: Config

    @classmethod
    def read(cls, path: Path) -> Existing:
        """The configuration in `path`, or the end with exit code 2: it is not there, or has mistakes of its own."""
        path = path.absolute()
        if not path.exists():
            stop(f"there is no configuration {shown(str(path))} to add to: name it with -c, or leave out --add", 2)
        config = load(path)
        for problem in config.reported:
            screen.line(str(problem), err=True)
        if config.problems:
            stop(f"{shown(str(path))} has mistakes: correct what is said above, then add to it", 2)
        return cls(path, config)

    @property
    def projects(self) -> Iterable[str]:
        return self.config.projects

    @property
    def tables(self) -> frozenset[str]:
        return frozenset(self.config.tables)

    @property
    def places(self) -> dict[str, Path]:
        """What a new drop folder must not overlap with."""
        folders = {f"the drop folder of {name}": folder.path for name, folder in self.config.folders.items()}
        return {"state_dir": self.config.state_dir, **folders}

    def lacks(self, url: str, project_id: int) -> None:
        """The end with exit code 2 if this REDCap project is in the configuration already."""
        for name, project in self.config.projects.items():
            if project.project_id == project_id and (urlsplit(project.url).hostname == urlsplit(url).hostname):
                stop(f"the configuration has this project already, as `{name}`: add a folder to it in the file", 2)

    def free_folder_name(self, wanted: str) -> str:
        """`wanted`, or the first name like it that no folder has."""
        names = (wanted, *(f"{wanted}-{number}" for number in range(2, 10_000)))
        return next(name for name in names if name not in self.config.folders)

    def file_for(self, project: str) -> Path:
        """The new file for a project: where the configuration looks for further ones, if it does, else in conf.d beside it."""
        file_name = f"{project.replace(' ', '-')}.yaml"
        for pattern in self._includes():
            path = self.path.parent / Path(pattern).parent / file_name
            if fnmatch.fnmatch(file_name, Path(pattern).name) and not os.path.lexists(path):
                return path
        if self._includes():
            told = f"`include` in {shown(str(self.path))} matches no file called {shown(file_name)}"
            stop(f"{told}: add {_BESIDE}/*.yaml to it, then try again", 2)
        return self.path.parent / _BESIDE / file_name

    def _includes(self) -> list[str]:
        """The entries of `include` as they stand in the file."""
        root = read_document(os.fspath(self.path), [])
        node = root.section().get("include") if root is not None else None
        if node is None:
            return []
        return [text for entry in (node.items() or [node]) if (text := entry.text())]

    def add(self, target: Path, text: str, project: str, account: Account | None, undo: ExitStack) -> list[str]:
        """Write the project's file, and have the configuration include it, if that makes a sound whole; what to say of it."""
        if not target.parent.is_dir():
            target.parent.mkdir(0o755)
            undo.callback(_take_back, target.parent)
        write_new(target, text, 0o644, undo)
        if account is not None:
            account.give_configuration(target)
        line = self._line()
        whole = self._tried(line)
        more = {*whole.projects, *whole.folders} - {*self.config.projects, *self.config.folders, *load(target).folders, project}
        if more:  # conf.d held files that nobody included so far
            screen.line(f"{shown(str(target.parent))} holds more than this project: {', '.join(sorted(more))}", err=True)
        if whole.problems or more or project not in whole.projects:
            for problem in whole.reported:
                screen.line(str(problem), err=True)
            stop(f"the project could not be added to {shown(str(self.path))}, which is as it was", 2)
        main = shown(str(self.path))
        told = [f"wrote {shown(str(target))}; look through it, then: dropcap check -c {main}; dropcap reload -c {main}"]
        if line:
            undo.callback(_take_back, self.path, self.path.stat().st_size)
            with _named(self.path), open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            told.insert(0, f"added to {main}: {line.strip()}")
        return told

    def _line(self) -> str:
        """What the configuration lacks to include the new file; nothing if it does."""
        if self._includes():  # and that takes it in: `file_for` chose it so
            return ""
        text = self.path.read_text(encoding="utf-8")
        return ("" if text.endswith("\n") else "\n") + f"include: {_BESIDE}/*.yaml\n"

    def _tried(self, line: str) -> Config:
        """The configuration with one line more, as it would be read."""
        if not line:
            return load(self.path)
        with (
            _named(self.path),
            tempfile.NamedTemporaryFile(
                "w", dir=self.path.parent, prefix=".dropcap-init-", suffix=".new", encoding="utf-8"
            ) as file,
        ):
            file.write(self.path.read_text(encoding="utf-8") + line)
            file.flush()
            return load(Path(file.name))


@contextmanager
def all_or_nothing() -> Iterator[ExitStack]:
    """Undoes what was made if it goes no further, for a refusal, a full disk or Ctrl-C."""
    with ExitStack() as undo:
        try:
            yield undo
        except OSError as error:
            stop(f"{shown(str(error.filename))} cannot be written ({error.strerror}): see to that, or name another place", 2)
        undo.pop_all()


def _take_back(path: Path, size: int = 0) -> None:
    """Remove what was made; of a file that was there before, what was put behind its first `size` bytes."""
    with suppress(OSError):  # a folder in which somebody has put something by now stays
        if size:
            os.truncate(path, size)
        elif path.is_dir():
            path.rmdir()
        else:
            path.unlink()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An OSError within names the file."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def obstacle(path: Path) -> str | None:
    """Why nothing new can be made under that name, in the system's words; None if it seems that it can."""
    if os.path.lexists(path):
        return os.strerror(errno.EEXIST)
    if not path.parent.is_dir():
        return os.strerror(errno.ENOENT)
    return None if os.access(path.parent, os.W_OK | os.X_OK) else os.strerror(errno.EACCES)


def token_beside(config: Path | None, project: str) -> Path:
    """The new file for a token that was typed, beside the configuration; the end with exit code 2 if it is there."""
    assert config is not None
    path = config.with_name(f"{project.replace(' ', '-')}.token")
    if os.path.lexists(path):
        remedy = "name it with --token-file if it holds this token, else move it away, or name the project otherwise"
        stop(f"{shown(str(path))} exists already and is not written over: {remedy}", 2)
    return path


def keep_token(token: Token, path: Path, account: Account | None, undo: ExitStack) -> str:
    """Write a token that was typed, for the service's account; what to say of it."""
    write_new(path, token.reveal() + "\n", 0o600, undo)
    if account is not None:
        account.give_secret(path)
    whose = "dropcap's user" if account is not None else "this user"
    return f"wrote the token to {shown(str(path))}, for {whose} alone"


def make_folder(path: Path, account: Account | None, undo: ExitStack) -> str:
    """Make the drop folder, for the service's account; what to say of it."""
    path.mkdir(0o770)
    undo.callback(_take_back, path)
    if account is not None:
        account.give_folder(path)
    return f"made the folder {shown(str(path))}"


def write(target: Path, text: str, account: Account | None, undo: ExitStack) -> str:
    """Write the configuration; what to say of it."""
    write_new(target, text, 0o644, undo)
    if account is not None:
        account.give_configuration(target)
    return f"wrote {shown(str(target))}"


def write_new(path: Path, text: str, mode: int, undo: ExitStack) -> None:
    """Write a file that is not there yet, or the end with exit code 2. Raises OSError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    except FileExistsError:
        stop(f"{shown(str(path))} exists already and is not written over: move it away, or name another", 2)
    undo.callback(_take_back, path)
    with _named(path), open(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
