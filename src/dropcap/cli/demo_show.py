"""What the demo shows: the main job with the real daemon, in a temporary folder; what is dropped, what the daemon says of it, and
what REDCap holds in the end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import secrets
import shlex
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from dropcap.child import command
from dropcap.reasons import Reason
from dropcap.threads import begin
from redcap_sandbox import Sandbox, demo_project

#: Seconds after which something that should happen is taken not to.
PATIENCE = 30.0

#: Outcomes of a file that is not stored.
WHY = frozenset({Reason.NO_RULE, Reason.NO_RECORD})

#: record, event, field, instance
Place = tuple[str, str, str, int | None]


@dataclass(frozen=True, slots=True)
class Step:
    """Some files dropped together.

    `outcomes` are the `result` or the `reason` for each file, `holds` what REDCap has afterwards. `rename` renames a file
    in failed/ first; `until` names the event to wait for before the next file is dropped.
    """

    title: str
    files: Mapping[str, bytes]
    outcomes: Mapping[str, str]
    holds: Mapping[Place, bytes] = field(default_factory=dict)
    rename: tuple[str, str] | None = None
    until: Mapping[str, str] = field(default_factory=dict)


def _file(label: str, size: int) -> bytes:
    """Some bytes, the same each time and different for each label."""
    return b"%PDF-1.7 " + (label.encode() + b"\n") * (size // (len(label) + 1))


OLD_CONSENT = _file("consent of 101, first version", 12_000)
NEW_CONSENT = _file("consent of 101, corrected version", 13_500)
_MONTH_6 = _file("consent of 101 at month 6", 9_000)
_LABS = (_file("first sample of 102", 48_000), _file("second sample of 102", 2_000_000))
_TYPO = _file("consent of 103", 11_000)

STORY: tuple[Step, ...] = (
    Step(
        "A consent form for each of two visits",
        {"101_V1_consent.pdf": OLD_CONSENT, "101_V2_consent.pdf": _MONTH_6},
        {"101_V1_consent.pdf": "stored", "101_V2_consent.pdf": "stored"},
        {("101", "baseline_arm_1", "consent_pdf", None): OLD_CONSENT, ("101", "month_6_arm_1", "consent_pdf", None): _MONTH_6},
    ),
    Step(
        "Two reports for a repeating instrument",
        {"102_V1_lab_a.pdf": _LABS[0], "102_V1_lab_b.pdf": _LABS[1]},
        {"102_V1_lab_a.pdf": "stored", "102_V1_lab_b.pdf": "stored"},
        {("102", "baseline_arm_1", "lab_report", 1): _LABS[0], ("102", "baseline_arm_1", "lab_report", 2): _LABS[1]},
        until={"102_V1_lab_a.pdf": "done"},
    ),
    Step(
        "A typing error in a name, and a record that does not exist",
        {"103_V1_consnet.pdf": _TYPO, "999_V1_consent.pdf": _file("consent of nobody", 8_000)},
        {"103_V1_consnet.pdf": Reason.NO_RULE, "999_V1_consent.pdf": Reason.NO_RECORD},
    ),
    Step(
        "The typing error is put right: renamed within failed/",
        {},
        {"103_V1_consent.pdf": "stored"},
        {("103", "baseline_arm_1", "consent_pdf", None): _TYPO},
        rename=("103_V1_consnet.pdf", "103_V1_consent.pdf"),
    ),
    Step(
        "A corrected version of the first consent form",
        {"101_V1_consent.pdf": NEW_CONSENT},
        {"101_V1_consent.pdf": "replaced"},
        {("101", "baseline_arm_1", "consent_pdf", None): NEW_CONSENT},
    ),
)

_CONFIG = """\
# The demo's configuration. config.example.yaml shows everything that there is.
state_dir: {state_dir}
contact: "Data desk, ext. 4711"
log: {{format: json}}
tables:
  visits: {{V1: baseline_arm_1, V2: month_6_arm_1}}
projects:
  trial:
    url: {url}
    token_file: {token_file}
folders:
  consents:
    path: {drop}
    project: trial
    settle_closed: 200ms     # default: 5s
    settle_quiet: 1s         # default: 15s
    min_free: 0
    rules:
      - name: consent
        pattern: "{{record:digits}}_{{visit:visits}}_consent.pdf"
        event: "{{visit|visits}}"
        field: consent_pdf
      - name: lab
        pattern: "{{record:digits}}_{{visit:visits}}_lab_*.pdf"
        event: "{{visit|visits}}"
        field: lab_report
        instance: next
"""

_INDENT = 20
_COLOURS = {
    "done": "green",
    "dropped": "bold",
    "failed": "red",
    "paused": "yellow",
    "resumed": "cyan",
    "retrying": "yellow",
}
#: Where the page is, if that is free.
_PORT = 8750
_DOWN = json.dumps({"kind": "maintenance", "times": 3})
_LIBRARIES = ("starlette", "uvicorn", "jinja2", "prometheus_client")
#: systemd's, should the demo be run by it: they are not meant for this daemon.
_NOT_OURS = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "DROPCAP_CONFIG"})


class NotSeenError(Exception):
    """The daemon did not do what it should have done."""


def show_demo(root: Path, stays: bool) -> list[str]:
    """Play the whole story in `root`, an empty directory, and go on until Ctrl-C if it `stays`; what was not as it should be."""
    with Sandbox(demo_project()) as box:
        return _Show(root, box, stays).run()


class _Show:
    """One story, told from when it is made. The daemon is a child process, whose log is read as it is written."""

    def __init__(self, root: Path, box: Sandbox, stays: bool) -> None:
        self._root = root
        self._box = box
        self._stays = stays
        self._drop = root / "consents"
        self._config = root / "config.yaml"
        self._log_file = root / "dropcap.log"
        self._env = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
        self._console = Console(highlight=False, soft_wrap=True)
        self._width = min(self._console.width, 100)
        self._began = time.monotonic()
        self._wrong: list[str] = []
        self._unread: queue.Queue[Mapping[str, Any] | None] = queue.Queue()  # lines of the log; None at its end
        self._seen: list[Mapping[str, Any]] = []

    def run(self) -> list[str]:
        """Everything in its order; what was not as it should be."""
        self._drop.mkdir()
        _write_config(self._root, self._drop, self._box, _page_section(self._root) if self._stays else "")
        self._console.print(Text("dropcap demo", "bold"), f"in {self._root}")
        self._console.print(f"A sandbox REDCap at {self._box.url} holds a made-up trial.")
        daemon = subprocess.Popen(
            command("dropcap.cli", "run", "-c", str(self._config)),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        reader = begin(self._read, "log of the daemon", daemon)
        try:
            self._scenes(daemon)
        finally:
            if daemon.poll() is None:  # Ctrl-C has reached it as well; asked a second time, it lets no upload end
                _ended(daemon, 10)
            reader.join(5)
        if not self._stays:
            self._verdict()
        return self._wrong

    def _scenes(self, daemon: subprocess.Popen[str]) -> None:
        try:
            self._wait_for("ready")
            self._title("dropcap run: the daemon is watching the folder")
            for step in STORY:
                self._play(step)
        except NotSeenError as error:
            self._wrong.append(str(error))
        self._show_folder()
        self._show_why()
        self._show_holdings()
        self._show_status()
        if self._stays:
            self._verdict()
            self._stay(daemon)
        self._title("SIGTERM: the daemon ends")
        code = _ended(daemon, PATIENCE)
        self._line("stopped", "dropcap run", f"exit code {code}")
        self._check(code == 0, f"the daemon ended with exit code {code} instead of 0")

    # The daemon's log

    def _read(self, daemon: subprocess.Popen[str]) -> None:
        assert daemon.stderr is not None
        with open(self._log_file, "w", encoding="utf-8") as kept:
            for text in daemon.stderr:
                kept.write(text)
                with contextlib.suppress(ValueError):
                    line = json.loads(text)
                    if isinstance(line, dict) and "event" in line:
                        self._unread.put(line)
        self._unread.put(None)

    def _wait_for(self, event: str, name: str = "", since: int = 0) -> Mapping[str, Any]:
        """The first line of `event` behind so many, about the file `name` if it is about a file; lines are shown on the way.

        Raises:
            NotSeenError: there is none in time, or the daemon ended.
        """
        end = time.monotonic() + PATIENCE
        while True:
            for line in self._seen[since:]:
                if line["event"] == event and line.get("file", name) == name:
                    return line
            since = len(self._seen)
            try:
                self._take_in(self._unread.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                of = f" of {name}" if name else ""
                raise NotSeenError(f"the daemon's log did not mention `{event}`{of} within {PATIENCE:g} s") from None

    def _take_in(self, line: Mapping[str, Any] | None) -> None:
        """Remember a line of the log, and show it if people want to see it."""
        if line is None:
            raise NotSeenError(f"the daemon ended by itself; its log: {self._log_file}")
        self._seen.append(line)
        name = str(line.get("file", ""))
        match line["event"]:
            case "done":
                self._line("done", name, f"{_place(line)}: {line['result']} ({line['confirmed']})")
            case "failed":
                self._line("failed", name, f"{line['reason']}: {line['message']}")
            case "preserved":
                self._line("preserved", name, "a copy of what REDCap held is kept, where nobody on the share can read it")
            case "retrying":
                self._line("retrying", name, f"in {line['in_seconds']:g} s: {line['message']}")
            case "paused":
                self._line("paused", f"{line['scope']} {line['name']}", str(line["message"]))
            case "resumed":
                self._line("resumed", f"{line['scope']} {line['name']}")

    # What is shown

    def _title(self, title: str) -> None:
        self._console.print()
        self._console.print(Text(title, "bold cyan"))

    def _line(self, event: str, name: str, detail: str = "") -> None:
        text = Text().append(f" {time.monotonic() - self._began:5.2f} s  ", "dim")
        text.append(f"{event:<{_INDENT - 10}}", _COLOURS.get(event, ""))
        text.append(name)
        self._console.print(text)
        for piece in textwrap.wrap(detail, self._width - _INDENT, break_long_words=False, break_on_hyphens=False):
            self._console.print(Text(" " * _INDENT + piece))

    def _check(self, true: bool, otherwise: str) -> None:
        if not true:
            self._wrong.append(otherwise)

    def _play(self, step: Step) -> None:
        while not self._unread.empty():
            self._take_in(self._unread.get())
        since = len(self._seen)
        self._title(step.title)
        if step.rename:
            old, new = step.rename
            self._line("renamed", f"{old} to {new}")
            (self._drop / "failed" / old).rename(self._drop / "failed" / new)
        for name, content in step.files.items():
            # Beside the folder first, then into it whole: what a careful program does.
            beside = self._root / "being-written"
            beside.write_bytes(content)
            self._line("dropped", name)
            beside.rename(self._drop / name)
            if name in step.until:
                self._wait_for(step.until[name], name, since)
        for name, outcome in step.outcomes.items():
            event = "failed" if outcome in WHY else "done"
            line = self._wait_for(event, name, since)
            told = str(line.get("reason") if event == "failed" else line.get("result"))
            self._check(told == outcome, f"{name} came out as {told} instead of {outcome}")

    def _show_folder(self) -> None:
        self._title("The folder now")
        tree = Tree("consents/", guide_style="dim")
        branches: dict[Path, Tree] = {self._drop: tree}
        for path in sorted(self._drop.rglob("*")):
            name = f"{path.name}/" if path.is_dir() else path.name
            branches[path] = branches[path.parent].add(Text(name, "bold" if path.is_dir() else ""))
        self._console.print(tree)

    def _show_why(self) -> None:
        path = self._drop / "failed" / f"{_failed_at_last()}.why.txt"
        self._title(f"failed/{path.name}")
        if path.is_file():
            self._console.print(Text(path.read_text(encoding="utf-8").replace("\r\n", "\n").strip()))
        else:
            self._check(False, f"{path.name} is not there")

    def _show_holdings(self) -> None:
        """What REDCap holds, by record, event, field and instance, beside what it should; and the one copy that is kept."""
        self._title("What REDCap holds, compared byte for byte with what was dropped")
        missing = {place: content for step in STORY for place, content in step.holds.items()}
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("record", "event", "field", "instance", "bytes", ""):
            table.add_column(column, justify="right" if column in ("instance", "bytes") else "left", no_wrap=True)
        for held in self._box.holdings():
            place = (held.record, held.event, held.field, held.instance)
            there = self._box.content(held.record, held.field, held.event, held.instance)
            same = there == missing.pop(place, None)
            self._check(same, f"record {held.record}, {held.event}, {held.field} does not hold what was dropped")
            word = Text("same bytes", "green") if same else Text("DIFFERENT", "red")
            table.add_row(held.record, held.event, held.field, str(held.instance or ""), str(held.size), word)
        self._console.print(table)
        for record, event, field_, _ in missing:
            self._check(False, f"record {record}, {event} has no file in {field_}")
        kept = (self._root / "state" / "preserved" / "consents").glob("*/*")
        copies = [path.read_bytes() for path in kept if path.suffix != ".json"]
        self._check(copies == [OLD_CONSENT], "no copy of the file that was replaced, and that alone, is kept")

    def _show_status(self) -> None:
        self._title("dropcap status")
        told = self._command("status")
        self._console.print(Text(told))
        self._check(_failed_at_last() in told, "status does not name the failed file")

    def _verdict(self) -> None:
        dropped = sum(len(step.files) for step in STORY)
        sent = sum((request.content, request.action) == ("file", "import") for request in self._box.requests)
        stored = sum(outcome not in WHY for step in STORY for outcome in step.outcomes.values())
        self._check(sent == stored, f"{sent} files were sent to REDCap instead of {stored}")
        self._title("In the end")
        for text in self._wrong:
            self._console.print(Text(f"WRONG: {text}", "red"))
        if not self._wrong:
            well = f"All as it should be: {dropped} dropped, {stored} stored (each sent once), 1 failed, explained."
            self._console.print(Text(well, "green"))
            self._console.print("next: dropcap init")

    # With --stay

    def _stay(self, daemon: subprocess.Popen[str]) -> None:
        """Say what to try, and wait for Ctrl-C or the daemon's end."""
        config = shlex.quote(str(self._config))
        python = shlex.quote(sys.executable or "python3")
        dropcap = f"{python} -m dropcap"
        where = shlex.quote(str(self._drop))
        sandbox = self._box.url.partition("/api")[0]
        click.echo("\nIt goes on until Ctrl-C. Things to try, in another terminal:\n")
        two = (f"echo hello > {where}/{name}" for name in ("106_V1_consent.pdf", "106_V9_consent.pdf"))
        tries = {
            "Drop a file, and one whose name is wrong": "; ".join(two),
            "See what is so": f"{dropcap} status -c {config}",
            "Let REDCap be down for three requests": f"curl {sandbox}/_sandbox/ill -d {shlex.quote(_DOWN)}",
            "Change the rules, then have them taken up": f"$EDITOR {config}; {dropcap} reload -c {config}",
            "Read the log": f"tail -f {shlex.quote(str(self._log_file))}",
        }
        if (self._root / "page-secret").exists():
            link = self._command("dashboard", "--link")
            click.echo(f"  The operator's page; this link is good once, for a minute\n    {link}")
            tries = {"Another link": f"{dropcap} dashboard --link -c {config}"} | tries
        else:
            click.echo(f"  The operator's page needs more: {python} -m pip install 'dropcap-redcap[web]'")
        for what, how in tries.items():
            click.echo(f"  {what}\n    {how}")
        click.echo(f"\nThe folder: {self._drop}")
        sys.stdout.flush()
        try:
            daemon.wait()
        except KeyboardInterrupt:
            return
        self._wrong.append("the daemon ended")
        self._console.print(Text("WRONG: the daemon ended", "red"))

    def _command(self, *words: str) -> str:
        """What another command, with the same configuration, prints."""
        done = subprocess.run(
            command("dropcap.cli", *words, "-c", str(self._config)),
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=30,
        )
        return done.stdout.rstrip()


def _ended(daemon: subprocess.Popen[str], patience: float) -> int:
    """End it with SIGTERM, or as the death of its machine would after so many seconds; its exit code."""
    daemon.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        return daemon.wait(patience)
    daemon.kill()
    return daemon.wait()


def _failed_at_last() -> str:
    """The one file that fails and is not put right."""
    renamed = [step.rename[0] for step in STORY if step.rename]
    (name,) = (n for step in STORY for n, outcome in step.outcomes.items() if outcome in WHY and n not in renamed)
    return name


def _place(line: Mapping[str, Any]) -> str:
    instance = f" #{line['instance']}" if line.get("instance") else ""
    return f"record {line['record']}, {line['redcap_event']}, {line['field']}{instance}"


def _write_config(root: Path, drop: Path, box: Sandbox, more: str) -> None:
    """A token file and the configuration in `root`, with `more` sections."""
    token_file = root / "token"
    _write_private(token_file, box.token)
    # JSON strings are YAML strings, whatever the temporary folder is called.
    paths = {"state_dir": root / "state", "drop": drop, "token_file": token_file}
    text = _CONFIG.format(url=box.url, **{name: json.dumps(str(path)) for name, path in paths.items()})
    (root / "config.yaml").write_text(text + more, encoding="utf-8")


def _page_section(root: Path) -> str:
    """The configuration's section of the page, with a secret of its own; empty where its libraries are missing."""
    if any(importlib.util.find_spec(name) is None for name in _LIBRARIES):
        return ""
    secret = root / "page-secret"
    _write_private(secret, secrets.token_urlsafe(18))
    return f"dashboard: {{listen: '127.0.0.1:{_free_port()}', secret_file: {json.dumps(str(secret))}}}\n"


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)


def _free_port() -> int:
    for port in (_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)) as free:
            return int(free.getsockname()[1])
    return _PORT
