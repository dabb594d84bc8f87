"""The joint between a protocol session and a backend: one per running bus.

Sends what calls produce, gathered once per iteration of the loop, and brings what arrives
to the futures, streams and listeners that wait for it.  The life of the bus is in
``aio.py``; what a message means is in ``protocol/``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from ..backends.base import Backend
from ..config import BusConfig
from ..errors import ResourceExhaustedError, StdioBusError, TimeoutError, TransportError
from ..messages import WorkerEvent
from ..protocol import failures
from ..protocol.session import EventKind, Pending, Record, Session
from .deadlines import Deadlines
from .embedded import EmbeddedWorker, WorkerFunction
from .handlers import Handlers
from .listeners import Listeners
from .logical import LogicalClient
from .startup import Startup
from .streaming import StreamBuffer
from .workers import Workers

_log = logging.getLogger("stdiobus")

_RESULT = EventKind.RESULT
_ERROR = EventKind.ERROR
_CHUNK = EventKind.CHUNK
_NOTIFICATION = EventKind.NOTIFICATION
_REQUEST = EventKind.REQUEST
_OVERFLOW = EventKind.OVERFLOW
_FULL = EventKind.FULL
_ATTACHED = EventKind.ATTACHED

_NO_DEADLINE = float("inf")
_STOP_GRACE_SEC = 5.0
"""What a worker that is to end may need beyond its own time."""
_FROM_WORKER = b'{"jsonrpc":"2.0","method":"stdio_bus/from_worker","params":{"worker":%d,"message":'
_TO_WORKER = b'{"jsonrpc":"2.0","method":"stdio_bus/to_worker"'
"""How lines begin that are for workers of this process, not for its user."""


class Dispatcher:
    """Implements the backend's `Sink`; every method runs on the loop's thread.

    Args:
        config: The bus.
        name: Prefix of the sessions made for calls that have none.
        listeners: Who is told about notifications and workers.
        handlers: Who answers requests of workers.
        backend: Not started yet.
        strict: Whether a pool that cannot start makes `start` fail.

    Attributes:
        backend: The backend.
        backend_started: Whether it got so far that it can be asked for numbers.
        loop: The loop that runs it.
        session: The protocol state.
        workers: Those that there are.
        startup: Which pools have none.
        closed: Why it is over, ``None`` while it is not.
    """

    def __init__(
        self,
        config: BusConfig,
        name: str,
        listeners: Listeners,
        handlers: Handlers,
        backend: Backend,
        strict: bool = True,
    ) -> None:
        self.backend = backend
        self.workers = Workers()
        self.session = Session(
            {pool.id: pool.protocol for pool in config.pools},
            name,
            config.limits.max_output_queue,
            config.limits.max_sessions,
        )
        self.backend_started = False
        self.closed: StdioBusError | None = None
        self._config = config
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._listeners = listeners
        self._handlers = handlers
        self._embedded: dict[int, EmbeddedWorker] = {}
        self._clients: dict[int, LogicalClient] = {}
        self.startup = Startup(config.pools, strict)
        self._started = self.loop.create_future()
        self._deadlines = Deadlines(self.loop, self.session.pending, self._expired)
        self._backlog_limit = config.limits.max_output_queue
        self._outgoing: list[bytes] = []
        # What the bus has for workers whose number is not known here yet.
        self._attaching: list[list[tuple[int, Mapping[str, Any]]]] = []

    # ---- Life

    async def start(self) -> None:
        """Starts the backend and waits until every pool has a ready worker, or has failed if that is allowed.

        Raises:
            StdioBusError: It cannot; `destroy` is the caller's duty then.
        """
        await self.backend.start(self._config, self)
        self.backend_started = True
        startup = self.startup
        if startup.complete and not self._started.done():
            self._started.set_result(None)  # nothing but embedded pools
        allowed = max(pool.startup_timeout_sec for pool in self._config.pools)
        # A second more: the kernel's own report of a slow start says more than ours.
        await asyncio.wait({self._started}, timeout=allowed + 1)
        if startup.error is None and self.closed is not None:
            raise self.closed
        if not startup.complete:
            startup.time_out(allowed)
        if startup.error is not None:
            raise startup.error
        for failure in startup.failures.values():
            _log.warning("start: %s", failure.message)

    async def stop(self, timeout_sec: float) -> None:
        """Ends every pending request, then the backend in an orderly way."""
        error = TransportError("the bus was stopped before the answer came; send it to a new bus")
        for pending in list(self.session.pending.values()):
            # Told to the kernel, so that it does not wait for answers nobody wants.
            self.give_up(pending, failures.ended(error, pending.method, pending.pool))
        self.flush()
        await self.backend.stop(timeout_sec)
        self.end(error)

    def destroy(self) -> None:
        """Ends everything now."""
        self.backend.destroy()
        self.end(TransportError("the bus was destroyed before the answer came"))

    def end(self, error: StdioBusError) -> None:
        """Ends every pending request with a copy of ``error``, and the timer.  Idempotent."""
        if self.closed is None:
            self.closed = error
        self._outgoing.clear()
        self._deadlines.close()
        self._handlers.close()
        self.workers.close(error)
        for worker in self._embedded.values():
            worker.ended()
        self._embedded.clear()
        for client in tuple(self._clients.values()):
            client.ended(error)
        for pending in self.session.drain():
            self._finish(pending, failures.ended(error, pending.method, pending.pool))
        if not self._started.done():
            self._started.set_result(None)

    # ---- Calls

    def request(
        self,
        method: str,
        params: Any,
        pool: str | None,
        session: str | None,
        routing: Mapping[str, Any] | None,
        timeout: float,
        streaming: bool,
    ) -> Pending:
        """Sends a request; `Pending.waiter` is a future, or a `StreamBuffer` if streaming.

        Args:
            timeout: Seconds until it ends with `TimeoutError`; infinity for never.
            method: See `Session.request`, like the others.
            params: Likewise.
            pool: Likewise.
            session: Likewise.
            routing: Likewise.
            streaming: Likewise.

        Raises:
            InvalidArgumentError: It cannot be sent.
            ResourceExhaustedError: The kernel does not keep up.
        """
        if self.backend.backlog > self._backlog_limit:
            self._refuse_backlog()
        pending = self.session.request(method, params, pool, session, routing, streaming)
        if streaming:
            pending.waiter = StreamBuffer(self.loop, pending, self._consumed)
        else:
            pending.waiter = self.loop.create_future()
        pending.timeout = timeout
        if timeout != _NO_DEADLINE:
            self._deadlines.add(pending.id, timeout)
        if not self._outgoing:
            self.loop.call_soon(self.flush)
        self._outgoing.append(pending.line)
        return pending

    async def order(self, method: str, params: Mapping[str, Any]) -> Any:
        """Asks the bus itself for something (``stdio_bus/``) and returns the result.

        Raises:
            StdioBusError: It refuses, or it has ended.
        """
        pending = self.session.control(method, params)
        pending.waiter = self.loop.create_future()
        self._queue(pending.line)
        return await pending.waiter

    async def scale(self, pool: str, instances: int) -> None:
        """Changes the number of a pool's processes, and waits until that is so.

        Raises:
            UnavailableError: One of them cannot be started.
            StdioBusError: The bus refuses it, has ended, or needs too long.
        """
        await self.order("stdio_bus/scale", {"pool": pool, "instances": instances})
        workers = self.workers

        def reached() -> bool:
            present = self._processes(pool)
            return len(present) == instances and present <= workers.ready.keys()

        await self._until(pool, reached, 1, f"{instances} workers")

    async def restart(self, pool: str) -> None:
        """Replaces the processes of a pool, one after the other, and waits for it.

        Raises:
            UnavailableError: A successor cannot be started; those not replaced yet stay.
            StdioBusError: The bus refuses it, has ended, or needs too long.
        """
        old = self._processes(pool)
        await self.order("stdio_bus/restart", {"pool": pool})
        await self._until(pool, lambda: not old & self.workers.of(pool), len(old), "a full restart")

    def _processes(self, pool: str) -> set[int]:
        return self.workers.of(pool) - self._embedded.keys()

    async def _until(self, pool: str, reached: Callable[[], bool], rounds: int, what: str) -> None:
        startup = next(each.startup_timeout_sec for each in self._config.pools if each.id == pool)
        allowed = rounds * (startup + self._config.limits.drain_timeout_sec) + _STOP_GRACE_SEC
        try:
            await asyncio.wait_for(self.workers.until(pool, reached), allowed)
        except asyncio.TimeoutError:
            raise TimeoutError(
                f"pool {pool!r}: no {what} within {allowed:g} s; it may still come", {"pool": pool}
            ) from None

    async def add_worker(self, pool: str, protocol: str, function: WorkerFunction) -> EmbeddedWorker:
        """Makes a function of this process a worker of a pool.

        Raises:
            StdioBusError: The bus refuses it, or has ended.
        """
        attaching = asyncio.ensure_future(self._attach(pool, protocol, function))
        try:
            return await asyncio.shield(attaching)
        except asyncio.CancelledError:
            # It may be a worker already, with requests: it is through with them before it goes.
            attaching.add_done_callback(_close_attached)
            raise

    async def _attach(self, pool: str, protocol: str, function: WorkerFunction) -> EmbeddedWorker:
        waiting: list[tuple[int, Mapping[str, Any]]] = []
        self._attaching.append(waiting)
        try:
            number = (await self.order("stdio_bus/attach", {"pool": pool}))["worker"]
        finally:
            self._attaching.remove(waiting)
        worker = EmbeddedWorker(pool, protocol, number, function, self._transmit, self._detach)
        self._embedded[number] = worker
        for early, message in waiting:
            if early == number:
                worker.receive(message)
        return worker

    async def open_client(self, pool: str) -> LogicalClient:
        """Opens a client beside the bus's own.

        Raises:
            StdioBusError: The bus refuses it, or has ended.
        """
        opened = asyncio.ensure_future(self.order("stdio_bus/open", {"pool": pool}))
        try:
            number = (await asyncio.shield(opened))["client"]
        except asyncio.CancelledError:
            opened.add_done_callback(self._undo_open)
            raise
        client = LogicalClient(pool, number, self._config.limits.max_output_queue, self._send_as, self._close)
        self._clients[number] = client
        return client

    def send(self, line: bytes) -> None:
        """Sends one line, newline included.

        Raises:
            ResourceExhaustedError: The kernel does not keep up.
        """
        if self.backend.backlog > self._backlog_limit:
            self._refuse_backlog()
        self._queue(line)

    def cancel(self, pending: Pending) -> None:
        """Forgets a request, if it is still pending, and tells the bus so."""
        if pending.id in self.session.pending:
            self._queue(self.session.cancel(pending))

    def give_up(self, pending: Pending, error: StdioBusError) -> None:
        """As `cancel`, and ends the caller's waiting with ``error``."""
        self.cancel(pending)
        self._finish(pending, error)

    def flush(self) -> None:
        """Hands everything gathered to the backend."""
        if self._outgoing:
            data = b"".join(self._outgoing)
            self._outgoing.clear()
            try:
                self.backend.send(data)
            except StdioBusError as error:
                self.end(
                    TransportError(f"the kernel takes no messages any more: {error.message}", error.details)
                )

    def _queue(self, line: bytes) -> None:
        if not self._outgoing:
            self.loop.call_soon(self.flush)
        self._outgoing.append(line)

    def _refuse_backlog(self) -> None:
        raise ResourceExhaustedError(
            f"{self.backend.backlog} bytes wait for the kernel, more than limits.max_output_queue; "
            "wait for answers before sending more",
            {"backlog": self.backend.backlog},
        )

    def _transmit(self, worker: int, message: bytes) -> None:
        self._queue_from_anywhere(_FROM_WORKER % worker + message + b"}}\n")

    def _send_as(self, client: int, line: bytes) -> None:
        if self.backend.backlog > self._backlog_limit:
            self._refuse_backlog()
        self.flush()  # in the order in which it was said
        self.backend.send(line, client)

    def _close(self, client: int) -> None:
        if self._clients.pop(client, None) is not None and self.closed is None:
            self._queue(b'{"jsonrpc":"2.0","method":"stdio_bus/close","params":{"client":%d}}\n' % client)

    def _undo_open(self, opened: asyncio.Future[Any]) -> None:
        if not opened.cancelled() and opened.exception() is None and self.closed is None:
            number = opened.result()["client"]
            self._queue(b'{"jsonrpc":"2.0","method":"stdio_bus/close","params":{"client":%d}}\n' % number)

    def _detach(self, worker: int) -> None:
        self._queue_from_anywhere(
            b'{"jsonrpc":"2.0","method":"stdio_bus/detach","params":{"worker":%d}}\n' % worker
        )

    def _queue_from_anywhere(self, line: bytes) -> None:
        # Functions that serve a pool may run in threads, those of `StdioBus` always do.
        if threading.get_ident() == self._thread:
            self._answer(line)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the bus with it
                self.loop.call_soon_threadsafe(self._answer, line)

    def _answer(self, line: bytes) -> None:
        if self.closed is None:
            self._queue(line)

    def _finish(self, pending: Pending, error: StdioBusError) -> None:
        if not pending.waiter.done():
            pending.waiter.set_exception(error)

    def _expired(self, number: int) -> None:
        pending = self.session.pending[number]
        where = f"pool {pending.pool!r}"
        self.give_up(
            pending,
            TimeoutError(
                f"{pending.method}: no answer from {where} within {pending.timeout * 1000:g} ms; the request "
                "was cancelled. Raise timeout_ms if the worker needs longer",
                {"method": pending.method, "pool": pending.pool, "timeout_ms": pending.timeout * 1000},
            ),
        )

    # ---- The backend's sink

    def batch(self, data: bytes, records: Iterable[Record]) -> None:
        """See `Sink.batch`."""
        listeners = self._listeners
        if self._clients:
            data, records = self._split(data, records)
        if listeners.on_message:
            records = list(records)
            self._tell_lines(data, records)
        for kind, subject, value, start, size in self.session.receive(data, records):
            if kind is _RESULT:
                if not subject.waiter.done():
                    subject.waiter.set_result(value)
            elif kind is _ERROR:
                self._finish(subject, value)
            elif kind is _CHUNK:
                subject.waiter.chunk(value, size)
            elif kind is _NOTIFICATION:
                listeners.notification(subject, value, data[start : start + size])
            elif kind is _REQUEST:
                self._handlers.answer(subject, self.session.worker_pools.get(value), value, self._answer)
            elif kind is _ATTACHED:
                self._to_embedded(value, subject)
            elif kind is _FULL:
                self._hold(subject, value)
            elif kind is _OVERFLOW:
                self._overflowed(subject)
            else:
                _log.error("the kernel delivered a line that is not JSON: %s", subject)

    def worker_event(self, event: WorkerEvent) -> None:
        """See `Sink.worker_event`."""
        self.session.worker_pools[event.worker_id] = event.pool
        self.workers.observe(event)
        self.startup.observe(event)
        if self.startup.complete and not self._started.done():
            self._started.set_result(None)
        if event.kind in ("stopped", "failed"):
            worker = self._embedded.pop(event.worker_id, None)
            if worker is not None:
                worker.ended()
        self._listeners.worker_event(event)

    def failed(self, error: StdioBusError) -> None:
        """See `Sink.failed`."""
        self.end(error)
        self._listeners.close()

    def _tell_lines(self, data: bytes, records: Iterable[Record]) -> None:
        start = 0
        for record in records:
            line = data[start : start + record[0]]
            if not line.startswith(_TO_WORKER):
                self._listeners.message(line)
            start += record[0] + 1

    def _split(self, data: bytes, records: Iterable[Record]) -> tuple[bytes, list[Record]]:
        """Gives the lines of other clients to them and returns the rest."""
        parts: list[bytes] = []
        own: list[Record] = []
        start = 0
        for record in records:
            end = start + record[0] + 1
            if record[2] == 0:
                parts.append(data[start:end])
                own.append(record)
            else:
                client = self._clients.get(record[2])
                if client is not None:
                    client.offer(data[start : end - 1])
            start = end
        return b"".join(parts), own

    def _to_embedded(self, number: int, message: Mapping[str, Any]) -> None:
        worker = self._embedded.get(number)
        if worker is not None:
            worker.receive(message)
            return
        for waiting in self._attaching:  # the bus may greet it before it tells its number
            waiting.append((number, message))

    # ---- Backpressure

    def _hold(self, pending: Pending, worker: int) -> None:
        """Stops the reading from a worker whose stream is not read as fast."""
        asked = self.session.hold(pending, worker)
        asked.waiter = self.loop.create_future()

        def answered(future: asyncio.Future[Any]) -> None:
            self.session.held(pending, not future.cancelled() and future.exception() is None)

        asked.waiter.add_done_callback(answered)
        self._queue(asked.line)

    def _consumed(self, pending: Pending, size: int) -> None:
        if self.session.consumed(pending, size) and self.closed is None:
            self._queue(self.session.release(pending))

    def _overflowed(self, pending: Pending) -> None:
        self.give_up(
            pending,
            ResourceExhaustedError(
                f"{pending.method}: more than {self._backlog_limit} bytes of chunks wait to be read; "
                "read faster, or raise limits.max_output_queue",
                {"method": pending.method, "pool": pending.pool, "limit": self._backlog_limit},
            ),
        )


def _close_attached(attaching: asyncio.Future[EmbeddedWorker]) -> None:
    if not attaching.cancelled() and attaching.exception() is None:
        attaching.result().close()
