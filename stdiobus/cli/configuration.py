"""CONFIG on a command line: either kind of file, and the options that concern it.

What the files may contain is in ``config.py`` and ``mcp_config.py`` of the package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable, TypeVar

import click

from ..config import BusConfig, PoolConfig
from ..errors import InvalidArgumentError
from ..mcp_config import find_servers, read_document

_Command = TypeVar("_Command", bound=Callable[..., Any])

config_argument = click.argument("config", type=click.Path(exists=True, dir_okay=False))


def server_options(command: _Command) -> _Command:
    """Adds the options of an ``mcpServers`` file: what it does not say itself."""
    for option in (
        click.option(
            "--workspace",
            type=click.Path(exists=True, file_okay=False),
            help="${workspaceFolder} of an mcpServers file.  [default: the current folder]",
        ),
        click.option(
            "--protocol",
            type=click.Choice(["mcp", "mcp-stateless"]),
            help="What the servers of an mcpServers file speak.  [default: mcp]",
        ),
    ):
        command = option(command)
    return command


class ConfigFile:
    """A configuration file of either kind.

    Args:
        path: Where it is.

    Attributes:
        path: The same.
        own: Whether it is a configuration of this package; else it is an ``mcpServers`` file.

    Raises:
        InvalidArgumentError: It cannot be read, or is not JSON.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._document = read_document(path)
        if not isinstance(self._document, Mapping):
            raise self._named(InvalidArgumentError("config: must be an object"))
        pools = self._document.get("pools")
        self.own = pools is not None and not isinstance(pools, Mapping)  # else a server of that name

    @property
    def socket_path(self) -> str:
        """The Unix socket of a bus that is run with ``--listen``: beside the file."""
        return os.path.splitext(os.path.abspath(self.path))[0] + ".sock"

    @property
    def token(self) -> str | None:
        """What it demands of clients."""
        return self._own_config().token if self.own else None

    def protocol(self, pool: str) -> str:
        """What a pool speaks; no variable is looked at, for they are the running bus's."""
        if not self.own:
            return "mcp"
        return next((each.protocol for each in self._own_config().pools if each.id == pool), "jsonrpc")

    def bus_config(
        self,
        *,
        only: str | None = None,
        protocol: str | None = None,
        instances: int | None = None,
        workspace: str | None = None,
    ) -> BusConfig:
        """The configuration, variables replaced.

        Args:
            only: Leaves out all pools but this one, and asks for no variable of theirs.
            protocol: Of the servers of an ``mcpServers`` file.
            instances: How many workers each of them has.
            workspace: Their ``${workspaceFolder}``.

        Raises:
            InvalidArgumentError: ``<file>: <field>: <problem>``.
            click.UsageError: There is no pool ``only``, or an option is for the other kind of file.
        """
        if self.own:
            self.refuse_server_options(protocol=protocol, instances=instances, workspace=workspace)
            config = self._own_config()
            if only is not None:
                pools = [pool for pool in config.pools if pool.id == only]
                self._require(only, pools, [pool.id for pool in config.pools])
                config = replace(config, pools=pools, token=None)
            return config
        try:
            document = self._document if only is None else self._server(only)
            return BusConfig.from_mcp_config(
                document,
                protocol=protocol or "mcp",
                instances=instances or 1,
                workspace_folder=workspace,
                inputs=_ask,
            )
        except InvalidArgumentError as error:
            raise self._named(error) from error

    def refuse_server_options(self, **options: Any) -> None:
        """Refuses options of an ``mcpServers`` file where this is none."""
        for name, value in options.items():
            if value is not None:
                raise click.UsageError(
                    f"--{name} is for mcpServers files, and {self.path} is none: write it into its pools"
                )

    def _own_config(self) -> BusConfig:
        try:
            return BusConfig.from_dict(self._document)
        except InvalidArgumentError as error:
            raise self._named(error) from error

    def _server(self, name: str) -> Mapping[str, Any]:
        """The document with one of its servers alone."""
        root, servers = find_servers(self._document)
        self._require(name, name in servers, list(servers))
        one = {name: servers[name]}
        return {**self._document, root: one} if root else one

    def _require(self, name: str, found: object, names: list[str]) -> None:
        if not found:
            raise click.UsageError(f"{self.path} has no pool {name!r}; it has: {', '.join(names)}")

    def _named(self, error: InvalidArgumentError) -> InvalidArgumentError:
        return InvalidArgumentError(f"{self.path}: {error.message}", error.details)


def single_pool(config: BusConfig) -> PoolConfig:
    """The only pool of what `ConfigFile.bus_config` has made of one."""
    [pool] = config.pools
    return pool


def _ask(name: str, definition: Mapping[str, Any]) -> str | None:
    """Answers ``${input:name}`` by asking on the terminal, where there is one."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    answer: str = click.prompt(
        str(definition.get("description") or name),
        default=definition.get("default"),
        hide_input=bool(definition.get("password")),
        err=True,
    )
    return answer
