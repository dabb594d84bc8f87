"""Subscriptions: bounded queues of notifications, each read at its own pace.

A subscription never slows the bus or another subscription down: what does not fit is
dropped by its policy and counted.  Which notifications there are is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any

from ..errors import InvalidArgumentError
from ..messages import OverflowPolicy

Notification = dict[str, Any]


class NotificationSubscription(AsyncIterator[Notification]):
    """An async iterator of notifications, as decoded JSON objects.

    Made by ``subscribe``; used on the loop of its bus.  After `close` what is buffered
    is still delivered, then the iteration ends.

    Attributes:
        pool: The pool it listens to, ``None`` for all.
        dropped: Notifications that did not fit.
        closed: Whether nothing is added any more.
    """

    def __init__(
        self,
        pool: str | None,
        overflow_policy: OverflowPolicy,
        max_queue: int,
        methods: Iterable[str] | None,
    ) -> None:
        if isinstance(max_queue, bool) or not isinstance(max_queue, int) or max_queue < 1:
            raise InvalidArgumentError("max_queue: must be an integer above 0", {"field": "max_queue"})
        if isinstance(methods, str):
            raise InvalidArgumentError("methods: must be several names, not a string", {"field": "methods"})
        try:
            self._policy = OverflowPolicy(overflow_policy)
        except ValueError:
            names = ", ".join(policy.value for policy in OverflowPolicy)
            raise InvalidArgumentError(
                f"overflow_policy: must be one of {names}", {"field": "overflow_policy"}
            ) from None
        self.pool = pool
        self.dropped = 0
        self.closed = False
        self._methods = None if methods is None else frozenset(methods)
        self._max_queue = max_queue
        self._queue: deque[Notification] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()

    def offer(self, message: Notification, pool: str | None) -> None:
        """Takes ``message`` of ``pool`` if it is one of its own; called by the bus."""
        if self.closed or (self.pool is not None and self.pool != pool):
            return
        if self._methods is not None and message["method"] not in self._methods:
            return
        if len(self._queue) >= self._max_queue:
            self.dropped += 1
            if self._policy is OverflowPolicy.CLOSE:
                self.close()
            if self._policy is not OverflowPolicy.DROP_OLDEST:
                return
            self._queue.popleft()
        self._queue.append(message)
        self._wake(1)

    def close(self) -> None:
        """Ends it: nothing is added any more, what is buffered is still delivered."""
        self.closed = True
        self._wake(len(self._waiters))

    def __aiter__(self) -> NotificationSubscription:
        return self

    async def __anext__(self) -> Notification:
        while not self._queue:
            if self.closed:
                raise StopAsyncIteration
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake(1)  # this wakeup was meant for whoever still waits
                raise
        return self._queue.popleft()

    def _wake(self, count: int) -> None:
        while count and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1
