"""The command line. Each command's module is imported when it is called, so that the daemon starts quickly."""

from __future__ import annotations

import importlib
import sys

import click

from dropcap import __version__

_COMMANDS = {
    "demo": ("demo", "demo_command"),
    "init": ("init", "init_command"),
    "check": ("check", "check_command"),
    "explain": ("explain", "explain_command"),
    "dry-run": ("dry_run", "dry_run_command"),
    "run": ("run", "run_command"),
    "status": ("status", "status_command"),
    "history": ("history", "history_command"),
    "retry": ("retry", "retry_command"),
    "pause": ("pause", "pause_command"),
    "resume": ("pause", "resume_command"),
    "verify": ("verify", "verify_command"),
    "sandbox": ("sandbox", "sandbox_command"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(f"dropcap.cli.{module}"), name)
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="dropcap")
def commands() -> None:
    """Drop a file, it lands in the right REDCap field.

    Exit codes: 0 all well; 1 something is not as it should be; 2 usage or configuration; 3 REDCap cannot be reached or
    refuses us for now; 4 another dropcap uses this state_dir; 130 interrupted.
    """


def main() -> None:
    """Entry point of the `dropcap` command."""
    try:
        code = commands.main(prog_name="dropcap", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except BrokenPipeError:  # `dropcap history | head`
        sys.stderr.close()
        sys.exit(0)
