"""The client for synchronous code: an `AsyncStdioBus` on a loop in a private thread.

No logic of its own: every call is marshalled to that loop.  Usable from any number of
threads, and inside a running loop (a notebook, a web framework), where a call blocks the
caller only.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
import weakref
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar, overload

from ..backends.base import Backend
from ..config import BusConfig, DockerOptions, NativeOptions, SubprocessOptions
from ..errors import InvalidStateError, TransportError
from ..messages import (
    BusState,
    BusStats,
    HelloResult,
    ListenMode,
    OverflowPolicy,
    StreamEvent,
    WorkerInfo,
)
from .aio import AsyncStdioBus
from .embedded import EmbeddedWorker, WorkerFunction
from .handlers import Handler
from .handles import PoolHandle, SessionHandle
from .listeners import LineCallback, WorkerCallback
from .streaming import ResponseStream
from .subscriptions import Notification, NotificationSubscription

if TYPE_CHECKING:
    from ..options import HelloParams, RequestOptions

_T = TypeVar("_T")
_Line = TypeVar("_Line", bound=LineCallback)
_Handler = TypeVar("_Handler", bound=Handler)
_Worker = TypeVar("_Worker", bound=WorkerCallback)

_JOIN_SEC = 10.0
_LOOK_SEC = 0.5
"""How often the main thread looks for Ctrl-C while it waits."""
_NOT_RUNNING = "the bus is not running: call start() first, or use it as a context manager"


class StdioBus:
    """Pools of worker processes behind one blocking object; arguments of `AsyncStdioBus`.

    Callbacks run on the private thread and must not call the bus.  Where a method says
    nothing else, see the method of the same name there.
    """

    def __init__(
        self,
        config: BusConfig | Mapping[str, Any] | None = None,
        *,
        config_path: str | os.PathLike[str] | None = None,
        backend: str | Backend = "auto",
        timeout_ms: float = 30000,
        native: NativeOptions | None = None,
        subprocess: SubprocessOptions | None = None,
        docker: DockerOptions | None = None,
    ) -> None:
        self._bus = AsyncStdioBus(
            config,
            config_path=config_path,
            backend=backend,
            timeout_ms=timeout_ms,
            native=native,
            subprocess=subprocess,
            docker=docker,
        )
        self._lock = threading.Lock()
        self._thread: _LoopThread | None = None
        self._finalizer: weakref.finalize[..., StdioBus] | None = None

    # ---- Life

    def start(self) -> None:
        """See `AsyncStdioBus.start`."""
        with self._lock:
            if self._thread is None:
                self._thread = _LoopThread(self._bus)
                self._finalizer = weakref.finalize(self, self._thread.close)
        try:
            self._await(self._bus.start)
        except BaseException:
            self._close()
            raise

    def connect(self, params: HelloParams | Mapping[str, Any] | None = None) -> HelloResult:
        """See `AsyncStdioBus.connect`."""
        self.start()
        return self.hello(params)

    def hello(self, params: HelloParams | Mapping[str, Any] | None = None) -> HelloResult:
        """See `AsyncStdioBus.hello`."""
        return self._await(self._bus.hello, params)

    def stop(self, timeout_sec: float = 30.0) -> None:
        """See `AsyncStdioBus.stop`."""
        self._await(self._bus.stop, timeout_sec)
        self._close()

    def destroy(self) -> None:
        """See `AsyncStdioBus.destroy`."""
        if self._thread is None:
            self._bus.destroy()
        self._close()

    def __enter__(self) -> StdioBus:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # ---- Calls

    def request(
        self,
        target: str,
        params: Any = None,
        *,
        method: str | None = None,
        pool: str | None = None,
        timeout_ms: float | None = None,
        session_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> Any:
        """See `AsyncStdioBus.request`."""
        return self._await(
            self._bus.request,
            target,
            params,
            method=method,
            pool=pool,
            timeout_ms=timeout_ms,
            session_id=session_id,
            options=options,
        )

    def stream_request(
        self,
        target: str,
        params: Any = None,
        *,
        method: str | None = None,
        pool: str | None = None,
        timeout_ms: float | None = None,
        session_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> SyncStream:
        """See `AsyncStdioBus.stream_request`; the iterator blocks its caller."""
        stream = self._call(
            self._bus.stream_request,
            target,
            params,
            method=method,
            pool=pool,
            timeout_ms=timeout_ms,
            session_id=session_id,
            options=options,
        )
        assert isinstance(stream, ResponseStream)
        return SyncStream(self, stream)

    def notify(
        self,
        target: str,
        params: Any = None,
        *,
        method: str | None = None,
        pool: str | None = None,
        session_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> None:
        """See `AsyncStdioBus.notify`."""
        self._await(
            self._bus.notify,
            target,
            params,
            method=method,
            pool=pool,
            session_id=session_id,
            options=options,
        )

    def send(self, line: str | bytes) -> bool:
        """See `AsyncStdioBus.send`; here from any thread."""
        return self._call(self._bus.send, line)

    # ---- Pools, sessions and workers

    def pool(self, id: str) -> PoolHandle:
        """See `AsyncStdioBus.pool`; the calls of the handle block."""
        self._bus.pool(id)
        return PoolHandle(self, id)

    def session(self, id: str | None = None, *, pool: str | None = None) -> SessionHandle:
        """See `AsyncStdioBus.session`; the calls of the handle block."""
        return SessionHandle(self, self._call(self._bus.session, id, pool=pool).id, pool)

    def scale_pool(self, pool: str, instances: int) -> None:
        """See `AsyncStdioBus.scale_pool`."""
        self._await(self._bus.scale_pool, pool, instances)

    def restart_pool(self, pool: str) -> None:
        """See `AsyncStdioBus.restart_pool`."""
        self._await(self._bus.restart_pool, pool)

    def add_worker(self, pool: str, handler: WorkerFunction) -> SyncEmbeddedWorker:
        """See `AsyncStdioBus.add_worker`.

        An async function runs on the private thread and must not call the bus, any other
        in a thread of a pool, several at a time.
        """
        return SyncEmbeddedWorker(self, self._await(self._bus.add_worker, pool, _off_loop(handler)))

    # ---- Listening

    def subscribe(
        self,
        pool: str | None = None,
        *,
        overflow_policy: OverflowPolicy = OverflowPolicy.DROP_OLDEST,
        max_queue: int = 256,
        methods: Iterable[str] | None = None,
    ) -> SyncSubscription:
        """See `AsyncStdioBus.subscribe`; the iterator blocks its caller."""
        return SyncSubscription(
            self,
            self._call(
                self._bus.subscribe,
                pool,
                overflow_policy=overflow_policy,
                max_queue=max_queue,
                methods=methods,
            ),
        )

    def subscribe_notifications(self, *, max_queue: int = 256, overflow: str = "drop") -> SyncSubscription:
        """See `AsyncStdioBus.subscribe_notifications`."""
        return SyncSubscription(
            self,
            self._call(self._bus.subscribe_notifications, max_queue=max_queue, overflow=overflow),
        )

    def unsubscribe(self, subscription: SyncSubscription) -> None:
        """See `AsyncStdioBus.unsubscribe`."""
        subscription.close()

    def on_message(self, callback: _Line) -> _Line:
        """See `AsyncStdioBus.on_message`; runs on the private thread."""
        self._call(self._bus.on_message, callback)
        return callback

    def on_notification(self, callback: _Line) -> _Line:
        """See `AsyncStdioBus.on_notification`; runs on the private thread."""
        self._call(self._bus.on_notification, callback)
        return callback

    @overload
    def on_request(self, method: str) -> Callable[[_Handler], _Handler]: ...

    @overload
    def on_request(self, method: str, handler: _Handler) -> _Handler: ...

    def on_request(self, method: str, handler: Any = None) -> Any:
        """See `AsyncStdioBus.on_request`.

        An async handler runs on the private thread and must not call the bus, any other
        in a thread of a pool, several at a time.
        """
        if handler is None:
            return lambda function: self.on_request(method, function)
        self._call(self._bus.on_request, method, _off_loop(handler))
        return handler

    def on_worker_event(self, callback: _Worker) -> _Worker:
        """See `AsyncStdioBus.on_worker_event`; runs on the private thread."""
        self._call(self._bus.on_worker_event, callback)
        return callback

    # ---- Introspection

    @property
    def client_session_id(self) -> str:
        """See `AsyncStdioBus.client_session_id`."""
        return self._bus.client_session_id

    @property
    def agent_session_id(self) -> str | None:
        """See `AsyncStdioBus.agent_session_id`."""
        return self._bus.agent_session_id

    def get_state(self) -> BusState:
        """See `AsyncStdioBus.get_state`."""
        return self._call(self._bus.get_state)

    def is_running(self) -> bool:
        """See `AsyncStdioBus.is_running`."""
        return self._call(self._bus.is_running)

    def get_stats(self) -> BusStats:
        """See `AsyncStdioBus.get_stats`."""
        return self._call(self._bus.get_stats)

    def get_backend_type(self) -> str:
        """See `AsyncStdioBus.get_backend_type`."""
        return self._call(self._bus.get_backend_type)

    def get_listen_mode(self) -> ListenMode:
        """See `AsyncStdioBus.get_listen_mode`."""
        return self._call(self._bus.get_listen_mode)

    def get_workers(self) -> list[WorkerInfo]:
        """See `AsyncStdioBus.get_workers`."""
        return self._call(self._bus.get_workers)

    def get_worker_count(self) -> int:
        """See `AsyncStdioBus.get_worker_count`."""
        return self._call(self._bus.get_worker_count)

    def get_client_count(self) -> int:
        """See `AsyncStdioBus.get_client_count`."""
        return self._call(self._bus.get_client_count)

    # ---- Marshalling

    def _await(self, function: Callable[..., Coroutine[Any, Any, _T]], *args: Any, **kwargs: Any) -> _T:
        """Runs a coroutine function on the private loop, or here while there is none."""
        thread = self._thread
        if thread is None or not thread.alive():
            return _at_once(function(*args, **kwargs))
        return thread.run(function, *args, **kwargs)

    def _call(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """Runs a plain function on the private loop, or here while there is none."""
        thread = self._thread
        if thread is None or not thread.alive() or thread.is_current():
            return function(*args, **kwargs)

        async def call() -> _T:
            return function(*args, **kwargs)

        return thread.run(call)

    def _require_loop(self) -> None:
        if self._thread is None or not self._thread.alive():
            raise InvalidStateError(_NOT_RUNNING)

    def _close(self) -> None:
        if self._thread is not None:
            self._thread.close()
        if self._finalizer is not None:
            self._finalizer.detach()


class SyncStream(Iterator[StreamEvent]):
    """A streamed request as a blocking iterator; leaving the loop early cancels it."""

    def __init__(self, bus: StdioBus, stream: ResponseStream) -> None:
        self._bus = bus
        self._stream = stream

    def __iter__(self) -> SyncStream:
        return self

    def __next__(self) -> StreamEvent:
        try:
            return self._bus._await(self._stream.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Ends the stream; cancels the request if it is not answered yet.  Idempotent."""
        self._bus._await(self._stream.aclose)


class SyncSubscription(Iterator[Notification]):
    """A `NotificationSubscription` as a blocking iterator."""

    def __init__(self, bus: StdioBus, subscription: NotificationSubscription) -> None:
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
        self._bus._call(self._bus._bus.unsubscribe, self._subscription)

    def __iter__(self) -> SyncSubscription:
        return self

    def __next__(self) -> Notification:
        if not self._subscription.closed:
            self._bus._require_loop()
        try:
            return self._bus._await(self._subscription.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


class SyncEmbeddedWorker:
    """An in-process worker, see `AsyncStdioBus.add_worker`."""

    def __init__(self, bus: StdioBus, worker: EmbeddedWorker) -> None:
        self._bus = bus
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
        self._bus._call(self._worker.close)


def _off_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that may block, made fit for the loop; an async one is so already."""
    if not callable(function) or inspect.iscoroutinefunction(function):
        return function

    async def call(*arguments: Any) -> Any:
        outcome = await asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments))
        return await outcome if inspect.isawaitable(outcome) else outcome

    return call


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
