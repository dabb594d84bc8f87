"""``stdiobus tools``: what the MCP server of a pool offers."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from ..config import BusConfig
from .configuration import ConfigFile, config_argument, server_options
from .oneshot import requests, timeout_option
from .output import json_option, print_json, wants_json


@click.command()
@config_argument
@click.argument("pool")
@json_option
@timeout_option
@server_options
def tools(
    config: str,
    pool: str,
    as_json: bool,
    timeout: float | None,
    protocol: str | None,
    workspace: str | None,
) -> None:
    """Starts POOL and lists the tools of its MCP server.

    As JSON they are an array, as the server describes them. No other pool is started.
    """
    chosen = ConfigFile(config).bus_config(only=pool, protocol=protocol, workspace=workspace)
    if chosen.pools[0].protocol not in ("mcp", "mcp-stateless"):
        raise click.UsageError(
            f"pool {pool!r} speaks {chosen.pools[0].protocol}, and only MCP has tools; use call"
        )
    listed = asyncio.run(_list(chosen, timeout))
    if wants_json(as_json):
        print_json(listed)
    else:
        _print_table(listed)


async def _list(config: BusConfig, timeout: float | None) -> list[dict[str, Any]]:
    """All pages of the list."""
    listed: list[dict[str, Any]] = []
    async with requests(config, timeout) as request:
        params = None
        while True:
            page = await request("tools/list", params)
            listed += page["tools"]
            if page.get("nextCursor") is None:
                return listed
            params = {"cursor": page["nextCursor"]}


def _print_table(listed: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("tool", no_wrap=True, style="bold")
    table.add_column("description")
    for tool in listed:
        table.add_row(Text(tool["name"]), Text(tool.get("description", "").strip()))
    Console().print(table)
