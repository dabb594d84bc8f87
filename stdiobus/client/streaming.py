"""The two ends of a streamed request: what the bus fills and what the user iterates.

Which chunk belongs to which stream is decided in ``protocol/session.py``; bounds too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Callable

from ..messages import StreamEvent, StreamEventType
from ..protocol.session import Pending


class StreamBuffer:
    """Chunks that arrived, then how the request ended; one consumer.

    The bus fills it through `chunk` and the future-like `done`, `set_result` and
    `set_exception`, so that it stands where a plain request has its future.

    Args:
        loop: The loop of the bus.
        pending: The request.
        consumed: Told how many bytes of its chunks have been read.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pending: Pending,
        consumed: Callable[[Pending, int], None],
    ) -> None:
        self._loop = loop
        self._pending = pending
        self._consumed = consumed
        self._chunks: deque[tuple[Any, int]] = deque()
        self._end: tuple[Any, BaseException | None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def chunk(self, data: Any, size: int) -> None:
        """Adds a chunk; ``size`` is what it counts for in `Pending.buffered`."""
        self._chunks.append((data, size))
        self._wake()

    def done(self) -> bool:
        """Whether the request ended."""
        return self._end is not None

    def set_result(self, result: Any) -> None:
        """Ends it with a result, which is delivered after the chunks."""
        self._end = (result, None)
        self._wake()

    def set_exception(self, error: BaseException) -> None:
        """Ends it with an error, which is raised after the chunks."""
        self._end = (None, error)
        self._wake()

    async def next(self) -> StreamEvent:
        """The next event, in order; nothing may be asked for after the last one.

        Raises:
            StdioBusError: How the request ended, when that is not a result.
        """
        while not self._chunks:
            if self._end is not None:
                result, error = self._end
                if error is not None:
                    raise error
                return StreamEvent(StreamEventType.RESULT, result)
            self._waiter = self._loop.create_future()
            await self._waiter
        data, size = self._chunks.popleft()
        self._consumed(self._pending, size)
        return StreamEvent(StreamEventType.CHUNK, data)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class ResponseStream(AsyncIterator[StreamEvent]):
    """Chunks as they arrive, then exactly one result; made by ``stream_request``.

    One consumer at a time, on the loop of the bus.  Leaving the loop early, `aclose` and a
    cancelled consumer cancel the request.  Without a reference count (PyPy), leaving
    early takes effect when the garbage collector runs: use ``contextlib.aclosing`` there.

    Args:
        buffer: The other end.
        cancel: Cancels the request if it is still pending.
        loop: The loop of the bus.
        owner: Kept alive as long as the stream is.
    """

    def __init__(
        self,
        buffer: StreamBuffer,
        cancel: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        owner: object,
    ) -> None:
        self._buffer = buffer
        self._cancel = cancel
        self._loop = loop
        self._owner = owner
        self._finished = False

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> StreamEvent:
        if self._finished:
            raise StopAsyncIteration
        try:
            event = await self._buffer.next()
        except BaseException:
            self._close()
            raise
        if event.type is StreamEventType.RESULT:
            self._finished = True
        return event

    async def aclose(self) -> None:
        """Ends the stream; cancels the request if it is not answered yet.  Idempotent."""
        self._close()

    def _close(self) -> None:
        if not self._finished:
            self._finished = True
            self._cancel()

    def __del__(self) -> None:
        if self._finished or self._loop.is_closed():
            return
        self._finished = True
        # Not at once: the collector may run anywhere, in another thread too.
        with contextlib.suppress(RuntimeError):  # the loop was closed in between
            self._loop.call_soon_threadsafe(self._cancel)
