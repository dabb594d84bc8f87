"""Functions of the user that answer requests of workers.

Knows methods, functions and how their outcome becomes an answer; not how that travels.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Coroutine, Mapping
from typing import Any, Callable

from ..errors import RemoteError
from ..messages import RequestContext
from ..protocol.answers import error_line, no_handler_line, result_line
from ..protocol.codec import refuse

_log = logging.getLogger("stdiobus")

Handler = Callable[[Any, RequestContext], Any]


async def outcome(number: Any, what: str, function: Callable[..., Any], *arguments: Any) -> bytes:
    """Calls a function, awaits what it returns where that can be awaited, and answers.

    Args:
        number: The id of the request.
        what: What to call it in the log.
        function: Sync or async; its exception becomes an error answer, and is logged
            unless it is a `RemoteError`, which is meant to be an answer.
        arguments: For the function.

    Returns:
        The line of the answer.
    """
    try:
        result = function(*arguments)
        if inspect.isawaitable(result):
            result = await result
        return result_line(number, result)
    except asyncio.CancelledError:
        raise
    except RemoteError as error:
        return error_line(number, error)
    except Exception as error:
        _log.warning("%s: the handler raised", what, exc_info=True)
        return error_line(number, error)


class Tasks:
    """Tasks that nobody awaits, kept from the garbage collector until they end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a coroutine on the running loop."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """Cancels all that run."""
        for task in tuple(self._tasks):
            task.cancel()


class Handlers:
    """The handlers of one bus, by method; used on its loop's thread."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._tasks = Tasks()

    def add(self, method: str, handler: Handler) -> None:
        """Sets the handler of a method, in place of an earlier one.

        Raises:
            InvalidArgumentError: ``method`` is no string, or ``handler`` no function.
        """
        if not isinstance(method, str):
            refuse("method", "must be a string")
        if not callable(handler):
            refuse("handler", "must be a function (params, context)")
        self._handlers[method] = handler

    def answer(
        self, message: Mapping[str, Any], pool: str | None, worker: int, send: Callable[[bytes], None]
    ) -> None:
        """Answers a worker's request, now or when its handler is through.

        Args:
            message: The request.
            pool: The worker's pool.
            worker: The worker.
            send: Takes the line of the answer; called once, on the loop.
        """
        method = message["method"]
        handler = self._handlers.get(method)
        if handler is None:
            send(no_handler_line(message["id"], method))
            return
        params = message.get("params")
        context = RequestContext(method, message["id"], pool, worker, _session_of(message, params))

        async def run() -> None:
            send(await outcome(message["id"], method, handler, params, context))

        self._tasks.start(run())

    def close(self) -> None:
        """Cancels the handlers that run; their requests are answered by nobody any more."""
        self._tasks.cancel()


def _session_of(message: Mapping[str, Any], params: Any) -> str | None:
    inner = params.get("sessionId") if isinstance(params, dict) else None
    session = message.get("sessionId", inner)
    return session if isinstance(session, str) else None
