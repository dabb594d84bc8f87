"""A loop in a thread of its own, for code without one: every call goes there and comes back.

What is called, and when the thread begins and ends, is said in ``sync.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, Callable, TypeVar

from ..errors import InvalidStateError, TransportError
from .aio import AsyncStdioBus

_T = TypeVar("_T")

_JOIN_SEC = 10.0
_LOOK_SEC = 0.5
"""How often the main thread looks for Ctrl-C while it waits."""
_NOT_RUNNING = "the bus is not running: call start() first, or use it as a context manager"


class PrivateLoop:
    """The loop that an `AsyncStdioBus` runs on for callers of other threads.

    When it is garbage, so are all who could call: the bus is destroyed and the thread ends.

    Args:
        bus: The bus.
    """

    def __init__(self, bus: AsyncStdioBus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None
        self._finalizer: weakref.finalize[..., PrivateLoop] | None = None

    def open(self) -> None:
        """Starts the thread, once in its life."""
        with self._lock:
            if self._thread is None:
                self._thread = _LoopThread(self._bus)
                self._finalizer = weakref.finalize(self, self._thread.close)

    def run(self, function: Callable[..., Coroutine[Any, Any, _T]], *args: Any, **kwargs: Any) -> _T:
        """Runs a coroutine function on the loop, or here while there is none.

        Raises:
            InvalidStateError: There is no loop, and it has something to wait for; or this is
                the private thread, which would wait for itself.
            TransportError: The loop ended before it was through.
        """
        thread = self._thread
        if thread is None or not thread.alive():
            return _at_once(function(*args, **kwargs))
        return thread.run(function, *args, **kwargs)

    def call(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """Runs a plain function on the loop, or here while there is none."""
        thread = self._thread
        if thread is None or not thread.alive() or thread.is_current():
            return function(*args, **kwargs)

        async def call() -> _T:
            return function(*args, **kwargs)

        return thread.run(call)

    def require(self) -> None:
        """Refuses to go on where there is no loop.

        Raises:
            InvalidStateError: There is none.
        """
        if self._thread is None or not self._thread.alive():
            raise InvalidStateError(_NOT_RUNNING)

    def close(self) -> None:
        """Destroys the bus and ends the thread.  Idempotent, from any thread."""
        if self._thread is None:
            self._bus.destroy()
        else:
            self._thread.close()
        if self._finalizer is not None:
            self._finalizer.detach()


def _at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """The outcome of a coroutine that has nothing to wait for: there is no loop."""
    try:
        coroutine.send(None)
    except StopIteration as outcome:
        return outcome.value  # type: ignore[no-any-return]
    coroutine.close()
    raise InvalidStateError(_NOT_RUNNING)


class _LoopThread:
    """A loop in a daemon thread; refers to the asyncio client, never to its user."""

    def __init__(self, bus: AsyncStdioBus) -> None:
        self._bus = bus
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._running = True
        self._calls: set[_Call] = set()
        # A daemon, because the interpreter waits for other threads before it lets
        # finalizers end the bus.
        self._thread = threading.Thread(target=self._main, name="stdiobus", daemon=True)
        self._thread.start()

    def alive(self) -> bool:
        """Whether calls go to the loop; where not, it has ended when this returns."""
        if os.getpid() != self._pid:
            return False
        if not self._running and not self.is_current():
            self._thread.join(_JOIN_SEC)
        return self._running

    def is_current(self) -> bool:
        """Whether the caller is on the private thread."""
        return threading.get_ident() == self._thread.ident

    def run(self, function: Callable[..., Coroutine[Any, Any, _T]], *args: Any, **kwargs: Any) -> _T:
        """Runs a coroutine function on the loop and waits for its outcome."""
        if self.is_current():
            raise InvalidStateError(
                "a callback of the bus called the bus and would wait for itself; call it from another thread"
            )
        call = _Call(self._loop, lambda: function(*args, **kwargs))
        self._calls.add(call)
        try:
            call.submit()
            return call.result()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            if not call.started:  # the loop ended before it came to it
                self._thread.join(_JOIN_SEC)
                return _at_once(function(*args, **kwargs))
            raise TransportError("the bus was destroyed before the call was through") from None
        except BaseException:
            call.cancel()  # Ctrl-C, say: the call must not go on without its caller
            raise
        finally:
            self._calls.discard(call)

    def close(self) -> None:
        """Destroys the bus and ends the thread.  Idempotent, from any thread."""
        if os.getpid() != self._pid or not self._running:
            return
        self._running = False
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        if not self.is_current():
            self._thread.join(_JOIN_SEC)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._finish())
        finally:
            self._loop.close()
            for call in tuple(self._calls):
                call.end(asyncio.CancelledError())  # what came after the loop's last turn

    async def _finish(self) -> None:
        self._bus.destroy()
        own = asyncio.current_task()
        # The calls that destroy has just ended get one turn to say so.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rest = [task for task in asyncio.all_tasks() if task is not own]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


class _Call:
    """One call on its way from a thread to the loop and back.

    Fit for a thread that Ctrl-C may interrupt at any point.  The coroutine is made on the
    loop, so that nothing comes between the making and the start of it.  The caller waits
    with a bare lock that is acquired in one step: interrupted in a condition, as that of
    ``concurrent.futures``, it could keep the loop's thread out for ever.

    Attributes:
        started: Whether the loop came to it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.started = False
        self._loop = loop
        self._make = make
        self._task: asyncio.Task[Any] | None = None
        self._running = threading.Lock()
        self._running.acquire()
        self._outcome: tuple[Any, BaseException | None] | None = None

    def submit(self) -> None:
        """Sends it to the loop; from any thread.

        Raises:
            CancelledError: The loop is closed.
        """
        try:
            self._loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            raise asyncio.CancelledError from None

    def result(self) -> Any:
        """Waits for its end; returns or raises its outcome, `CancelledError` where the loop ended first."""
        # A signal that comes just before the main thread falls asleep does not wake it.
        longest = _LOOK_SEC if threading.current_thread() is threading.main_thread() else -1
        while not self._running.acquire(timeout=longest):
            continue
        assert self._outcome is not None
        result, error = self._outcome
        if error is not None:
            raise error
        return result

    def cancel(self) -> None:
        """Gives it up; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, so it has ended
            self._loop.call_soon_threadsafe(self._cancel)

    def end(self, error: BaseException | None, result: Any = None) -> None:
        """Sets its outcome, once; on the loop's thread."""
        if self._outcome is None:
            self._outcome = (result, error)
            self._running.release()

    def _start(self) -> None:
        self.started = True
        try:
            self._task = self._loop.create_task(self._make())
        except TypeError as error:  # arguments that the function does not have
            self.end(error)
        else:
            self._task.add_done_callback(self._through)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _through(self, task: asyncio.Task[Any]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self.end(error, None if error is not None else task.result())
