"""The ``mcp`` package over a bus: a transport for ``mcp.Client`` and ``ClientSession``.

Here: messages of the SDK to and from a logical client.  Needs ``pip install "stdiobus[mcp]"``.

    async with AsyncStdioBus(config) as bus:
        async with mcp.Client(stdiobus_client(bus, "files")) as client:
            result = await client.call_tool("read_file", {"path": "a.txt"})

Any number of clients share the workers of a pool.  None of them starts or ends a process, and
the handshake of each is answered by the bus at once, with what the server answered it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Union

from ..errors import InvalidStateError, TransportError
from .endpoint import Endpoint, missing, open_endpoint

try:
    import anyio
    from anyio.abc import ObjectReceiveStream, ObjectSendStream
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter
    from pydantic import ValidationError
except ImportError as error:
    raise missing("mcp", "mcp 2.x", error) from error

if TYPE_CHECKING:
    from ..client.aio import AsyncStdioBus

__all__ = ["stdiobus_client"]


class _Reader(ObjectReceiveStream[Union[SessionMessage, Exception]]):
    """What comes for one client.  It has no task: whoever reads waits for the bus itself."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._closed = False

    async def receive(self) -> SessionMessage | Exception:
        if self._closed:
            raise anyio.ClosedResourceError
        message = await self._endpoint.receive()
        if message is None:
            raise anyio.EndOfStream
        try:
            return SessionMessage(jsonrpc_message_adapter.validate_python(message, by_name=False))
        except ValidationError as error:  # for the session's message handler, as from a stdio server
            return error

    async def aclose(self) -> None:
        self._closed = True  # not the client: a session has more to say after it stops reading


class _Writer(ObjectSendStream[SessionMessage]):
    """What one client sends."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def send(self, item: SessionMessage) -> None:
        message = item.message.model_dump(mode="json", by_alias=True, exclude_unset=True)
        try:
            await self._endpoint.send(message)
        except InvalidStateError as error:
            raise anyio.ClosedResourceError from error
        except TransportError as error:
            raise anyio.BrokenResourceError from error

    async def aclose(self) -> None:
        await self._endpoint.close()


@asynccontextmanager
async def stdiobus_client(
    bus: AsyncStdioBus, pool: str
) -> AsyncIterator[tuple[ObjectReceiveStream[SessionMessage | Exception], ObjectSendStream[SessionMessage]]]:
    """A transport of the SDK: ``mcp.Client(stdiobus_client(bus, pool))``, or the streams for a session.

        async with stdiobus_client(bus, "files") as (read, write):
            async with ClientSession(read, write) as session:
                await session.initialize()

    It may be closed from any task of the loop.  A call whose worker dies, or whose bus is stopped,
    ends with an ``MCPError`` that says so.

    Args:
        bus: A running bus; it stays open.
        pool: A pool of profile ``mcp`` or ``mcp-stateless``.

    Raises:
        StdioBusError: There is no such pool, or the bus is not running.
    """
    endpoint = await open_endpoint(bus, pool)
    try:
        yield _Reader(endpoint), _Writer(endpoint)
    finally:
        await endpoint.close()
