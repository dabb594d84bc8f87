"""`StdioBus` for tests that are written for `AsyncStdioBus`: what blocks there is awaited here.

Each blocking call runs in a thread of its own, many at a time, and callbacks come to the loop of
the test; everything else is called as it is. There is nothing here that a bus does itself.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Callable

from stdiobus import AsyncStdioBus, LogicalClient, StdioBus
from stdiobus.client import private_loop

END = object()  # of an iterator: StopIteration cannot pass through a future


class Threads:
    """The threads that call a bus; `with` waits for all of them.

    Calls go in the order in which they are made, as those of one loop do: each is waited for
    until it is on its way, which takes no longer than the start of a thread.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(2000, "caller")  # never fewer than calls at a time
        self._here = threading.local()
        self._submit = private_loop._Call.submit

    def __enter__(self) -> Threads:
        here, submit = self._here, self._submit

        def submit_and_tell(call: Any) -> None:
            submit(call)
            if hasattr(here, "on_its_way"):
                here.on_its_way.set()

        private_loop._Call.submit = submit_and_tell  # type: ignore[method-assign]
        return self

    def __exit__(self, *exception: object) -> None:
        private_loop._Call.submit = self._submit  # type: ignore[method-assign]
        self._executor.shutdown()

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        on_its_way = threading.Event()

        def call() -> Any:
            self._here.on_its_way = on_its_way
            try:
                return function(*args, **kwargs)
            finally:
                on_its_way.set()  # it needed no loop

        done = asyncio.get_running_loop().run_in_executor(self._executor, call)
        on_its_way.wait()
        return await done


class Awaited:
    """An object of a `StdioBus` whose methods `names` are awaited."""

    def __init__(self, subject: Any, threads: Threads, names: set[str]) -> None:
        self._subject = subject
        self._threads = threads
        self._names = names

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._subject, name)
        return partial(self._threads.run, member) if name in self._names else member

    def stream_request(self, *args: Any, **kwargs: Any) -> Iterated:
        return Iterated(self._subject.stream_request(*args, **kwargs), self._threads, set())

    def subscribe(self, *args: Any, **kwargs: Any) -> Iterated:
        return Iterated(self._subject.subscribe(*args, **kwargs), self._threads, set())

    async def __aenter__(self) -> Awaited:
        await self._threads.run(self._subject.__enter__)
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._threads.run(self._subject.__exit__, *exception)


class Iterated(Awaited):
    """A blocking iterator, to be read by `async for`."""

    def __aiter__(self) -> Iterated:
        return self

    async def __anext__(self) -> Any:
        item = await self._threads.run(next, self._subject, END)
        if item is END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        await self._threads.run(self._subject.close)


def coroutines(kind: type) -> set[str]:
    return {name for name, member in vars(kind).items() if inspect.iscoroutinefunction(member)}


# The calls of a handle return what those of the bus return: which are awaited is said here.
HANDLE = {"request", "notify", "restart", "scale", "add_worker"}


class ThreadedBus(Awaited):
    """A `StdioBus` that looks like an `AsyncStdioBus`."""

    def __init__(self, bus: StdioBus, threads: Threads) -> None:
        super().__init__(bus, threads, coroutines(AsyncStdioBus) - {"open_client"})

    def pool(self, *args: Any) -> Awaited:
        return self._handle(self._subject.pool(*args))

    def session(self, *args: Any, **kwargs: Any) -> Awaited:
        return self._handle(self._subject.session(*args, **kwargs))

    async def open_client(self, pool: str) -> Awaited:
        client = await self._threads.run(self._subject.open_client, pool)
        return Awaited(client, self._threads, coroutines(LogicalClient))

    def unsubscribe(self, subscription: Iterated) -> None:
        self._subject.unsubscribe(subscription._subject)

    def on_message(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        return self._subject.on_message(self._here(callback))

    def on_notification(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        return self._subject.on_notification(self._here(callback))

    def on_worker_event(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        return self._subject.on_worker_event(self._here(callback))

    def _here(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        return partial(asyncio.get_running_loop().call_soon_threadsafe, callback)

    def _handle(self, handle: Any) -> Awaited:
        return Awaited(handle, self._threads, HANDLE)
