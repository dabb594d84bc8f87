"""Stepping a kernel bus on an asyncio event loop.

Fd-driven where the loop can watch the kernel's descriptor: no timer, no wakeup while
nothing happens.  Timer-driven elsewhere.  Both run the step on the loop's own thread and
know nothing of what a step does.
"""

from __future__ import annotations

import asyncio
from typing import Callable, Protocol


class Driver(Protocol):
    """What keeps a bus stepped until `stop`."""

    def stop(self) -> None:
        """Ends the stepping.  Idempotent; fine on a loop that is closed."""


class FdDriver:
    """Steps when the kernel's descriptor turns readable.

    Args:
        loop: A loop with ``add_reader``.
        fd: The descriptor; it must stay open until `stop`.
        step: What to call, on the loop.

    Raises:
        NotImplementedError: The loop cannot watch descriptors.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, step: Callable[[], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._watching = True
        loop.add_reader(fd, step)

    def stop(self) -> None:
        """See `Driver.stop`."""
        if self._watching:
            self._watching = False
            if not self._loop.is_closed():
                self._loop.remove_reader(self._fd)


class TimerDriver:
    """Steps once per interval.

    Args:
        loop: Any loop.
        interval: Seconds between two steps.
        step: What to call, on the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float, step: Callable[[], None]) -> None:
        self._loop = loop
        self._interval = interval
        self._step = step
        self._timer: asyncio.TimerHandle | None = loop.call_later(0, self._tick)

    def _tick(self) -> None:
        # Set again first: the step may end in `stop`, or raise.
        self._timer = self._loop.call_later(self._interval, self._tick)
        self._step()

    def stop(self) -> None:
        """See `Driver.stop`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def drive(
    loop: asyncio.AbstractEventLoop,
    fd: int,
    step: Callable[[], None],
    *,
    interval: float,
    force_timer: bool = False,
) -> Driver:
    """Picks the driver that loop and library allow.

    Args:
        loop: The loop that runs the bus.
        fd: The kernel's descriptor, or -1.
        step: What to call.
        interval: Seconds between two steps of a timer-driven bus.
        force_timer: Use the timer in any case.
    """
    if fd >= 0 and not force_timer:
        try:
            return FdDriver(loop, fd, step)
        except NotImplementedError:
            pass  # a proactor loop, say: the timer works everywhere
    return TimerDriver(loop, interval, step)
