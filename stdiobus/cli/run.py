"""``stdiobus run``: becomes the program ``stdio_bus`` with the configuration of a file.

The program takes this process over: its signals, streams and exit status are those of the command.
"""

from __future__ import annotations

import os
import sys
import tempfile

import click

from ..backends.program import resolve_binary
from ..config import BusConfig, SubprocessOptions
from ..errors import UnavailableError
from .configuration import ConfigFile, config_argument, server_options


@click.command()
@config_argument
@click.option("--listen", is_flag=True, help="Clients connect over a Unix socket beside CONFIG, NAME.sock.")
@click.option("--unix", metavar="PATH", help="Clients connect over this Unix socket.")
@click.option("--tcp", metavar="HOST:PORT", help="Clients connect over TCP; port 0 is any free one.")
@click.option(
    "--token-file",
    metavar="PATH",
    help="What clients must say first; else STDIO_BUS_TOKEN, else CONFIG's token.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What is logged on stderr.",
)
@click.option("--check", is_flag=True, help="Check the configuration and exit.")
@click.option(
    "--instances",
    type=click.IntRange(1, 1024),
    help="Workers of each server of an mcpServers file.  [default: 1]",
)
@server_options
def run(
    config: str,
    listen: bool,
    unix: str | None,
    tcp: str | None,
    token_file: str | None,
    log_level: str,
    check: bool,
    instances: int | None,
    protocol: str | None,
    workspace: str | None,
) -> None:
    """Runs the pools of CONFIG until it is told to end.

    Without --listen, --unix or --tcp there is one client, on stdin and stdout: a JSON-RPC message per
    line, whose top-level field "pool" names the pool, and the log on stderr. The end of stdin, SIGTERM
    or Ctrl-C ends it in order; a second signal at once.
    """
    if listen + bool(unix) + bool(tcp) > 1:
        raise click.UsageError("give at most one of --listen, --unix and --tcp")
    file = ConfigFile(config)
    bus_config = file.bus_config(protocol=protocol, instances=instances, workspace=workspace)
    command = [resolve_binary(SubprocessOptions()).path, "--log-level", log_level]
    if listen:
        unix = file.socket_path
    for option, value in (("--unix", unix), ("--tcp", tcp), ("--token-file", token_file)):
        command += [option, value] if value else []
    _become([*command, "--check"] if check else command, bus_config)


def _become(command: list[str], config: BusConfig) -> None:
    """Executes the program in this process; returns never.

    Args:
        command: The program and its arguments, to which the configuration is added.
        config: Goes by way of a file that has no name, for it may contain secrets.

    Raises:
        UnavailableError: It cannot be executed.
    """
    with tempfile.TemporaryFile() as file:
        file.write(config.to_json().encode())
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            os.execv(command[0], [*command, "--config-fd", str(file.fileno())])
        except OSError as error:
            raise UnavailableError(
                f"{command[0]} cannot be executed: {error.strerror}; reinstall the package"
            ) from error
