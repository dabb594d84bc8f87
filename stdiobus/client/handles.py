"""Handles: a bus with some arguments of its calls filled in.

No logic of their own.  The same handles serve `AsyncStdioBus` and `StdioBus`: each call
returns what the method of that name of the bus returns, an awaitable there and the value
here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable

from ..errors import InvalidStateError
from ..messages import OverflowPolicy, WorkerInfo

if TYPE_CHECKING:
    from typing import Union

    from ..options import RequestOptions
    from .aio import AsyncStdioBus
    from .sync import StdioBus

    AnyBus = Union[AsyncStdioBus, StdioBus]


class PoolHandle:
    """One pool of a bus; made by ``bus.pool(id)``.

    Attributes:
        id: The pool.
    """

    def __init__(self, bus: AnyBus, id: str) -> None:
        self._bus = bus
        self.id = id

    def request(
        self,
        method: str,
        params: Any = None,
        *,
        timeout_ms: float | None = None,
        session_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> Any:
        """As ``request`` of the bus."""
        return self._bus.request(
            method, params, pool=self.id, timeout_ms=timeout_ms, session_id=session_id, options=options
        )

    def stream_request(
        self,
        method: str,
        params: Any = None,
        *,
        timeout_ms: float | None = None,
        session_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> Any:
        """As ``stream_request`` of the bus."""
        return self._bus.stream_request(
            method, params, pool=self.id, timeout_ms=timeout_ms, session_id=session_id, options=options
        )

    def notify(
        self,
        method: str,
        params: Any = None,
        *,
        session_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> Any:
        """As ``notify`` of the bus."""
        return self._bus.notify(method, params, pool=self.id, session_id=session_id, options=options)

    def subscribe(
        self,
        *,
        overflow_policy: OverflowPolicy = OverflowPolicy.DROP_OLDEST,
        max_queue: int = 256,
        methods: Iterable[str] | None = None,
    ) -> Any:
        """As ``subscribe`` of the bus."""
        return self._bus.subscribe(
            self.id, overflow_policy=overflow_policy, max_queue=max_queue, methods=methods
        )

    def session(self, id: str | None = None) -> SessionHandle:
        """As ``session`` of the bus, in this pool."""
        return self._bus.session(id, pool=self.id)

    def add_worker(self, handler: Callable[..., Any]) -> Any:
        """As ``add_worker`` of the bus."""
        return self._bus.add_worker(self.id, handler)

    def workers(self) -> list[WorkerInfo]:
        """The workers of this pool, as ``get_workers`` shows them."""
        return [worker for worker in self._bus.get_workers() if worker.pool == self.id]

    def restart(self) -> Any:
        """As ``restart_pool`` of the bus."""
        return self._bus.restart_pool(self.id)

    def scale(self, instances: int) -> Any:
        """As ``scale_pool`` of the bus."""
        return self._bus.scale_pool(self.id, instances)


class SessionHandle:
    """A conversation that stays on one worker; made by ``bus.session()``.

    A context manager, in both spellings: after its end calls are refused.  The bus itself
    forgets a session when its worker ends or when it has been idle the longest of its
    client's and there are too many (``limits.max_sessions``).

    Attributes:
        id: The session id that every call carries.
        pool: The pool of every call, ``None`` to leave that to the bus.
    """

    def __init__(self, bus: AnyBus, id: str, pool: str | None) -> None:
        self._bus = bus
        self._closed = False
        self.id = id
        self.pool = pool

    def request(
        self,
        target: str,
        params: Any = None,
        *,
        method: str | None = None,
        pool: str | None = None,
        timeout_ms: float | None = None,
        options: RequestOptions | None = None,
    ) -> Any:
        """As ``request`` of the bus."""
        return self._open().request(
            target,
            params,
            method=method,
            pool=pool if pool is not None else self.pool,
            timeout_ms=timeout_ms,
            session_id=self.id,
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
        options: RequestOptions | None = None,
    ) -> Any:
        """As ``stream_request`` of the bus."""
        return self._open().stream_request(
            target,
            params,
            method=method,
            pool=pool if pool is not None else self.pool,
            timeout_ms=timeout_ms,
            session_id=self.id,
            options=options,
        )

    def notify(
        self,
        target: str,
        params: Any = None,
        *,
        method: str | None = None,
        pool: str | None = None,
        options: RequestOptions | None = None,
    ) -> Any:
        """As ``notify`` of the bus."""
        return self._open().notify(
            target,
            params,
            method=method,
            pool=pool if pool is not None else self.pool,
            session_id=self.id,
            options=options,
        )

    def close(self) -> None:
        """Ends it: further calls raise `InvalidStateError`.  Idempotent."""
        self._closed = True

    def __enter__(self) -> SessionHandle:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> SessionHandle:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> AnyBus:
        if self._closed:
            raise InvalidStateError(f"session {self.id!r} is closed; make a new one")
        return self._bus
