"""FastMCP over a bus: a ``ClientTransport``.  Needs ``pip install "stdiobus[fastmcp]"``.

    async with AsyncStdioBus(config) as bus:
        async with fastmcp.Client(StdioBusTransport(bus, "files")) as client:
            result = await client.call_tool("read_file", {"path": "a.txt"})

A client of FastMCP on a pool starts no process and ends none; see ``mcp.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .endpoint import missing

try:
    from fastmcp.client.transports.base import ClientTransport, SessionKwargs, TransportOptions
    from typing_extensions import Unpack

    from .mcp import stdiobus_client
except ImportError as error:
    raise missing("fastmcp", "fastmcp 4.x", error) from error

if TYPE_CHECKING:
    from mcp import ClientSession

    from ..client.aio import AsyncStdioBus

__all__ = ["StdioBusTransport"]


class StdioBusTransport(ClientTransport):
    """Connects clients to a pool; any number of them, at once or one after the other.

    Args:
        bus: A running bus; it stays open.
        pool: A pool of profile ``mcp`` or ``mcp-stateless``.
    """

    def __init__(self, bus: AsyncStdioBus, pool: str) -> None:
        self._bus = bus
        self._pool = pool

    @asynccontextmanager
    async def connect_session(
        self, *, transport_options: TransportOptions | None = None, **session_kwargs: Unpack[SessionKwargs]
    ) -> AsyncIterator[ClientSession]:
        """A session on a logical client of its own; FastMCP calls it.

        Args:
            transport_options: What kind of session.
            **session_kwargs: For its constructor.

        Raises:
            StdioBusError: There is no such pool, or the bus is not running.
        """
        session_class = (transport_options or TransportOptions()).session_class
        async with (
            stdiobus_client(self._bus, self._pool) as (read, write),
            session_class(read, write, **session_kwargs) as session,
        ):
            yield session

    def __repr__(self) -> str:
        return f"<StdioBusTransport(pool={self._pool!r})>"
