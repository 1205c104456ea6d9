"""The command line. Each command's module is imported when it is called, so that the daemon starts quickly."""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import os
import sys
import threading
import traceback
from dataclasses import dataclass
from types import TracebackType

import click
from click.shell_completion import CompletionItem

from dropcap import __version__
from dropcap.cli.screen import complain, misused
from dropcap.daemon.log import reads, with_priority
from dropcap.display import shown
from dropcap.ledger.database import DatabaseError
from dropcap.secret import without_tokens
from dropcap.threads import NoThread


@dataclass(frozen=True, slots=True)
class Listed:
    """A command: a line of help that is told without importing it, an example of its use, its module if that is another's."""

    help: str
    example: str
    module: str = ""


COMMANDS = {
    "demo": Listed("Show the main job on a sandbox REDCap.", "dropcap demo --stay"),
    "init": Listed(
        "Read a project and propose a configuration.",
        "dropcap init --url https://redcap.example.org/api/ --token-file /etc/dropcap/trial.token",
    ),
    "check": Listed(
        "Check configuration, folders, servers, tokens and rules.", "sudo -u dropcap dropcap check --folder consents"
    ),
    "trial": Listed(
        "Try on one record what dropcap relies on, and take it back.",
        "dropcap trial --url https://redcap.example.org/api/ --token-file test.token --record 1 --report trial.json",
    ),
    "explain": Listed(
        "Tell which rule a name matches and where the file would go.",
        "dropcap explain 101_V1_consent.pdf --folder consents",
        "history",
    ),
    "dry-run": Listed(
        "Tell what would happen to the files that lie there now.",
        "dropcap dry-run --folder consents --report /root/consents.html",
    ),
    "run": Listed("Watch the folders and deliver what is dropped.", "dropcap run --once --wait 5m"),
    "status": Listed("Tell what goes on by itself and what waits for somebody.", "dropcap status --failed --folder consents"),
    "history": Listed("Tell what happened to a file, or the last files.", "dropcap history 101_V1_consent.pdf"),
    "preserved": Listed(
        "List or fetch copies of what REDCap held before it was replaced.", "dropcap preserved --record 101 --to /root/copies"
    ),
    "retry": Listed("Try failed or held files again.", "dropcap retry --failed --folder consents", "intervene"),
    "prune": Listed("Remove what `keep` says is over, and tell of it first.", "dropcap prune --dry-run --folder consents"),
    "reload": Listed("Have the running dropcap take up the changed configuration.", "dropcap reload", "run"),
    "pause": Listed("Send nothing more to a server or project, or from a folder.", "dropcap pause --project trial", "intervene"),
    "resume": Listed("Go on with what is paused.", "dropcap resume --project trial", "intervene"),
    "notify": Listed("Try the notifications.", "dropcap notify --test", "operators"),
    "dashboard": Listed(
        "Tell where the operator's page is, or make a link that signs in.", "dropcap dashboard --link", "operators"
    ),
    "ledger": Listed(
        "Copy the ledger while dropcap runs, put a copy back, or move it.", "dropcap ledger backup /var/backups/dropcap-ledger.db"
    ),
    "verify": Listed("Compare what was stored with what REDCap holds now.", "dropcap verify --since 7d"),
    "report": Listed(
        "Write a report of a period, to print or for a spreadsheet.",
        "dropcap report --folder consents --since 7d --html report.html",
    ),
    "sandbox": Listed("Serve a REDCap stand-in on 127.0.0.1.", "dropcap sandbox --port 8080 --ill maintenance", "demo"),
}

#: How `--help` groups them.
GROUPS = {
    "Daily": "status history explain retry pause resume",
    "Set-up": "init trial check dry-run run reload notify dashboard",
    "Audit and upkeep": "verify report preserved prune ledger",
    "Development": "demo sandbox",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"dropcap.cli.{entry.module or name}"), f"{name}_command")
        command.short_help = entry.help
        command.epilog = f"\b\nExample:\n  {entry.example}"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:  # a misspelt one
        word = args[0]
        if word not in COMMANDS and not word.startswith("-") and not ctx.resilient_parsing:
            near = difflib.get_close_matches(word, COMMANDS, n=1)
            otherwise = f"there are: {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command `{shown(word)}`; " + (f"did you mean `{near[0]}`?" if near else otherwise))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=entry.help) for name, entry in COMMANDS.items() if name.startswith(incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group, names in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name, COMMANDS[name].help) for name in names.split()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dropcap")
@click.option("-c", "--config", "config_path", metavar="FILE", help="The configuration, as after the command.")
def commands(config_path: str | None) -> None:
    """Drop a file, it lands in the right REDCap field.

    Exit codes: 0 all well; 1 something is not as it should be; 2 usage or configuration; 3 REDCap cannot be reached or
    refuses us for now; 4 another dropcap uses this state_dir; 5 no thread to be had, or the daemon
    cannot start for now; 130 interrupted.

    \b
    Example:
      dropcap status
    """
    if config_path is not None:
        os.environ["DROPCAP_CONFIG"] = config_path  # the default of every command's own -c


def _redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """An error inside dropcap, told as Python does, but for tokens that a server may have put into it."""
    text = without_tokens("".join(traceback.format_exception(kind, error, trace)))
    sys.stderr.write(with_priority(text.rstrip("\n"), "critical") + "\n" if reads(sys.stderr) else text)


def _redacted_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, NoThread):  # it is told where the process ends
        _redacted(args.exc_type, args.exc_value, args.exc_traceback)


def main() -> None:
    """Entry point of the `dropcap` command."""
    sys.excepthook, threading.excepthook = _redacted, _redacted_of_thread
    for name in ("stdout", "stderr"):  # closed by the caller; what is opened next must not take their numbers either
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 shows escapes
    try:
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        colour = False if plain else None  # None: on terminals
        code = commands.main(prog_name="dropcap", standalone_mode=False, color=colour)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        misused(error)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except NoThread as error:
        complain(str(error))
        sys.exit(error.code)
    except DatabaseError as error:  # in the midst of it
        complain(f"the ledger cannot be read or written any more ({error}): see whether its disk or database is well")
        sys.exit(2)
    except BrokenPipeError:  # `dropcap history | head`
        sys.stderr.close()
        sys.exit(0)
    except PermissionError as error:
        place = f" {shown(str(error.filename))}" if error.filename is not None else ""
        complain(f"{place.lstrip()} cannot be used ({error.strerror}): run this as dropcap's user, or as root".lstrip())
        sys.exit(2)
    except OSError as error:  # `dropcap history >FILE` on a full disk
        if error.filename is None and error.errno == errno.ENOENT:  # what the kernel says of a working directory
            complain("the directory that you are in does not exist any more: change to another")
            sys.exit(2)
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        complain(f"the output cannot be written: {error.strerror}; make room, or send it elsewhere")
        sys.stderr.flush()
        os._exit(1)  # what is left of the output would fail again
