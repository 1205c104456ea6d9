"""How the demo tells its story: titles, a line for each thing that happens, and what was not as it should be."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from redcap_sandbox import Sandbox

_INDENT = 20
_COLOURS = {
    "done": "green",
    "dropped": "bold",
    "failed": "red",
    "paused": "yellow",
    "resumed": "cyan",
    "retrying": "yellow",
}


class Telling:
    """One story, told from when it is made. `wrong`: what was not as it should be so far."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.wrong: list[str] = []
        self._width = min(self.console.width, 100)
        self._began = time.monotonic()

    def title(self, title: str) -> None:
        """Another chapter begins."""
        self.console.print()
        self.console.print(Text(title, "bold cyan"))

    def line(self, event: str, name: str, detail: str = "") -> None:
        """Something happened."""
        text = Text().append(f" {time.monotonic() - self._began:5.2f} s  ", "dim")
        text.append(f"{event:<{_INDENT - 10}}", _COLOURS.get(event, ""))
        text.append(name)
        self.console.print(text)
        for piece in textwrap.wrap(detail, self._width - _INDENT, break_long_words=False, break_on_hyphens=False):
            self.console.print(Text(" " * _INDENT + piece))

    def check(self, true: bool, otherwise: str) -> None:
        """Remember what is wrong unless it is `true`."""
        if not true:
            self.wrong.append(otherwise)

    def log_line(self, line: Mapping[str, Any]) -> None:
        """Show one line of the daemon's log, if people want to see it."""
        name = str(line.get("file", ""))
        match line["event"]:
            case "done":
                self.line("done", name, f"{_place(line)}: {line['result']} ({line['confirmed']})")
            case "failed":
                self.line("failed", name, f"{line['reason']}: {line['message']}")
            case "preserved":
                self.line("preserved", name, "a copy of what REDCap held is kept, where nobody on the share can read it")
            case "retrying":
                self.line("retrying", name, f"in {line['in_seconds']:g} s: {line['message']}")
            case "paused":
                self.line("paused", f"{line['scope']} {line['name']}", str(line["message"]))
            case "resumed":
                self.line("resumed", f"{line['scope']} {line['name']}")

    def holdings(self, box: Sandbox, wanted: Mapping[tuple[str, str, str, int | None], bytes]) -> None:
        """What REDCap holds, by record, event, field and instance, beside what it should."""
        self.title("What REDCap holds, compared byte for byte with what was dropped")
        missing = dict(wanted)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("record", "event", "field", "instance", "bytes", ""):
            table.add_column(column, justify="right" if column in ("instance", "bytes") else "left", no_wrap=True)
        for held in box.holdings():
            place = (held.record, held.event, held.field, held.instance)
            there = box.content(held.record, held.field, held.event, held.instance)
            same = there == missing.pop(place, None)
            self.check(same, f"record {held.record}, {held.event}, {held.field} does not hold what was dropped")
            word = Text("same bytes", "green") if same else Text("DIFFERENT", "red")
            table.add_row(held.record, held.event, held.field, str(held.instance or ""), str(held.size), word)
        self.console.print(table)
        for record, event, field, _ in missing:
            self.check(False, f"record {record}, {event} has no file in {field}")

    def in_the_end(self, well: str) -> None:
        """What was wrong, or that all is well."""
        self.title("In the end")
        for text in self.wrong:
            self.console.print(Text(f"WRONG: {text}", "red"))
        if not self.wrong:
            self.console.print(Text(well, "green"))


def imports(box: Sandbox) -> int:
    """How many files were sent to REDCap."""
    return sum((request.content, request.action) == ("file", "import") for request in box.requests)


def _place(line: Mapping[str, Any]) -> str:
    instance = f" #{line['instance']}" if line.get("instance") else ""
    return f"record {line['record']}, {line['redcap_event']}, {line['field']}{instance}"
