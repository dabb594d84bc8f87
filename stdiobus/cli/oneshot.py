"""A bus of one pool for a few requests: what ``call`` and ``tools`` have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Callable

import click

from ..client.aio import AsyncStdioBus
from ..config import BusConfig

_STATELESS = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
"""What ``_meta`` of each request says to an MCP server that has no handshake."""

timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long an answer may take.  [default: the pool's own, else 30]",
)


@asynccontextmanager
async def requests(
    config: BusConfig, timeout: float | None
) -> AsyncIterator[Callable[[str, Any], Awaitable[Any]]]:
    """A bus, from start to stop, as a function of method and params that returns the result.

    Args:
        config: It has one pool.
        timeout: Seconds for each answer; ``None`` for the pool's own.

    Raises:
        StdioBusError: It cannot be started.
    """
    [pool] = config.pools
    deadline = None if timeout is None else timeout * 1000
    async with AsyncStdioBus(config) as bus:

        async def request(method: str, params: Any) -> Any:
            if pool.protocol == "mcp-stateless" and isinstance(params, (Mapping, type(None))):
                params = params or {}
                params = {**params, "_meta": {**_STATELESS, **params.get("_meta", {})}}
            return await bus.request(method, params, pool=pool.id, timeout_ms=deadline)

        yield request
