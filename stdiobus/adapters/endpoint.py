"""What the adapters have in common: a logical client whose calls always end with a reason.

Knows JSON-RPC and ``LogicalClient``, none of the libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..client.logical import LogicalClient
from ..errors import StdioBusError

if TYPE_CHECKING:
    from ..client.aio import AsyncStdioBus

_CONNECTION_ENDED = -32085


class Endpoint:
    """A logical client for a library that would know the end of its connection, but not the reason.

    When the bus ends, or the client was too slow, what is still under way is answered with an
    error that says so; only then comes the end.

    Args:
        client: Used by nobody else from now on.
    """

    def __init__(self, client: LogicalClient) -> None:
        self._client = client
        self._pending: dict[Any, None] = {}  # ids, oldest first

    async def send(self, message: Mapping[str, Any]) -> None:
        """Sends one JSON-RPC message; see `LogicalClient.send`.

        Raises:
            StdioBusError: It was not sent.
        """
        await self._client.send(message)
        if "method" in message and "id" in message:
            self._pending[message["id"]] = None

    async def receive(self) -> dict[str, Any] | None:
        """The next message, or ``None`` at the end; one consumer at a time."""
        try:
            message = await self._client.receive()
        except StdioBusError as error:
            if not self._pending:
                return None
            number = next(iter(self._pending))
            data = {"source": "stdio_bus", "pool": self._client.pool, **error.details}
            message = {
                "jsonrpc": "2.0",
                "id": number,
                "error": {"code": _CONNECTION_ENDED, "message": error.message, "data": data},
            }
        if message is not None and "method" not in message:
            self._pending.pop(message.get("id"), None)
        return message

    async def close(self) -> None:
        """Ends it, from any task of the loop; what is under way is cancelled.  Idempotent."""
        await self._client.close()


async def open_endpoint(bus: AsyncStdioBus, pool: str) -> Endpoint:
    """A logical client of a pool, with ids, sessions and notifications of its own.

    Args:
        bus: A running bus; it stays open.
        pool: Where its messages go.

    Raises:
        StdioBusError: There is no such pool, or the bus is not running.
    """
    return Endpoint(await bus.open_client(pool))


def missing(extra: str, package: str, error: ImportError) -> ImportError:
    """Says what to install instead of which module was not found."""
    return ImportError(
        f"stdiobus.adapters.{extra} needs the package {package}, on Python 3.10 or newer "
        f'(here: {error}): pip install "stdiobus[{extra}]"',
        name=error.name,
        path=error.path,
    )
