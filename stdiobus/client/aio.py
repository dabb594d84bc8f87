"""The asyncio client: what a user calls, with its arguments read.

This is the public face.  When it may be called is in ``life.py``, what happens to a
message in ``dispatch.py``, what it means in ``protocol/``, how it travels in ``backends/``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Awaitable, Generator, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar, overload

from ..backends.base import Backend
from ..backends.selection import choose, resolve_mode
from ..config import BusConfig, DockerOptions, NativeOptions, PoolConfig, SubprocessOptions
from ..errors import ResourceExhaustedError, UnavailableError
from ..messages import BusState, BusStats, HelloResult, ListenMode, OverflowPolicy, WorkerInfo
from ..protocol.codec import refuse, to_bytes
from ..protocol.session import Pending
from .arguments import Targets, read_config, read_hello, seconds
from .dispatch import Dispatcher
from .embedded import EmbeddedWorker, WorkerFunction
from .handlers import Handler, Handlers
from .handles import PoolHandle, SessionHandle
from .life import Life
from .listeners import LineCallback, Listeners, WorkerCallback
from .logical import LogicalClient
from .streaming import ResponseStream
from .subscriptions import NotificationSubscription

if TYPE_CHECKING:
    from ..options import HelloParams, RequestOptions

_Line = TypeVar("_Line", bound=LineCallback)
_Handler = TypeVar("_Handler", bound=Handler)
_Worker = TypeVar("_Worker", bound=WorkerCallback)


class AsyncStdioBus:
    """Pools of worker processes behind one asyncio object.

    Made anywhere, then bound to the loop and the thread that call `start`: everything
    except the constructor, `subscribe` and the ``on_`` methods must be called there.  Use
    it as an async context manager, or call `stop` yourself.  A bus that was stopped is
    not started again.

    Args:
        config: The pools and limits.
        config_path: Or a JSON file with them.
        backend: ``auto``, ``native``, ``subprocess`` or ``docker``; or a backend of your own, a
            `stdiobus.backends.memory.MemoryBackend` for example.
        timeout_ms: Deadline of calls that name none, in milliseconds; ``math.inf`` for none.
        native: Options of the native backend; a listener needs it.
        subprocess: Options of the subprocess backend.
        docker: Options of the docker backend.
        strict: Whether `start` fails when one pool cannot have a worker.  Otherwise the others
            serve; `get_failed_pools` tells which do not, and calls to those raise
            `UnavailableError`.

    Raises:
        InvalidArgumentError: Something in the arguments is wrong; the message names it.
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
        self._config = read_config(config, config_path)
        self._native = native if native is not None else NativeOptions()
        self._subprocess = subprocess if subprocess is not None else SubprocessOptions()
        self._docker = docker if docker is not None else DockerOptions()
        self._mode = resolve_mode(backend, self._native)
        self._own_backend = backend if isinstance(backend, Backend) else None
        self._strict = strict
        self._timeout = seconds(timeout_ms)
        self._targets = Targets(self._config)
        self._client_session_id = f"py-{os.urandom(6).hex()}"
        self._agent_session_id: str | None = None
        self._sessions = itertools.count(1)
        self._listeners = Listeners()
        self._handlers = Handlers()
        self._life = Life(self._listeners.close)

    # ---- Life

    async def start(self) -> None:
        """Starts the workers and returns when every pool has one that is ready.  Idempotent.

        With ``strict=False`` it returns when every pool either has one or cannot have one, which
        a server that says nothing can put off for its ``startup_timeout_sec``.

        Raises:
            UnavailableError: No backend works here, or the workers of a pool (with
                ``strict=False``: of all pools) cannot be started; the message has the reason
                and the last lines of their stderr.
            InvalidStateError: The bus was stopped before.
            TransportError: It was started on another thread.
        """
        await self._life.start(self._join)

    async def connect(self, params: HelloParams | Mapping[str, Any] | None = None) -> HelloResult:
        """`start`, then `hello`; arguments and errors are theirs.

        Args:
            params: As in `hello`.

        Returns:
            What the bus answers.
        """
        await self.start()
        return await self.hello(params)

    async def hello(self, params: HelloParams | Mapping[str, Any] | None = None) -> HelloResult:
        """Says hello to the bus (``stdio_bus/hello``); `agent_session_id` is known afterwards.

        Args:
            params: What to say of this client; a mapping is sent as it is.

        Returns:
            What the bus answers.

        Raises:
            NegotiationFailedError: The bus speaks another version of these methods, or
                its answer is not one.
            StdioBusError: As in `request`.
        """
        from ..options import HelloParams  # loaded by those who say hello only

        asked = HelloParams() if params is None else params
        fields = asked.to_dict() if isinstance(asked, HelloParams) else dict(asked)
        answer = await self._life.usable("hello").order("stdio_bus/hello", fields)
        result = read_hello(answer, fields.get("protocolVersion"))
        self._agent_session_id = result.session_id
        return result

    async def stop(self, timeout_sec: float = 30.0) -> None:
        """Ends every pending request with `TransportError` and the workers in order.  Idempotent.

        Args:
            timeout_sec: After this many seconds workers that remain are killed.

        Raises:
            InvalidArgumentError: ``timeout_sec`` is not a number of seconds.
            TransportError: Called from another thread.
        """
        if isinstance(timeout_sec, bool) or not (isinstance(timeout_sec, (int, float)) and timeout_sec >= 0):
            refuse("timeout_sec", "must be a number of seconds, 0 or more")
        await self._life.stop(timeout_sec)

    def destroy(self) -> Awaitable[None]:
        """Ends everything now; workers are killed.  Idempotent.

        It acts when it is called; awaiting what it returns is possible and changes nothing.

        Raises:
            TransportError: Called from another thread while the loop runs.
        """
        self._life.destroy()
        return _Done()

    async def __aenter__(self) -> AsyncStdioBus:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    async def _join(self) -> Dispatcher:
        backend = self._own_backend or await choose(self._mode, self._native, self._subprocess, self._docker)
        return Dispatcher(
            self._config, self._client_session_id, self._listeners, self._handlers, backend, self._strict
        )

    # ---- Calls

    async def request(
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
        """Sends a request and returns its result.

        Args:
            target: A method; or a pool id, and then the method is ``method``, by default
                the pool id itself.
            params: JSON object or array, ``None`` for none.
            method: The method, where ``target`` is a pool.
            pool: The pool; by default that of the session, else the first.
            timeout_ms: Deadline in milliseconds, by default that of the pool, else of the bus.
            session_id: A conversation, which stays on one worker.
            options: Further options; arguments win over them.

        Returns:
            The result.  Where the worker sent text in chunks and its result is a dict,
            the joined text is in ``result["text"]``.

        Raises:
            RemoteError: The worker answered with an error.
            TimeoutError: No answer in time; the worker was told to stop working on it.
            TransportError: The worker died, or the bus stopped.
            StdioBusError: Anything else; see ``errors.py``.
        """
        dispatcher = self._life.usable("request")
        pending = self._submit(
            dispatcher, target, params, method, pool, timeout_ms, session_id, options, False
        )
        try:
            return await pending.waiter
        except asyncio.CancelledError:
            dispatcher.cancel(pending)
            raise

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
    ) -> ResponseStream:
        """Sends a request and returns an iterator: CHUNK events, then exactly one RESULT.

        The request is on its way when this returns.  Leaving the loop early cancels it, once
        the iterator is closed (``contextlib.aclosing``) or garbage.  Arguments and errors as in
        `request`; errors are raised by the iteration, after the chunks that had arrived.

        Returns:
            An async iterator, for one consumer.

        Raises:
            InvalidArgumentError: One of the arguments is wrong.
            InvalidStateError: The bus does not run.
            TransportError: Called from another thread.
        """
        dispatcher = self._life.usable("stream_request")
        pending = self._submit(
            dispatcher, target, params, method, pool, timeout_ms, session_id, options, True
        )
        return ResponseStream(pending.waiter, partial(dispatcher.cancel, pending), dispatcher.loop, self)

    async def notify(
        self,
        target: str,
        params: Any = None,
        *,
        method: str | None = None,
        pool: str | None = None,
        session_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> None:
        """Sends a notification; arguments as in `request`.

        It returns when the message has been handed over; nothing tells what became of it.

        Raises:
            InvalidArgumentError: One of the arguments is wrong.
            InvalidStateError: The bus does not run.
            ResourceExhaustedError: Too much waits already; retry later.
            TransportError: Called from another thread.
        """
        dispatcher = self._life.usable("notify")
        method, pool = self._targets.resolve(target, method, pool)
        routing = None
        if options is not None:
            routing = options.routing()
            session_id = options.session_id if session_id is None else session_id
        dispatcher.send(dispatcher.session.notify(method, params, pool, session_id, routing))

    def send(self, line: str | bytes) -> bool:
        r"""Sends one raw JSON-RPC line; answers to it arrive at `on_message`.

        Ids that are strings never collide with those of `request`.

        Args:
            line: One JSON object without a newline in it; one at the end is fine.

        Returns:
            Whether it was taken; false when too much waits already, then retry later.

        Raises:
            InvalidArgumentError: It is empty, or more than one line.
            TransportError: Called from another thread.
        """
        dispatcher = self._life.usable("send")
        data = to_bytes(line, "line") if isinstance(line, str) else bytes(line)
        data = data.rstrip(b"\r\n")
        if not data.strip() or b"\n" in data:
            refuse("line", "must be exactly one line")
        try:
            dispatcher.send(data + b"\n")
        except ResourceExhaustedError:
            return False
        return True

    def _submit(
        self,
        dispatcher: Dispatcher,
        target: str,
        params: Any,
        method: str | None,
        pool: str | None,
        timeout_ms: float | None,
        session_id: str | None,
        options: RequestOptions | None,
        streaming: bool,
    ) -> Pending:
        method, pool = self._targets.resolve(target, method, pool)
        routing = None
        if options is not None:
            routing = options.routing()
            session_id = options.session_id if session_id is None else session_id
            timeout_ms = options.timeout_ms if timeout_ms is None else timeout_ms
        if timeout_ms is None:
            timeout = self._targets.timeouts.get(pool, self._timeout)
        else:
            timeout = seconds(timeout_ms)
        return dispatcher.request(method, params, pool, session_id, routing, timeout, streaming)

    # ---- Pools, sessions and workers

    def pool(self, id: str) -> PoolHandle:
        """A handle on one pool: its calls, its subscriptions, its workers.

        Args:
            id: The pool.

        Raises:
            InvalidArgumentError: The configuration has no such pool.
        """
        self._targets.check(id)
        return PoolHandle(self, id)

    def session(self, id: str | None = None, *, pool: str | None = None) -> SessionHandle:
        """A conversation that stays on one worker; a context manager.

        Args:
            id: Its name, a fresh one by default.
            pool: The pool of its calls, where they name none.

        Raises:
            InvalidArgumentError: There is no such pool, or ``id`` is not a name.
        """
        if pool is not None:
            self._targets.check(pool)
        if id is None:
            id = f"{self._client_session_id}.s{next(self._sessions)}"
        elif not isinstance(id, str) or not id:
            refuse("session_id", "must be a string that is not empty")
        return SessionHandle(self, id, pool)

    async def scale_pool(self, pool: str, instances: int) -> None:
        """Changes the number of a pool's processes and returns when they are ready.

        Of too many the youngest end, after what is under way on them.

        Args:
            pool: The pool.
            instances: 1..1024.

        Raises:
            InvalidArgumentError: There is no such pool, or it cannot have that many.
            UnavailableError: A new worker cannot be started.
            TimeoutError: It takes longer than the pool's start and drain times.
        """
        self._targets.check(pool)
        if isinstance(instances, bool) or not isinstance(instances, int) or not 1 <= instances <= 1024:
            refuse("instances", "must be an integer, 1..1024")
        if self._pool_config(pool).embedded:
            refuse("pool", f"{pool!r} is embedded and has no processes; add workers with add_worker()")
        await self._life.usable("scale_pool").scale(pool, instances)

    async def restart_pool(self, pool: str) -> None:
        """Replaces every process of a pool, one at a time; nothing is lost.

        A worker ends when its successor is ready and what was under way on it is through.

        Args:
            pool: The pool.

        Raises:
            StdioBusError: As in `scale_pool`; what is left of the old workers then goes on.
        """
        self._targets.check(pool)
        await self._life.usable("restart_pool").restart(pool)

    async def add_worker(self, pool: str, handler: WorkerFunction) -> EmbeddedWorker:
        """Makes a function of this process a worker of a pool, beside those with a process.

        It is balanced like every other; a pool with ``embedded=True`` has no others.

        Args:
            pool: The pool.
            handler: Called on the loop with ``(method, params, context)`` for every request
                and notification, the handshake of the pool's profile included; sync or
                async.  What it returns is the result, its exception an error answer; see
                `WorkerContext` for notifications, chunks and questions to the client.

        Returns:
            The worker; ``close()`` takes it out of service.

        Raises:
            InvalidArgumentError: There is no such pool, or ``handler`` is no function.
        """
        self._targets.check(pool)
        if not callable(handler):
            refuse("handler", "must be a function (method, params, context)")
        protocol = self._pool_config(pool).protocol
        return await self._life.usable("add_worker").add_worker(pool, protocol, handler)

    def _pool_config(self, pool: str) -> PoolConfig:
        return next(each for each in self._config.pools if each.id == pool)

    async def open_client(self, pool: str) -> LogicalClient:
        """Opens a further client of this bus, with ids and sessions of its own.

        For a library that speaks JSON-RPC itself; any number of them share the pools, and
        none sees what is another's.

        Args:
            pool: Where its messages go that name no pool.

        Raises:
            InvalidArgumentError: There is no such pool.
        """
        self._targets.check(pool)
        return await self._life.usable("open_client").open_client(pool)

    # ---- Listening

    def subscribe(
        self,
        pool: str | None = None,
        *,
        overflow_policy: OverflowPolicy = OverflowPolicy.DROP_OLDEST,
        max_queue: int = 256,
        methods: Iterable[str] | None = None,
    ) -> NotificationSubscription:
        """Subscribes to the notifications of workers; may be called before `start`.

        Args:
            pool: Only those of this pool.
            overflow_policy: What happens to notifications that find the queue full.
            max_queue: How many may wait, 1 or more.
            methods: Only these methods.

        Returns:
            An async iterator of notifications, to be read on the loop of the bus.

        Raises:
            InvalidArgumentError: One of the arguments is wrong.
            InvalidStateError: The bus has ended.
        """
        if pool is not None:
            self._targets.check(pool)
        subscription = NotificationSubscription(pool, overflow_policy, max_queue, methods)
        self._life.not_over("subscribe")
        self._listeners.subscriptions.append(subscription)
        return subscription

    def subscribe_notifications(
        self, *, max_queue: int = 256, overflow: str = "drop"
    ) -> NotificationSubscription:
        """The older spelling of `subscribe`, for all pools and methods.

        Args:
            max_queue: How many may wait, 1 or more.
            overflow: ``drop`` (DROP_NEWEST) or ``close`` (CLOSE).
        """
        policies = {"drop": OverflowPolicy.DROP_NEWEST, "close": OverflowPolicy.CLOSE}
        if overflow not in policies:
            refuse("overflow", f"must be one of {', '.join(policies)}")
        return self.subscribe(overflow_policy=policies[overflow], max_queue=max_queue)

    def unsubscribe(self, subscription: NotificationSubscription) -> None:
        """Ends a subscription; what is buffered is still delivered.  Idempotent.

        Args:
            subscription: What `subscribe` returned.

        Raises:
            TransportError: Called from another thread while the loop of the bus runs.
        """
        self._life.on_its_thread("unsubscribe")
        self._listeners.remove(subscription)

    def on_message(self, callback: _Line) -> _Line:
        """Calls back with every incoming line, as text; usable as a decorator.

        Args:
            callback: Called on the loop with the line, a ``str`` without its newline.  It must
                not block; an exception in it is logged and stops nobody.

        Returns:
            The callback.
        """
        self._listeners.on_message.append(callback)
        return callback

    def on_notification(self, callback: _Line) -> _Line:
        """As `on_message`, with notifications only."""
        self._listeners.on_notification.append(callback)
        return callback

    @overload
    def on_request(self, method: str) -> Callable[[_Handler], _Handler]: ...

    @overload
    def on_request(self, method: str, handler: _Handler) -> _Handler: ...

    def on_request(self, method: str, handler: Any = None) -> Any:
        """Answers the requests that workers make with this method; usable as a decorator.

        Args:
            method: ``sampling/createMessage``, say.
            handler: Called on the loop with ``(params, context)``, see `RequestContext`;
                sync or async.  What it returns is the result; its exception becomes a
                JSON-RPC error, a `RemoteError` with its own code.  A later handler
                replaces an earlier one; without any the answer is -32601.

        Raises:
            InvalidArgumentError: One of the two is not what it should be.
        """
        if handler is None:
            return lambda function: self.on_request(method, function)
        self._handlers.add(method, handler)
        return handler

    def on_worker_event(self, callback: _Worker) -> _Worker:
        """As `on_message`, with a `WorkerEvent` for every change in the life of a worker."""
        self._listeners.on_worker_event.append(callback)
        return callback

    # ---- Introspection

    @property
    def client_session_id(self) -> str:
        """This client's name, the prefix of the session ids that it makes."""
        return self._client_session_id

    @property
    def agent_session_id(self) -> str | None:
        """The bus's name for this client, from `hello`; ``None`` before."""
        return self._agent_session_id

    def get_state(self) -> BusState:
        """Where the bus is in its life."""
        return self._life.state

    def is_running(self) -> bool:
        """Whether calls are possible."""
        return self._life.state is BusState.RUNNING

    def get_stats(self) -> BusStats:
        """The counters; after `stop`, the last ones."""
        backend, dispatcher = self._life.backend(), self._life.dispatcher
        if backend is None or dispatcher is None:
            return BusStats()
        return replace(backend.stats(), late_answers=dispatcher.session.late_answers)

    def get_backend_type(self) -> str:
        """``native``, ``subprocess`` or ``docker``; before `start`, what was asked for."""
        dispatcher = self._life.dispatcher
        return dispatcher.backend.mode.value if dispatcher is not None else self._mode.value

    def get_listen_mode(self) -> ListenMode:
        """How other processes can connect."""
        return self._native.listen_mode

    def get_workers(self) -> list[WorkerInfo]:
        """One entry per worker; empty while nothing runs."""
        backend = self._life.backend()
        return backend.workers() if backend is not None else []

    def get_worker_count(self) -> int:
        """Workers whose process runs."""
        backend = self._life.backend()
        return backend.worker_count() if backend is not None else 0

    def get_failed_pools(self) -> dict[str, UnavailableError]:
        """The pools whose workers have all failed for good, and why; empty when all is well.

        Calls to them raise the like at once, until `restart_pool` or `scale_pool` gives them a
        worker that starts.
        """
        backend, dispatcher = self._life.backend(), self._life.dispatcher
        return dict(dispatcher.startup.failures) if backend is not None and dispatcher is not None else {}

    def get_client_count(self) -> int:
        """External clients connected to the listener."""
        backend = self._life.backend()
        return backend.client_count() if backend is not None else 0


class _Done:
    """An awaitable with nothing to wait for."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()
