"""Text for people: tables and indented lines that wrap on a terminal and stay whole in a file or a pipe."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dropcap.display import shown

Justify = Literal["left", "right"]

#: Wide enough for whatever there is: nothing is wrapped that a program may read.
_ENDLESS = 100_000


def console() -> Console:
    """Standard output."""
    on_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else _ENDLESS
    return Console(width=width, markup=False, highlight=False, emoji=False, force_terminal=on_terminal)


def heading(to: Console, text: str) -> None:
    """A line that begins a section."""
    to.print()
    to.print(Text(text, style="bold"))


def line(to: Console, text: str, indent: int = 2, style: str = "") -> None:
    """Text, wrapped within its indentation. Names in it must have gone through `shown`; newlines are escaped here."""
    to.print(Padding(Text(shown(text), style=style, overflow="fold"), (0, 0, 0, indent), expand=False))


def remedy(to: Console, text: str | None, indent: int = 4) -> None:
    """What to do, if there is something."""
    if text:
        line(to, f"what to do: {text}", indent)


def table(to: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], whole: Mapping[str, Justify]) -> None:
    """Rows under headings; columns of `whole` are never wrapped, and stand to the left or right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        if column in whole:
            made.add_column(column, justify=whole[column], no_wrap=True)
        else:
            made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    if to.is_terminal:
        to.print(made)
        return
    with to.capture() as captured:
        to.print(made)
    for written in captured.get().splitlines():
        click.echo(written.rstrip())
