"""The life of a bus: its states, its loop and thread, and the errors of calls at the wrong time or place.

What calls do is in ``aio.py``; what starts and ends is the dispatcher, in ``dispatch.py``.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Awaitable
from typing import Callable

from ..backends.base import Backend
from ..errors import InvalidStateError, StdioBusError, TransportError
from ..messages import BusState
from ..protocol.failures import ended
from .dispatch import Dispatcher

_current_thread = threading.get_ident


class Life:
    """Where a bus is in its life, and what it may do there.

    Bound to the loop and the thread that call `start`.  Nothing that lives on refers to it:
    when it is garbage, so is the bus, and what is left of the bus is ended.

    Args:
        ended: Called when it is over; perhaps more than once.

    Attributes:
        dispatcher: The joint of session and backend, ``None`` before `start`.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self.dispatcher: Dispatcher | None = None
        self._ended = ended
        self._state = BusState.CREATED
        # The dispatcher while calls are allowed: the one thing that every call looks at.
        self._live: Dispatcher | None = None
        self._forked_from: int | None = None
        self._thread = 0
        self._thread_name = ""
        self._changing: asyncio.Future[None] | None = None
        self._finalizer: weakref.finalize[[], Life] | None = None
        _lives.add(self)

    @property
    def state(self) -> BusState:
        """The state; what has failed by itself has stopped."""
        if self._live is not None and self._live.closed is not None:
            return BusState.STOPPED
        return self._state

    # ---- Beginning and end

    async def start(self, join: Callable[[], Awaitable[Dispatcher]]) -> None:
        """See `AsyncStdioBus.start`.

        Args:
            join: Finds a backend and makes the dispatcher.
        """
        if self._forked_from is not None:
            raise self._unusable("start")
        if self._state is BusState.STARTING and self._changing is not None:
            if _current_thread() != self._thread:
                raise self._wrong_thread("start")
            await asyncio.wait({self._changing})
        if self._state is BusState.RUNNING:
            self.usable("start")
            return
        if self._state is not BusState.CREATED:
            raise self._unusable("start")
        self._state = BusState.STARTING
        self._changing = asyncio.get_running_loop().create_future()
        self._thread = threading.get_ident()
        self._thread_name = threading.current_thread().name
        try:
            dispatcher = await join()
            if self._state is not BusState.STARTING:  # destroyed in between
                raise self._unusable("start")
            self.dispatcher = dispatcher
            await dispatcher.start()
            self._finalizer = weakref.finalize(self, dispatcher.backend.finalizer())
            self._live = dispatcher
            self._state = BusState.RUNNING
        except BaseException:
            self._end()
            raise
        finally:
            self._changing.set_result(None)

    async def stop(self, timeout_sec: float) -> None:
        """See `AsyncStdioBus.stop`."""
        if self._forked_from is not None:
            raise self._unusable("stop")
        if self._state not in (BusState.RUNNING, BusState.STOPPING) or self.dispatcher is None:
            self.destroy()
            return
        if self.dispatcher.loop is not asyncio.get_running_loop():
            self.destroy()  # its own loop is gone, and nothing can be awaited there
            return
        if self._state is BusState.STOPPING and self._changing is not None:
            await asyncio.wait({self._changing})
            return
        self._live = None
        self._state = BusState.STOPPING
        self._changing = asyncio.get_running_loop().create_future()
        try:
            await self.dispatcher.stop(timeout_sec)
        finally:
            self._end()
            self._changing.set_result(None)

    def destroy(self) -> None:
        """See `AsyncStdioBus.destroy`."""
        if self._forked_from is not None:
            raise self._unusable("destroy")
        if self.dispatcher is not None:
            self._on_its_thread(self.dispatcher, "destroy")
        self._end()

    def _end(self) -> None:
        self._live = None
        self._state = BusState.STOPPED
        if self.dispatcher is not None:
            self.dispatcher.destroy()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._ended()

    # ---- What is allowed now and here

    def usable(self, what: str) -> Dispatcher:
        """The dispatcher, for a call named ``what``.

        Raises:
            InvalidStateError: The bus does not run; the message says what to do.
            TransportError: It has failed, or runs on another thread.
        """
        dispatcher = self._live
        if (
            dispatcher is None
            or dispatcher.closed is not None
            or _current_thread() != self._thread
            or dispatcher.loop.is_closed()
        ):
            raise self._unusable(what)
        return dispatcher

    def not_over(self, what: str) -> None:
        """Refuses what makes no sense after the end, from any thread.

        Raises:
            InvalidStateError: The bus has ended, or is another process's.
        """
        if self._state in (BusState.STOPPING, BusState.STOPPED) or self._forked_from is not None:
            raise self._unusable(what)

    def on_its_thread(self, what: str) -> None:
        """Refuses what another thread may not do while the bus runs.

        Raises:
            TransportError: This is another thread, and the loop of the bus runs.
        """
        if self._live is not None:
            self._on_its_thread(self._live, what)

    def backend(self) -> Backend | None:
        """The backend, once it can be asked.

        Raises:
            TransportError: Called from another thread while the loop of the bus runs.
        """
        if self.dispatcher is None or not self.dispatcher.backend_started:
            return None
        self._on_its_thread(self.dispatcher, "asking for workers or numbers")
        return self.dispatcher.backend

    def _on_its_thread(self, dispatcher: Dispatcher, what: str) -> None:
        if _current_thread() != self._thread and dispatcher.loop.is_running():
            raise self._wrong_thread(what)

    def _unusable(self, what: str) -> StdioBusError:
        if self._forked_from is not None:
            return InvalidStateError(
                f"{what}: this bus belongs to process {self._forked_from}, from which process {os.getpid()} "
                "was forked; make a new bus here",
                {"owner_pid": self._forked_from},
            )
        if self._live is None:
            remedy = {
                BusState.CREATED: "call start() first, or use it as a context manager",
                BusState.STARTING: "wait for start() to return",
            }.get(self._state, "make a new bus")
            return InvalidStateError(f"{what}: the bus is {self._state.name.lower()}; {remedy}")
        if self._live.closed is not None:
            return ended(self._live.closed, what, None)
        if self._live.loop.is_closed():
            return InvalidStateError(
                f"{what}: the event loop that this bus was started on is closed; make a new bus"
            )
        return self._wrong_thread(what)

    def _wrong_thread(self, what: str) -> StdioBusError:
        return TransportError(
            f"{what} was called on thread {threading.current_thread().name!r}, but the bus runs on thread "
            f"{self._thread_name!r}; go through loop.call_soon_threadsafe() or "
            "asyncio.run_coroutine_threadsafe(), or use StdioBus",
        )

    def _after_fork(self, parent: int) -> None:
        # One that was never started, or has ended, holds nothing of the parent's.
        if self._state not in (BusState.CREATED, BusState.STOPPED):
            self._live = None
            self._forked_from = parent


_lives: weakref.WeakSet[Life] = weakref.WeakSet()


def _forked() -> None:
    parent = os.getppid()
    for life in tuple(_lives):
        life._after_fork(parent)


os.register_at_fork(after_in_child=_forked)
