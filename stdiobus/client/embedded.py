"""Workers that live in this process: a function of the user serves a pool.

The other end of the kernel's attached workers: its lines come in as messages, what the
function returns goes out.  How a line travels is in ``dispatch.py``.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping
from typing import Any, Callable

from ..errors import StdioBusError, TransportError
from ..protocol.codec import encode, to_bytes
from ..protocol.failures import from_answer
from .handlers import Tasks, outcome

_log = logging.getLogger("stdiobus")

WorkerFunction = Callable[[str, Any, "WorkerContext"], Any]


class WorkerContext:
    """What the function of an in-process worker gets beside method and params.

    `notify` and `chunk` may be called on any thread, what is awaited on the loop only.

    Attributes:
        pool: The pool that it serves.
        worker_id: The worker.
        id: The JSON-RPC id of the request, ``None`` for a notification.
        session_id: The session the message belongs to, where its profile names one.
    """

    def __init__(self, worker: EmbeddedWorker, message: Mapping[str, Any]) -> None:
        params = message.get("params")
        inner = params.get("sessionId") if isinstance(params, dict) else None
        meta = params.get("_meta") if isinstance(params, dict) else None
        self._worker = worker
        self._outer_session = message.get("sessionId")
        self._token = meta.get("progressToken") if isinstance(meta, dict) else None
        self._progress = 0
        self.pool = worker.pool
        self.worker_id = worker.worker_id
        self.id = message.get("id")
        self.session_id = self._outer_session if self._outer_session is not None else inner

    def notify(self, method: str, params: Any = None) -> None:
        """Sends a notification to the client whose request or session this is.

        Args:
            method: Its method.
            params: JSON object or array, ``None`` for none.

        Raises:
            InvalidArgumentError: ``params`` is not JSON data.
        """
        self._worker.send(self._message(method, params))

    def chunk(self, text: str) -> None:
        """Sends a part of the answer, in the way of the pool's profile.

        For ``mcp`` that is ``notifications/progress``, which only a streamed request asks
        for: without one nothing is sent.

        Args:
            text: The part.
        """
        if self._worker.protocol.startswith("mcp"):
            if self._token is not None:
                self._progress += 1
                params = {"progressToken": self._token, "progress": self._progress, "message": text}
                self.notify("notifications/progress", params)
            return
        update = {
            "update": {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
        }
        if self._worker.protocol == "acp":
            self.notify("session/update", {"sessionId": self.session_id, **update})
        else:
            self.notify("session/update", update if self.id is None else {"requestId": self.id, **update})

    async def request(self, method: str, params: Any = None) -> Any:
        """Asks the client something (``roots/list``, ``session/request_permission``...).

        Args:
            method: The method.
            params: JSON object or array, ``None`` for none.

        Returns:
            The client's result.

        Raises:
            RemoteError: The client answered with an error.
            TransportError: The worker was closed before the answer came.
            InvalidArgumentError: ``params`` is not JSON data.
        """
        return await self._worker.ask(self._message(method, params))

    def _message(self, method: str, params: Any) -> dict[str, Any]:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if self._outer_session is not None:
            message["sessionId"] = self._outer_session
        if params is not None:
            message["params"] = params
        return message


class EmbeddedWorker:
    """An in-process worker; made by ``add_worker``.  `close` may be called on any thread.

    Args:
        pool: The pool that it serves.
        protocol: The profile of that pool.
        worker_id: Its id.
        function: Called with method, params and `WorkerContext` for every request and
            notification.
        transmit: Takes the worker and a message of it, as JSON text.
        detach: Takes it out of service.

    Attributes:
        pool: The pool that it serves.
        protocol: The profile of that pool.
        worker_id: Its id, as in `WorkerInfo`.
    """

    def __init__(
        self,
        pool: str,
        protocol: str,
        worker_id: int,
        function: WorkerFunction,
        transmit: Callable[[int, bytes], None],
        detach: Callable[[int], None],
    ) -> None:
        self.pool = pool
        self.protocol = protocol
        self.worker_id = worker_id
        self._function = function
        self._transmit = transmit
        self._detach = detach
        self._tasks = Tasks()
        self._running: dict[Any, asyncio.Task[None]] = {}
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    def close(self) -> None:
        """Takes it out of service; what it is at is finished first.  Idempotent."""
        if not self._closed:
            self._closed = True
            self._detach(self.worker_id)

    # ---- For the bus

    def receive(self, message: Mapping[str, Any]) -> None:
        """Takes ``message``, which the bus has for this worker."""
        method = message.get("method")
        if method is None:
            self._answered(message)
        elif method == "notifications/cancelled" and "id" not in message:
            task = self._running.get(_param(message, "requestId"))
            if task is not None:
                task.cancel()
        else:
            number = message.get("id")
            task = self._tasks.start(self._serve(message))
            if number is not None:
                self._running[number] = task
                task.add_done_callback(lambda _: self._running.pop(number, None))

    def ended(self) -> None:
        """Takes the news that the bus has no such worker any more."""
        self._closed = True
        self._tasks.cancel()
        error = TransportError(f"worker {self.worker_id} of pool {self.pool!r} was closed")
        for future in self._asked.values():
            if not future.done():
                future.set_exception(error)
        self._asked.clear()

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends ``message`` in the name of the worker."""
        self._transmit(self.worker_id, to_bytes(encode(message, "params"), "params"))

    async def ask(self, message: Mapping[str, Any]) -> Any:
        """Sends the request ``message`` in the name of the worker; returns its result."""
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self.send({**message, "id": number})
            return await self._asked[number]
        finally:
            self._asked.pop(number, None)

    async def _serve(self, message: Mapping[str, Any]) -> None:
        context = WorkerContext(self, message)
        method = message["method"]
        line = await outcome(
            context.id, f"{self.pool}: {method}", self._function, method, message.get("params"), context
        )
        if context.id is not None:
            self._transmit(self.worker_id, line.rstrip(b"\n"))

    def _answered(self, message: Mapping[str, Any]) -> None:
        future = self._asked.get(message.get("id"))  # type: ignore[arg-type]
        if future is None or future.done():
            return
        if "error" in message:
            error: StdioBusError = from_answer(message["error"], "the client", None)
            future.set_exception(error)
        else:
            future.set_result(message.get("result"))


def _param(message: Mapping[str, Any], name: str) -> Any:
    params = message.get("params")
    value = params.get(name) if isinstance(params, dict) else None
    return value if isinstance(value, (str, int)) else None
