"""What `StdioBus` hands out: streams, subscriptions, workers and clients that block their caller.

No logic of their own: each has its counterpart on the loop of the bus and calls it there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..messages import StreamEvent
from .aio import AsyncStdioBus
from .embedded import EmbeddedWorker
from .logical import LogicalClient
from .private_loop import PrivateLoop
from .streaming import ResponseStream
from .subscriptions import Notification, NotificationSubscription


class SyncStream(Iterator[StreamEvent]):
    """A streamed request as a blocking iterator; leaving the loop early cancels it."""

    def __init__(self, loop: PrivateLoop, stream: ResponseStream) -> None:
        self._loop = loop
        self._stream = stream

    def __iter__(self) -> SyncStream:
        return self

    def __next__(self) -> StreamEvent:
        try:
            return self._loop.run(self._stream.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Ends the stream; cancels the request if it is not answered yet.  Idempotent."""
        self._loop.run(self._stream.aclose)


class SyncSubscription(Iterator[Notification]):
    """A `NotificationSubscription` as a blocking iterator."""

    def __init__(self, loop: PrivateLoop, bus: AsyncStdioBus, subscription: NotificationSubscription) -> None:
        self._loop = loop
        self._bus = bus
        self._subscription = subscription

    @property
    def pool(self) -> str | None:
        """See `NotificationSubscription`."""
        return self._subscription.pool

    @property
    def dropped(self) -> int:
        """See `NotificationSubscription`."""
        return self._subscription.dropped

    @property
    def closed(self) -> bool:
        """See `NotificationSubscription`."""
        return self._subscription.closed

    def close(self) -> None:
        """See `NotificationSubscription.close`."""
        self._loop.call(self._bus.unsubscribe, self._subscription)

    def __iter__(self) -> SyncSubscription:
        return self

    def __next__(self) -> Notification:
        if not self._subscription.closed:
            self._loop.require()
        try:
            return self._loop.run(self._subscription.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


class SyncEmbeddedWorker:
    """An in-process worker, see `AsyncStdioBus.add_worker`."""

    def __init__(self, loop: PrivateLoop, worker: EmbeddedWorker) -> None:
        self._loop = loop
        self._worker = worker

    @property
    def pool(self) -> str:
        """The pool that it serves."""
        return self._worker.pool

    @property
    def worker_id(self) -> int:
        """Its id, as in `WorkerInfo`."""
        return self._worker.worker_id

    def close(self) -> None:
        """Takes it out of service; what it is at is finished first.  Idempotent."""
        self._loop.call(self._worker.close)


class SyncLogicalClient:
    """A further client of the bus, see `LogicalClient`; a context manager."""

    def __init__(self, loop: PrivateLoop, client: LogicalClient) -> None:
        self._loop = loop
        self._client = client

    @property
    def pool(self) -> str:
        """Where its messages go that name no pool."""
        return self._client.pool

    @property
    def client_id(self) -> int:
        """The bus's number for it."""
        return self._client.client_id

    def send(self, message: Mapping[str, Any]) -> None:
        """See `LogicalClient.send`."""
        self._loop.run(self._client.send, message)

    def receive(self) -> dict[str, Any] | None:
        """See `LogicalClient.receive`; blocks its caller."""
        return self._loop.run(self._client.receive)

    def close(self) -> None:
        """See `LogicalClient.close`."""
        self._loop.run(self._client.close)

    def __enter__(self) -> SyncLogicalClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
