"""A scripted peer in place of kernel and workers, for tests of code that uses a bus.

No processes, no descriptors, no clock: what a worker would answer is said beforehand, what
it was asked can be looked at afterwards, and everything happens in the same order every
time::

    import asyncio

    from stdiobus import AsyncStdioBus, BusConfig, PoolConfig, RemoteError
    from stdiobus.backends.memory import MemoryBackend

    memory = MemoryBackend()
    memory.on("tools/list", {"tools": []})  # a result
    memory.on("tools/call", RemoteError("no such tool", rpc_code=-32602))  # an error


    @memory.on("session/prompt")  # or a function, sync or async, of the call
    def prompt(call):
        call.chunk("Hel")
        call.chunk("lo")
        return {"stopReason": "end_turn", "asked": call.params["prompt"]}


    async def main():
        config = BusConfig(pools=[PoolConfig(id="agent", command="unused", protocol="acp")])
        async with AsyncStdioBus(config, backend=memory) as bus:
            assert await bus.request("tools/list") == {"tools": []}
            params = {"sessionId": "s1", "prompt": "greet"}
            stream = bus.stream_request("agent", params, method="session/prompt")
            assert [event.data async for event in stream if event.text] == ["Hel", "lo"]
        assert [call.method for call in memory.requests] == ["tools/list", "session/prompt"]


    asyncio.run(main())

It stands for workers, not for the kernel: pools, sessions and least loaded workers are as
there, but there are no handshakes, queues, limits and listeners.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import Any, Callable, TypeVar, overload

from ..config import BusConfig
from ..errors import InvalidArgumentError, InvalidStateError, RemoteError, StdioBusError, TransportError
from ..messages import BackendMode, BusStats, WorkerEvent, WorkerInfo
from ..protocol import codec, failures
from ..protocol.chunks import PROFILES, ChunkRow
from .base import Backend, Sink

_Function = TypeVar("_Function", bound=Callable[["MemoryCall"], Any])

_PARSE_ERROR = -32700
_METHOD_NOT_FOUND = -32601
_INTERNAL_ERROR = -32603
_UNKNOWN_POOL = -32081
_POOL_UNAVAILABLE = -32082
_WORKER_EXITED = -32083
_CANCELLED = -32087

_CONTROL: dict[str, Any] = {
    "stdio_bus/hello": {"negotiatedProtocolVersion": "1.0", "sessionId": "client-0", "extensions": {}},
    "stdio_bus/ping": {},
    "stdio_bus/pause": {},  # what is scripted never floods
}

_REQUIRED = object()


class MemoryCall:
    """One request or notification as a worker got it.

    Attributes:
        method: Its method.
        params: Its params, ``None`` where it has none.
        pool: The pool it went to.
        worker_id: The worker it went to.
        session_id: Its top-level session id, if any.
        message: All of it, as it was sent.
        cancelled: Whether the client has given it up, by a timeout for example.
    """

    def __init__(self, backend: MemoryBackend, message: dict[str, Any], worker: _Worker) -> None:
        self.method: str = message["method"]
        self.params: Any = message.get("params")
        self.pool = worker.pool
        self.worker_id = worker.id
        self.session_id: str | None = message.get("sessionId")
        self.message = message
        self.cancelled = False
        self._backend = backend
        self._worker = worker
        self._chunks = 0

    def __repr__(self) -> str:
        return f"<MemoryCall {self.method} to worker {self.worker_id} of {self.pool!r}>"

    def chunk(self, text: str) -> None:
        """Sends a part of the answer, in the way of the pool's profile.

        In a pool of MCP servers it is progress, which only a streamed request asks for: as
        from a real server, nothing is sent for others.

        Args:
            text: The part.

        Raises:
            InvalidStateError: The profile has no chunks.
        """
        row = self._worker.row
        if row.method is None:
            raise InvalidStateError(f"pool {self.pool!r}: its profile has no chunks")
        self._chunks += 1
        params = self.params if isinstance(self.params, dict) else {}
        if row.by_token:
            token = params.get("_meta", {}).get("progressToken")
            if token is not None:
                said = {"progressToken": token, "progress": self._chunks, "message": text}
                self.notify(row.method, said)
            return
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
        session = {"sessionId": params.get("sessionId")} if row.by_params_session else {}
        self.notify(row.method, {**session, "update": update})

    def notify(self, method: str, params: Any = None) -> None:
        """Sends a notification from this worker, in this call's session.

        Args:
            method: Its method.
            params: Its params, ``None`` for none.
        """
        self._backend.notify(self.pool, method, params, worker_id=self.worker_id, session_id=self.session_id)

    async def ask(self, method: str, params: Any = None) -> Any:
        """Sends a request from this worker and returns the client's result.

        Args:
            method: Its method.
            params: Its params, ``None`` for none.

        Raises:
            RemoteError: The client answered with an error.
        """
        return await self._backend.ask(self.pool, method, params, worker_id=self.worker_id)


class _Worker:
    """A worker that is none: its numbers, and the calls it has not answered."""

    def __init__(self, pool: str, number: int, row: ChunkRow) -> None:
        self.pool = pool
        self.id = number
        self.row = row
        self.state = "starting"
        self.restarts = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.calls: dict[Any, MemoryCall] = {}

    def info(self) -> WorkerInfo:
        return WorkerInfo(
            self.pool,
            self.id,
            0,
            self.state,
            len(self.calls),
            self.restarts,
            0,
            self.bytes_in,
            self.bytes_out,
        )


class MemoryBackend(Backend):
    """A backend that a test scripts; give it to one bus as ``backend``.

    All methods may be called from any thread, so that it serves `StdioBus` too; handlers
    run on the loop of the bus.

    Attributes:
        requests: Every request that a worker got, in order.
        notifications: Every notification likewise.
    """

    mode = BackendMode.MEMORY

    def __init__(self) -> None:
        self.requests: list[MemoryCall] = []
        self.notifications: list[MemoryCall] = []
        self._handlers: dict[tuple[str | None, str], Any] = {}
        self._refused: dict[str, tuple[str, str]] = {}
        self._workers: list[_Worker] = []
        self._sessions: dict[str, _Worker] = {}
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._asked_so_far = 0
        self._running: dict[MemoryCall, asyncio.Future[Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sink: Sink | None = None
        self._stats: dict[str, int] = dict.fromkeys(
            ("messages_in", "messages_out", "bytes_in", "bytes_out", "worker_restarts"), 0
        )

    # ---- The script

    @overload
    def on(self, method: str, *, pool: str | None = None) -> Callable[[_Function], _Function]: ...
    @overload
    def on(self, method: str, answer: Any, *, pool: str | None = None) -> None: ...
    def on(self, method: str, answer: Any = _REQUIRED, *, pool: str | None = None) -> Any:
        """Says how calls of a method are answered; without ``answer``, a decorator.

        Args:
            method: The method.  One that has no answer gets the error "method not found".
            answer: The result; or an exception, to answer with an error (`RemoteError` for
                a certain code); or a function of the `MemoryCall`, which returns the result
                or raises.  An async function may take as long as it likes, and is cancelled
                when the client gives up or the worker is killed.  Functions get
                notifications too.
            pool: Only in this pool; wins over an answer for all of them.
        """
        if answer is _REQUIRED:

            def decorate(function: _Function) -> _Function:
                self._handlers[pool, method] = function
                return function

            return decorate
        self._handlers[pool, method] = answer
        return None

    def refuse(self, pool: str, reason: str, *, stderr_tail: str = "") -> None:
        """Lets the workers of a pool fail to start; call it before the bus starts.

        Args:
            pool: The pool.
            reason: Why, one sentence.
            stderr_tail: What they said last.
        """
        self._refused[pool] = (reason, stderr_tail)

    def notify(
        self,
        pool: str,
        method: str,
        params: Any = None,
        *,
        worker_id: int | None = None,
        session_id: str | None = None,
    ) -> None:
        """Sends a notification from a worker.

        Args:
            pool: The pool of the worker.
            method: The method.
            params: The params, ``None`` for none.
            worker_id: The worker, by default the first of the pool that runs.
            session_id: The session it is for, ``None`` for none.
        """
        session = {} if session_id is None else {"sessionId": session_id}
        self._post(self._say, self._find(pool, worker_id), _line({**_call(method, params), **session}))

    async def ask(self, pool: str, method: str, params: Any = None, *, worker_id: int | None = None) -> Any:
        """Sends a request from a worker of the pool; returns the client's result.

        To be awaited on the loop of the bus, by a handler for example.

        Args:
            pool: The pool of the worker.
            method: The method.
            params: The params, ``None`` for none.
            worker_id: The worker, by default the first of the pool that runs.

        Raises:
            RemoteError: The client answered with an error.
        """
        worker = self._find(pool, worker_id)
        answer = asyncio.get_running_loop().create_future()
        self._asked_so_far += 1
        number = self._asked_so_far
        self._asked[number] = answer
        self._post(self._say, worker, _line({**_call(method, params), "id": number}))
        try:
            return await answer
        finally:
            self._asked.pop(number, None)

    def kill(
        self,
        pool: str,
        *,
        worker_id: int | None = None,
        returncode: int = -9,
        stderr_tail: str = "",
        restart: bool = True,
    ) -> None:
        """Lets a worker die: its calls end with an error, its sessions are forgotten.

        Args:
            pool: Its pool.
            worker_id: Which, by default the first of the pool that runs.
            returncode: Its exit status, or minus the signal that ended it.
            stderr_tail: What it said last.
            restart: Whether it is started again at once; otherwise it has failed for good.
        """
        self._post(self._die, self._find(pool, worker_id), returncode, stderr_tail, restart)

    # ---- The contract of a backend

    async def start(self, config: BusConfig, sink: Sink) -> None:
        """See `Backend.start`.

        Raises:
            InvalidStateError: It has been given to another bus before.
        """
        if self._loop is not None:
            raise InvalidStateError("this MemoryBackend has served a bus already; make one for each")
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        for pool in config.pools:
            for _ in range(pool.instances):
                worker = _Worker(pool.id, len(self._workers) + 1, PROFILES[pool.protocol])
                self._workers.append(worker)
                self._post(self._come_up, worker)

    def send(self, data: bytes, client: int = 0) -> None:
        """See `Backend.send`; there is no other client than the host's."""
        for line in data.split(b"\n")[:-1]:
            self._stats["messages_in"] += 1
            self._stats["bytes_in"] += len(line)
            self._post(self._take, line)

    async def stop(self, timeout_sec: float) -> None:
        """See `Backend.stop`; handlers that still run are cancelled."""
        running = list(self._running.values())
        self.destroy()
        await asyncio.gather(*running, return_exceptions=True)

    def destroy(self) -> None:
        """See `Backend.destroy`."""
        self._sink = None
        for future in self._running.values():
            future.cancel()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(TransportError("the bus ended before the client answered"))
        for worker in self._workers:
            worker.state = "stopped"

    def finalizer(self) -> Callable[[], Any]:
        """See `Backend.finalizer`; there is nothing to free."""
        return _nothing

    def stats(self) -> BusStats:
        """See `Backend.stats`."""
        return BusStats(**self._stats)

    def workers(self) -> list[WorkerInfo]:
        """See `Backend.workers`; the process ids are 0."""
        return [worker.info() for worker in self._workers] if self._sink is not None else []

    def worker_count(self) -> int:
        """See `Backend.worker_count`."""
        return sum(worker.state == "ready" for worker in self._workers)

    def client_count(self) -> int:
        """See `Backend.client_count`."""
        return 0

    # ---- What happens, one callback of the loop after the other

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._loop is None:
            raise InvalidStateError("this MemoryBackend serves no bus yet: start the bus first")
        self._loop.call_soon_threadsafe(self._while_alive, function, *arguments)

    def _while_alive(self, function: Callable[..., None], *arguments: Any) -> None:
        if self._sink is not None:
            function(*arguments)

    def _come_up(self, worker: _Worker) -> None:
        if worker.pool in self._refused:
            reason, stderr_tail = self._refused[worker.pool]
            worker.state = "failed"
            self._event(worker, "failed", reason=reason, stderr_tail=stderr_tail)
        else:
            worker.state = "ready"
            self._event(worker, "started")

    def _die(self, worker: _Worker, returncode: int, stderr_tail: str, restart: bool) -> None:
        self._sessions = {name: each for name, each in self._sessions.items() if each is not worker}
        how = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
        details = {
            "exit_code": returncode if returncode >= 0 else None,
            "signal": -returncode if returncode < 0 else None,
            "stderr": stderr_tail,
        }
        for call in list(worker.calls.values()):
            self._end(call, _WORKER_EXITED, f"the worker ended, {how}", "worker_exited", details)
        kind = "restarting" if restart else "failed"
        self._event(worker, kind, returncode=returncode, stderr_tail=stderr_tail, reason=how)
        worker.state = "failed"
        if restart:
            worker.restarts += 1
            self._stats["worker_restarts"] += 1
            self._come_up(worker)

    def _take(self, line: bytes) -> None:
        try:
            message = codec.decode(line.decode())
        except (ValueError, RecursionError) as error:
            self._deliver(0, _refusal(None, _PARSE_ERROR, f"not JSON: {error}", "parse_error", None, 0))
            return
        method = message.get("method")
        if method is None:
            self._answered(message)
        elif method == "stdio_bus/cancel":
            self._cancel(message["params"]["id"])
        elif method.startswith("stdio_bus/"):
            self._control(method, message)
        else:
            worker = self._choose(message)
            if worker is not None:
                worker.bytes_in += len(line) + 1
                self._serve(MemoryCall(self, message, worker))

    def _control(self, method: str, message: dict[str, Any]) -> None:
        """Answers what is asked of the bus itself."""
        if "id" not in message:
            return
        if method in _CONTROL:
            self._deliver(0, {"jsonrpc": "2.0", "id": message["id"], "result": _CONTROL[method]})
        else:
            text = f"a scripted peer has no {method}; use a real backend"
            error = {"code": _METHOD_NOT_FOUND, "message": text}
            self._deliver(0, {"jsonrpc": "2.0", "id": message["id"], "error": error})

    def _choose(self, message: dict[str, Any]) -> _Worker | None:
        """The worker for a message; where there is none, the message is answered here."""
        pools = {worker.pool for worker in self._workers}
        method, params = message["method"], message.get("params")
        inner = params.get("sessionId") if isinstance(params, dict) else None
        names = [name for name in (message.get("sessionId"), inner) if isinstance(name, str)]
        bound = next((self._sessions[name] for name in names if name in self._sessions), None)
        pool = message.get("pool", method if method in pools else None)
        if pool is None:
            pool = (bound or self._workers[0]).pool
        if bound is not None and bound.pool == pool:
            return bound
        ready = [worker for worker in self._workers if worker.pool == pool and worker.state == "ready"]
        if ready:
            worker = min(ready, key=lambda each: len(each.calls))
            self._sessions.update(dict.fromkeys(names, worker))
            return worker
        code, text, reason = _POOL_UNAVAILABLE, "no worker of the pool runs", "pool_unavailable"
        if pool not in pools:
            code, text, reason = _UNKNOWN_POOL, f"there is no pool {pool!r}", "unknown_pool"
        if "id" in message:
            self._deliver(0, _refusal(message["id"], code, text, reason, pool, 0))
        return None

    def _serve(self, call: MemoryCall) -> None:
        if "id" in call.message:
            self.requests.append(call)
            call._worker.calls[_key(call.message["id"])] = call
        else:
            self.notifications.append(call)
        missing = RemoteError(f"method not found: {call.method}", rpc_code=_METHOD_NOT_FOUND)
        answer = self._handlers.get((None, call.method), missing)
        answer = self._handlers.get((call.pool, call.method), answer)
        if callable(answer):
            try:
                answer = answer(call)
            except Exception as error:  # a server answers what goes wrong in it
                answer = error
        if inspect.isawaitable(answer):
            self._running[call] = asyncio.ensure_future(answer)
            self._running[call].add_done_callback(lambda done: self._completed(call, done))
        else:
            self._answer(call, answer)

    def _completed(self, call: MemoryCall, done: asyncio.Future[Any]) -> None:
        del self._running[call]
        if done.cancelled():
            self._answer(call, RemoteError("the handler was cancelled", rpc_code=_INTERNAL_ERROR))
        else:
            self._answer(call, done.exception() or done.result())

    def _answer(self, call: MemoryCall, answer: Any) -> None:
        """Sends the answer, unless there is one already or none is wanted."""
        worker = call._worker
        if "id" not in call.message or worker.calls.pop(_key(call.message["id"]), None) is None:
            return
        if isinstance(answer, dict) and worker.row.by_params_session and "sessionId" in answer:
            self._sessions[answer["sessionId"]] = worker
        body = {"error": _error(answer)} if isinstance(answer, BaseException) else {"result": answer}
        message = {"jsonrpc": "2.0", "id": call.message["id"]}
        try:
            line = _line({**message, **body})
        except StdioBusError as error:
            line = _line({**message, "error": _error(error)})
        self._post(self._say, worker, line)

    def _end(self, call: MemoryCall, code: int, text: str, reason: str, details: Mapping[str, Any]) -> None:
        """Answers a call in the bus's name, and stops its handler."""
        del call._worker.calls[_key(call.message["id"])]
        if call in self._running:
            self._running[call].cancel()
        refusal = _refusal(call.message["id"], code, text, reason, call.pool, call.worker_id)
        refusal["error"]["data"].update(details)
        self._deliver(call.worker_id, refusal)

    def _cancel(self, number: Any) -> None:
        for worker in self._workers:
            call = worker.calls.get(_key(number))
            if call is not None:
                call.cancelled = True
                self._end(call, _CANCELLED, "the request was cancelled", "cancelled", {})

    def _answered(self, message: dict[str, Any]) -> None:
        answer = self._asked.get(message["id"])
        if answer is None or answer.done():
            return
        if "error" in message:
            answer.set_exception(failures.from_answer(message["error"], "the client's answer", None))
        else:
            answer.set_result(message.get("result"))

    def _event(self, worker: _Worker, kind: str, **facts: Any) -> None:
        assert self._sink is not None
        self._sink.worker_event(WorkerEvent(worker.pool, worker.id, kind, 0, **facts))

    def _say(self, worker: _Worker, line: bytes) -> None:
        worker.bytes_out += len(line)
        self._deliver(worker.id, line)

    def _deliver(self, worker: int, message: bytes | dict[str, Any]) -> None:
        line = message if isinstance(message, bytes) else _line(message)
        self._stats["messages_out"] += 1
        self._stats["bytes_out"] += len(line)
        assert self._sink is not None
        self._sink.batch(line, [(len(line) - 1, worker, 0, 0)])

    def _find(self, pool: str, number: int | None) -> _Worker:
        for worker in self._workers:
            if worker.pool == pool and (worker.id == number or (number is None and worker.state != "failed")):
                return worker
        which = "worker that runs" if number is None else f"worker {number}"
        raise InvalidArgumentError(f"pool {pool!r} has no {which}", {"pool": pool, "worker": number})


def _nothing() -> None:
    """What there is to free."""


def _key(number: Any) -> tuple[type, Any]:
    """An id as a key: 1, 1.0 and true are three of them."""
    return type(number), number


def _call(method: str, params: Any) -> dict[str, Any]:
    call = {"jsonrpc": "2.0", "method": method}
    return call if params is None else {**call, "params": params}


def _line(message: dict[str, Any]) -> bytes:
    return codec.to_bytes(codec.encode(message, "message"), "message") + b"\n"


def _error(error: BaseException) -> dict[str, Any]:
    """The error member for what a handler raised."""
    if not isinstance(error, RemoteError):
        return {"code": _INTERNAL_ERROR, "message": f"{type(error).__name__}: {error}"}
    data = {} if error.rpc_data is None else {"data": error.rpc_data}
    return {"code": error.rpc_code, "message": error.message, **data}


def _refusal(number: Any, code: int, text: str, reason: str, pool: str | None, worker: int) -> dict[str, Any]:
    """An answer that the bus itself makes."""
    data = {
        "source": "stdio_bus",
        "pool": pool,
        "worker": worker or None,
        "reason": reason,
        "retryable": False,
    }
    return {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text, "data": data}}
