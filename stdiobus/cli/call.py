"""``stdiobus call``: one request to one pool, from its start to its end."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import click

from ..config import BusConfig
from .configuration import ConfigFile, config_argument, server_options
from .oneshot import requests, timeout_option
from .output import print_json


@click.command()
@config_argument
@click.argument("pool")
@click.argument("method")
@click.argument("params", default="", metavar="[JSON]")
@timeout_option
@server_options
def call(
    config: str,
    pool: str,
    method: str,
    params: str,
    timeout: float | None,
    protocol: str | None,
    workspace: str | None,
) -> None:
    """Starts POOL, sends one request, prints its result.

    JSON is the params, an object or an array; "-" reads it from stdin. No other pool is started.
    """
    value = _parse(sys.stdin.read() if params == "-" else params)
    chosen = ConfigFile(config).bus_config(only=pool, protocol=protocol, workspace=workspace)
    print_json(asyncio.run(_call(chosen, method, value, timeout)))


async def _call(config: BusConfig, method: str, params: Any, timeout: float | None) -> Any:
    async with requests(config, timeout) as request:
        return await request(method, params)


def _parse(text: str) -> Any:
    if not text:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="JSON") from error
    if not isinstance(value, (dict, list)):
        raise click.BadParameter("params must be an object or an array", param_hint="JSON")
    return value
