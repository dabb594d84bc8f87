"""Logical clients: further clients of one bus, each with ids, sessions and notifications of its own.

For libraries that speak JSON-RPC themselves, an MCP or ACP client for example: messages go in
and out as they are.  How they travel is in ``dispatch.py``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any, Callable

from ..errors import InvalidStateError, ResourceExhaustedError, StdioBusError
from ..protocol.codec import decode, encode, to_bytes


class LogicalClient:
    """One client of a bus; made by ``open_client``, used on the loop of its bus.

    What it has in flight is cancelled when it closes, and its sessions are forgotten.

    Args:
        pool: Where its messages go that name no pool.
        client_id: Its number.
        limit: Bytes that may wait for `receive` before it is closed.
        transmit: Takes its number and a line.
        close: Told its number when it closes.

    Attributes:
        pool: Where its messages go that name no pool.
        client_id: The bus's number for it.
    """

    def __init__(
        self,
        pool: str,
        client_id: int,
        limit: int,
        transmit: Callable[[int, bytes], None],
        close: Callable[[int], None],
    ) -> None:
        self.pool = pool
        self.client_id = client_id
        self._limit = limit
        self._transmit = transmit
        self._close = close
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._error: StdioBusError | None = None

    async def send(self, message: Mapping[str, Any]) -> None:
        """Sends one JSON-RPC message.

        Args:
            message: A request, notification or answer; its id is this client's own affair.

        Raises:
            InvalidStateError: It is closed.
            InvalidArgumentError: The message is not JSON data.
            ResourceExhaustedError: The kernel does not keep up; retry later.
        """
        if self._closed:
            raise self._error or InvalidStateError("this client is closed; open a new one")
        self._transmit(self.client_id, to_bytes(encode(message, "message") + "\n", "message"))

    async def receive(self) -> dict[str, Any] | None:
        """The next message for this client; one consumer at a time.

        Returns:
            The message, or ``None`` when it is closed and nothing is left.

        Raises:
            StdioBusError: The bus failed, or too much was left unread.
        """
        while not self._lines:
            if self._closed:
                if self._error is not None:
                    raise self._error
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        line = self._lines.popleft()
        self._waiting_bytes -= len(line)
        message: dict[str, Any] = decode(line.decode())
        return message

    async def close(self) -> None:
        """Ends it; what has arrived can still be received.  Idempotent."""
        self._end(None)

    async def __aenter__(self) -> LogicalClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    # ---- For the bus

    def offer(self, line: bytes) -> None:
        """Takes ``line`` for this client."""
        self._waiting_bytes += len(line)
        if self._waiting_bytes > self._limit and self._lines:
            self._end(
                ResourceExhaustedError(
                    f"a client of pool {self.pool!r} left {self._waiting_bytes} bytes unread and was closed; "
                    "read faster, or raise limits.max_output_queue",
                    {"pool": self.pool, "limit": self._limit},
                )
            )
            return
        self._lines.append(line)
        self._wake()

    def ended(self, error: StdioBusError) -> None:
        """Takes the news that the bus is over, with ``error`` as the reason."""
        self._end(error)

    def _end(self, error: StdioBusError | None) -> None:
        if not self._closed:
            self._closed = True
            self._error = error
            self._close(self.client_id)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
