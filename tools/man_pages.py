"""Writes a man page for each command, from what its --help says: `make man`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click
from click.testing import CliRunner

from dropcap import __version__
from dropcap.cli import COMMANDS, commands

_FILES = {
    "/etc/dropcap/config.yaml": "the configuration; $DROPCAP_CONFIG or -c names another",
    "/var/lib/dropcap": "the usual state_dir: ledger, control socket, copies of what REDCap held",
}


def write(into: Path) -> list[Path]:
    """Write all pages into a directory; their paths."""
    into.mkdir(parents=True, exist_ok=True)
    root = click.Context(commands, info_name="dropcap", **commands.context_settings)
    pages = {"dropcap": _page(root, "drop a file, it lands in the right REDCap field", "dropcap status")}
    for name, entry in COMMANDS.items():
        command = commands.get_command(root, name)
        assert command is not None
        pages[f"dropcap-{name}"] = _page(click.Context(command, info_name=name, parent=root), entry.help, entry.example)
    for name, text in pages.items():
        (into / f"{name}.1").write_text(text, encoding="utf-8")
    return [into / f"{name}.1" for name in pages]


def _page(ctx: click.Context, about: str, example: str) -> str:
    name = ctx.command_path.replace(" ", "-")
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    lines = [
        f'.TH {_escaped(name.upper())} 1 "{day}" "dropcap {__version__}" "dropcap"',
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(about[0].lower() + about[1:].rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(ctx.command_path)}",
        _escaped(" ".join(dict.fromkeys(ctx.command.collect_usage_pieces(ctx)))),
        ".SH DESCRIPTION",
        *_paragraphs(cleandoc(ctx.command.help or "")),
        *_options(ctx),
        *(_commands(ctx) if isinstance(ctx.command, click.Group) else ()),
        ".SH EXAMPLE",
        *_verbatim([example]),
        ".SH FILES",
    ]
    for path, what in _FILES.items():
        lines += [".TP", f".I {_escaped(path)}", _escaped(what)]
    others = ["dropcap", *(f"dropcap-{other}" for other in COMMANDS)]
    lines += [".SH SEE ALSO", ",\n".join(f".BR {_escaped(other)} (1)" for other in others if other != name)]
    return "\n".join(lines) + "\n"


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if paragraph.startswith("\b"):
            continue  # the example, which has a section of its own
        if number:
            yield ".PP"
        yield from map(_escaped, paragraph.splitlines())


def _options(ctx: click.Context) -> Iterator[str]:
    yield ".SH OPTIONS"
    if ctx.info_name == "sandbox":  # which takes them as they come
        yield from _verbatim(CliRunner().invoke(commands, ["sandbox", "--help"], env={"COLUMNS": "80"}).output.splitlines())
        return
    for names, what in _records(ctx):
        yield from (".TP", f".B {_escaped(names)}", _escaped(what))


def _records(ctx: click.Context) -> list[tuple[str, str]]:
    """The options and what they do; an argument is told of by the text."""
    records = (one.get_help_record(ctx) for one in ctx.command.get_params(ctx))
    return [record for record in records if record is not None and record[1]]


def _commands(ctx: click.Context) -> Iterator[str]:
    """Those of dropcap have pages of their own; those of a command stand whole in its page."""
    yield ".SH COMMANDS"
    if ctx.parent is None:
        for name, entry in COMMANDS.items():
            yield from (".TP", f".BR dropcap\\-{_escaped(name)} (1)", _escaped(entry.help))
        return
    assert isinstance(ctx.command, click.Group)
    for name in ctx.command.list_commands(ctx):
        below = ctx.command.commands[name]
        taken = click.Context(below, info_name=name, parent=ctx)
        yield f".SS {_escaped(f'{ctx.command_path} {name} ' + ' '.join(below.collect_usage_pieces(taken)))}"
        yield from _paragraphs(cleandoc(below.help or ""))
        for names, what in _records(taken):
            yield from (".TP", f".B {_escaped(names)}", _escaped(what))


def _verbatim(lines: list[str]) -> Iterator[str]:
    yield from (".nf", ".RS 4", *map(_escaped, lines), ".RE", ".fi")


def _escaped(text: str) -> str:
    """Text as roff takes it: a word that a person types has hyphens that can be copied."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    safe = safe.replace("“", "\\(lq").replace("”", "\\(rq").replace("…", "...").replace("`", "\\(ga").replace("^", "\\(ha")
    return f"\\&{safe}" if safe.startswith((".", "'")) else safe


if __name__ == "__main__":
    for written in write(Path(sys.argv[1] if len(sys.argv) > 1 else "build/man")):
        print(written)
