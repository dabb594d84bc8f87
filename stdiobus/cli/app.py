"""The commands together, and what becomes of their errors.

What a command does is in the file of its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from .. import __version__
from ..errors import StdioBusError
from .status import Status, status_of

COMMANDS = ("run", "call", "tools", "shim", "top", "doctor")


class _Commands(click.Group):
    """Loads a command when it is used: a shim, of which a host starts many, is to stay small."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f".{cmd_name}", __package__), cmd_name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done; 1 the worker answered with an error, or a self-test failed; 2 usage; "
    "3 configuration; 4 nothing could start, or no bus is there; 5 no answer; "
    "6 the extra stdiobus[cli] is missing; 130 interrupted.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def app() -> None:
    """Pools of MCP servers, ACP agents and other JSON-RPC workers behind one bus.

    A CONFIG is a configuration of stdiobus, or an mcpServers file of a desktop host, whose servers
    are pools of their names. On a terminal, results are tables; elsewhere, or with --json, JSON.
    """


def run(arguments: Sequence[str]) -> int:
    """Runs a command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit status; what is wrong is on stderr.

    Raises:
        SystemExit: Nobody reads stdout any more; the status is 1.
    """
    try:
        status = app.main(list(arguments), prog_name="stdiobus", standalone_mode=False)
        return int(status or Status.DONE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except StdioBusError as error:
        click.echo(f"stdiobus: {error.message}", err=True)
        return status_of(error)
    except (click.Abort, KeyboardInterrupt):
        return Status.INTERRUPTED
