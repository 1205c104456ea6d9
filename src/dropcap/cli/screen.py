"""Output for people, and errors that end a command."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence

import click
import structlog
from rich.cells import cell_len

from dropcap.config.model import Problem
from dropcap.daemon import log
from dropcap.daemon.log import reads, with_priority
from dropcap.daemon.state import status
from dropcap.display import shown

#: What colours mean: all is well; it waits, or is doubtful; somebody must act. Never more than a word or a number.
GOOD, WAIT, BAD = "green", "yellow", "red"
#: Columns between two cells of a table.
_GAP = "  "
#: A terminal that says it is narrower is taken to be so wide: less holds no sentence.
_NARROWEST = 30
#: Sentences are not wider, however wide the terminal: the eye loses its line.
_WIDEST_TEXT = 110


def width(err: bool = False) -> int | None:
    """The columns of the terminal; None where a program may read, and nothing is wrapped."""
    stream = sys.stderr if err else sys.stdout
    if stream is None or not stream.isatty():
        return None
    return max(shutil.get_terminal_size().columns, _NARROWEST)


def _text_width(err: bool = False) -> int | None:
    room = width(err)
    return None if room is None else min(room, _WIDEST_TEXT)


def wrapped(words: Sequence[str], room: int | None, hang: int = 0, begin: int = 0) -> Iterator[str]:
    """`words` in lines of at most `room` columns, all but the first indented by `hang`; the first has `begin` columns before it.

    No word is ever broken, so that a path or a name can be copied: one that is longer than a line has that line to itself.
    """
    if room is None:
        yield " ".join(words)
        return
    line, used, bare = "", begin, True
    for word in words:
        size = cell_len(word)
        if line.strip() and used + 1 + size > room:
            yield line
            line, used = " " * hang + word, hang + size
        else:
            line, used, bare = (word, used + size, False) if bare else (f"{line} {word}", used + 1 + size, False)
    yield line


def line(text: str, indent: int = 0, *, hang: int | None = None, err: bool = False, bold: bool = False) -> None:
    """A line. Names in it must have gone through `shown`; newlines are escaped here."""
    margin = " " * indent
    for part in wrapped(shown(text).split(" "), _text_width(err), indent if hang is None else hang, indent):
        click.secho((margin + part).rstrip(), bold=bold, err=err)
        margin = ""


def names(first: Sequence[str], more: int, indent: int) -> None:
    """Some names, and how many there are beside them. On a terminal those of odd length are cut in their middle."""
    room = _text_width()
    said = [shown(name) if room is None else shortened(shown(name), room - indent - 1) for name in first]
    said = [*(f"{name}," for name in said[:-1]), *said[-1:]] + ([f"and {more:,} more"] if more > 0 else [])
    margin = " " * indent
    for part in wrapped(said, room, indent, indent):
        click.echo(margin + part)
        margin = ""


def around(text: str, mark: int) -> tuple[str, int]:
    """What of `text` fits into a line around the column `mark`, and where the mark is then."""
    room = width()
    if room is None or cell_len(text) < room:
        return text, mark
    begin = 0
    while cell_len(text[begin:]) >= room and mark > room // 2:
        mark -= cell_len(text[begin])
        begin += 1
    end = len(text)
    while cell_len(text[begin:end]) > room - 2:
        end -= 1
    cut = "…" if begin else ""
    return cut + text[begin:end] + ("…" if end < len(text) else ""), mark + len(cut)


def shortened(name: str, most: int) -> str:
    """`name` in at most so many columns: its beginning, `…` and its end."""
    if cell_len(name) <= most:
        return name
    end = name[-min(12, most // 3) :]
    begin = ""
    for character in name:
        if cell_len(begin + character + end) >= most:
            break
        begin += character
    return f"{begin}…{end}"


def entry(word: str, text: str, at: int, colour: str | None = None, *, right: bool = False, hang: int | None = None) -> None:
    """A coloured word, and beside it text that begins at column `at` in each of its lines, or at `hang` in all but the first."""
    said = f"{shown(word):>{at - 2}}{_GAP}" if right else f"{shown(word):<{at}}"
    if not said.endswith(" "):
        said += " "
    lines = wrapped(shown(text).split(" "), _text_width(), at if hang is None else hang, cell_len(said))
    click.echo(click.style(said.rstrip(), fg=colour) + " " * (len(said) - len(said.rstrip())) + next(lines).rstrip())
    for part in lines:
        click.echo(part)


def heading(text: str) -> None:
    """A line that begins a section."""
    click.echo()
    click.secho(text, bold=True)


def remedy(text: str | None, indent: int = 4) -> None:
    """What to do, if there is something."""
    if text:
        line(f"what to do: {text}", indent)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """Rows under headings, those of `right` to the right. Where the terminal is too narrow for a row, its cells follow each other
    and go on in the next line, none of them broken."""
    cells = [list(headings), *[[shown(cell) for cell in row] for row in rows]]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(headings))]
    room = width()
    fits = room is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= room
    for number, row in enumerate(cells):
        padded = [_padded(cell, size, head in right) for cell, size, head in zip(row, widths, headings, strict=True)]
        if fits or room is None:
            click.secho(_GAP.join(padded).rstrip(), bold=number == 0)
        else:
            _in_pieces(row, padded, room, number == 0)


def _in_pieces(row: Sequence[str], padded: Sequence[str], room: int, bold: bool) -> None:
    """The first columns stand beneath each other, as far as they take up less than half of the line."""
    said, rest = "", list(row)
    for cell in padded:
        if cell_len(said + cell) + len(_GAP) > room // 2:
            break
        said += cell + _GAP
        rest.pop(0)
    margin = " " * cell_len(said)
    for cell in filter(None, rest):
        if said.strip() and cell_len(said) + cell_len(cell) > room:
            click.secho(said.rstrip(), bold=bold)
            said = margin
        *full, last = wrapped(cell.split(" "), room, len(margin), cell_len(said))
        for line in full:
            click.secho(said + line, bold=bold)
            said = ""
        said += last + _GAP
    click.secho(said.rstrip(), bold=bold)


def _padded(cell: str, size: int, right: bool) -> str:
    space = " " * (size - cell_len(cell))
    return space + cell if right else cell + space


def typed(name: str) -> str:
    """A name within a command that can be copied into a shell."""
    return shlex.quote(shown(name))


#: What to do about a wrong word in the command of a unit.
_UNIT = "correct ExecStart= in the unit (`systemctl edit dropcap`); `dropcap run --help` tells what there is"


def complain(message: str) -> None:
    """Say on standard error that something could not be done; `message` says what to do."""
    text = f"dropcap: {message}"
    if reads(sys.stderr):
        click.echo(with_priority(text, "error"), err=True)
    else:
        line(text, err=True)


def cannot_start(message: str, problems: Sequence[Problem] = ()) -> None:
    """Say why the daemon does not start, also to systemd, where `systemctl status` shows it until the next start."""
    first = f": {problems[0]}" + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "") if problems else ""
    status(f"cannot start: {message}{first}")
    if reads(sys.stderr):
        log.set_up()
        for problem in problems:
            structlog.get_logger().error("config_problem", message=str(problem), disables="everything")
        structlog.get_logger().error("cannot_start", message=message)
        return
    for problem in problems:
        line(str(problem), err=True)
    complain(message)


def misused(error: click.ClickException) -> None:
    """Say what is wrong with the words of the command."""
    if reads(sys.stderr):
        cannot_start(f"{error.format_message()}; {_UNIT}")
    else:
        error.show()
