"""The client for synchronous code: an `AsyncStdioBus` on a loop in a private thread.

No logic of its own: every call goes to that loop, as ``private_loop.py`` does it.  Usable
from any number of threads, and inside a running loop (a notebook, a web framework), where a
call blocks the caller only.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, TypeVar, overload

from ..backends.base import Backend
from ..config import BusConfig, DockerOptions, NativeOptions, SubprocessOptions
from ..errors import UnavailableError
from ..messages import BusState, BusStats, HelloResult, ListenMode, OverflowPolicy, WorkerInfo
from .aio import AsyncStdioBus
from .blocking import SyncEmbeddedWorker, SyncLogicalClient, SyncStream, SyncSubscription
from .embedded import WorkerFunction
from .handlers import Handler
from .handles import PoolHandle, SessionHandle
from .listeners import LineCallback, WorkerCallback
from .private_loop import PrivateLoop

if TYPE_CHECKING:
    from ..options import HelloParams, RequestOptions

_Line = TypeVar("_Line", bound=LineCallback)
_Handler = TypeVar("_Handler", bound=Handler)
_Worker = TypeVar("_Worker", bound=WorkerCallback)


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
        strict: bool = True,
    ) -> None:
        self._bus = AsyncStdioBus(
            config,
            config_path=config_path,
            backend=backend,
            timeout_ms=timeout_ms,
            native=native,
            subprocess=subprocess,
            docker=docker,
            strict=strict,
        )
        self._loop = PrivateLoop(self._bus)

    # ---- Life

    def start(self) -> None:
        """See `AsyncStdioBus.start`."""
        self._loop.open()
        try:
            self._loop.run(self._bus.start)
        except BaseException:
            self._loop.close()
            raise

    def connect(self, params: HelloParams | Mapping[str, Any] | None = None) -> HelloResult:
        """See `AsyncStdioBus.connect`."""
        self.start()
        return self.hello(params)

    def hello(self, params: HelloParams | Mapping[str, Any] | None = None) -> HelloResult:
        """See `AsyncStdioBus.hello`."""
        return self._loop.run(self._bus.hello, params)

    def stop(self, timeout_sec: float = 30.0) -> None:
        """See `AsyncStdioBus.stop`."""
        self._loop.run(self._bus.stop, timeout_sec)
        self._loop.close()

    def destroy(self) -> None:
        """See `AsyncStdioBus.destroy`."""
        self._loop.close()

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
        return self._loop.run(
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
        stream = self._loop.call(
            self._bus.stream_request,
            target,
            params,
            method=method,
            pool=pool,
            timeout_ms=timeout_ms,
            session_id=session_id,
            options=options,
        )
        return SyncStream(self._loop, stream)

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
        self._loop.run(
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
        return self._loop.call(self._bus.send, line)

    # ---- Pools, sessions and workers

    def pool(self, id: str) -> PoolHandle:
        """See `AsyncStdioBus.pool`; the calls of the handle block."""
        self._bus.pool(id)
        return PoolHandle(self, id)

    def session(self, id: str | None = None, *, pool: str | None = None) -> SessionHandle:
        """See `AsyncStdioBus.session`; the calls of the handle block."""
        return SessionHandle(self, self._loop.call(self._bus.session, id, pool=pool).id, pool)

    def scale_pool(self, pool: str, instances: int) -> None:
        """See `AsyncStdioBus.scale_pool`."""
        self._loop.run(self._bus.scale_pool, pool, instances)

    def restart_pool(self, pool: str) -> None:
        """See `AsyncStdioBus.restart_pool`."""
        self._loop.run(self._bus.restart_pool, pool)

    def add_worker(self, pool: str, handler: WorkerFunction) -> SyncEmbeddedWorker:
        """See `AsyncStdioBus.add_worker`.

        An async function runs on the private thread and must not call the bus, any other
        in a thread of a pool, several at a time.
        """
        return SyncEmbeddedWorker(self._loop, self._loop.run(self._bus.add_worker, pool, _off_loop(handler)))

    def open_client(self, pool: str) -> SyncLogicalClient:
        """See `AsyncStdioBus.open_client`; the calls of the client block."""
        return SyncLogicalClient(self._loop, self._loop.run(self._bus.open_client, pool))

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
            self._loop,
            self._bus,
            self._loop.call(
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
            self._loop,
            self._bus,
            self._loop.call(self._bus.subscribe_notifications, max_queue=max_queue, overflow=overflow),
        )

    def unsubscribe(self, subscription: SyncSubscription) -> None:
        """See `AsyncStdioBus.unsubscribe`."""
        subscription.close()

    def on_message(self, callback: _Line) -> _Line:
        """See `AsyncStdioBus.on_message`; runs on the private thread."""
        self._loop.call(self._bus.on_message, callback)
        return callback

    def on_notification(self, callback: _Line) -> _Line:
        """See `AsyncStdioBus.on_notification`; runs on the private thread."""
        self._loop.call(self._bus.on_notification, callback)
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
        self._loop.call(self._bus.on_request, method, _off_loop(handler))
        return handler

    def on_worker_event(self, callback: _Worker) -> _Worker:
        """See `AsyncStdioBus.on_worker_event`; runs on the private thread."""
        self._loop.call(self._bus.on_worker_event, callback)
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
        return self._loop.call(self._bus.get_state)

    def is_running(self) -> bool:
        """See `AsyncStdioBus.is_running`."""
        return self._loop.call(self._bus.is_running)

    def get_stats(self) -> BusStats:
        """See `AsyncStdioBus.get_stats`."""
        return self._loop.call(self._bus.get_stats)

    def get_backend_type(self) -> str:
        """See `AsyncStdioBus.get_backend_type`."""
        return self._loop.call(self._bus.get_backend_type)

    def get_listen_mode(self) -> ListenMode:
        """See `AsyncStdioBus.get_listen_mode`."""
        return self._loop.call(self._bus.get_listen_mode)

    def get_workers(self) -> list[WorkerInfo]:
        """See `AsyncStdioBus.get_workers`."""
        return self._loop.call(self._bus.get_workers)

    def get_worker_count(self) -> int:
        """See `AsyncStdioBus.get_worker_count`."""
        return self._loop.call(self._bus.get_worker_count)

    def get_failed_pools(self) -> dict[str, UnavailableError]:
        """See `AsyncStdioBus.get_failed_pools`."""
        return self._loop.call(self._bus.get_failed_pools)

    def get_client_count(self) -> int:
        """See `AsyncStdioBus.get_client_count`."""
        return self._loop.call(self._bus.get_client_count)


def _off_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that may block, made fit for the loop; an async one is so already."""
    if not callable(function) or inspect.iscoroutinefunction(function):
        return function

    async def call(*arguments: Any) -> Any:
        outcome = await asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments))
        return await outcome if inspect.isawaitable(outcome) else outcome

    return call
