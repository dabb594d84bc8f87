"""Which workers a bus has, by the events of their lives, and waiting until that has changed.

Knows worker events only; no I/O and no clock.
"""

from __future__ import annotations

import asyncio
from typing import Callable

from ..errors import UnavailableError
from ..messages import WorkerEvent
from ..protocol.failures import describe


class Workers:
    """The workers that have been started and have not ended for good.

    Attributes:
        ready: The pool of each worker that takes requests.
        present: The pool of each worker that is ready, or to be started again.
    """

    def __init__(self) -> None:
        self.ready: dict[int, str] = {}
        self.present: dict[int, str] = {}
        self._waiters: set[tuple[str, Callable[[], bool], asyncio.Future[None]]] = set()

    def observe(self, event: WorkerEvent) -> None:
        """Takes the next worker event."""
        number, pool = event.worker_id, event.pool
        if event.kind == "started":
            self.ready[number] = self.present[number] = pool
        elif event.kind == "restarting":
            self.ready.pop(number, None)
            self.present[number] = pool
        else:
            self.ready.pop(number, None)
            self.present.pop(number, None)
        for waiter in tuple(self._waiters):
            wanted, reached, future = waiter
            if wanted != pool or future.done():
                continue
            if event.kind == "failed":
                facts = {"stderr": event.stderr_tail}
                text = describe(event.reason, facts, "check the pool's command, args and env")
                future.set_exception(UnavailableError(text, {"pool": pool, "worker": number}))
            elif reached():
                future.set_result(None)

    def of(self, pool: str) -> set[int]:
        """The workers of a pool that are present."""
        return {number for number, name in self.present.items() if name == pool}

    async def until(self, pool: str, reached: Callable[[], bool]) -> None:
        """Waits until a condition on the workers of a pool holds.

        Raises:
            UnavailableError: A worker of the pool cannot be started.
        """
        if reached():
            return
        waiter = (pool, reached, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        try:
            await waiter[2]
        finally:
            self._waiters.discard(waiter)

    def close(self, error: Exception) -> None:
        """Ends all waiting."""
        for _, _, future in self._waiters:
            if not future.done():
                future.set_exception(error)
