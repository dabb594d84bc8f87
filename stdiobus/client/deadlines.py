"""The deadlines of all pending requests on one timer of the loop.

Knows times and ids, not requests.  An id whose request was answered stays in the heap
until its time comes or until half the heap is such leftovers, so that answering costs
nothing here.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Collection
from typing import Callable

_COMPACT_ABOVE = 1024


class Deadlines:
    """Calls back for each id whose time has come; on the loop's thread only.

    Args:
        loop: The loop that keeps the time.
        live: The ids that still wait; the others are passed over.
        on_expired: Called on the loop with an id of ``live`` that is due.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, live: Collection[int], on_expired: Callable[[int], None]
    ) -> None:
        self._loop = loop
        self._live = live
        self._on_expired = on_expired
        self._heap: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, number: int, delay: float) -> None:
        """Sets the deadline of an id, ``delay`` seconds from now."""
        when = self._loop.time() + delay
        heap = self._heap
        heapq.heappush(heap, (when, number))
        if self._timer is None or when < self._timer_at:
            self._arm(when)
        if len(heap) > _COMPACT_ABOVE and len(heap) > 2 * len(self._live):
            live = self._live
            self._heap = [entry for entry in heap if entry[1] in live]
            heapq.heapify(self._heap)

    def close(self) -> None:
        """Forgets all deadlines."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        heap = self._heap
        now = self._loop.time()
        while heap and (heap[0][0] <= now or heap[0][1] not in self._live):
            number = heapq.heappop(heap)[1]
            if number in self._live:
                self._on_expired(number)
        if heap and self._timer is None:
            self._arm(heap[0][0])
