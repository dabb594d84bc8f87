"""Who asked what, and who gets which message: one client's side of the protocol.

A `Session` makes the lines of calls and sorts incoming lines into events.  It owns the
request ids and the table of pending requests.  It has no I/O, no clock and no waiting:
deadlines, futures and queues belong to ``client/``, which hangs them on
`Pending.waiter`.  Everything here runs on one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from . import failures
from .chunks import NO_CHUNK, PROFILES, ChunkRow
from .codec import decode, encode, refuse, to_bytes

Record = tuple[int, int, int, int]
"""Length of a line in bytes, worker it comes from, client it is for, and 0."""

_CANCELLED = -32087
_HEADS_KEPT = 256
_HOLD_ABOVE = 1024 * 1024
"""Bytes of chunks that may wait in a stream before its worker is held, and again after each
further such amount."""
_TO_WORKER = "stdio_bus/to_worker"


class EventKind(Enum):
    """What an `Event` says, and what its subject and value are."""

    RESULT = 1
    """A request ended: its `Pending`, and the result."""
    ERROR = 2
    """A request ended: its `Pending`, and the exception."""
    CHUNK = 3
    """A part of an answer: its `Pending`, and the data."""
    OVERFLOW = 4
    """Chunks of a request exceed the limit, give it up: its `Pending`, and ``None``."""
    NOTIFICATION = 5
    """The message, and the pool it comes from or ``None``."""
    REQUEST = 6
    """A worker asks: the message, and the worker."""
    BROKEN = 7
    """The line is not JSON, which the kernel rules out: the error, and ``None``."""
    FULL = 8
    """Many chunks of a stream wait to be read, hold its worker: its `Pending`, and the worker."""
    ATTACHED = 9
    """A line for a worker that lives in this process: the message, and the worker."""


Event = tuple[EventKind, Any, Any, int, int]
"""What one line means: kind, subject, value, then its place in the batch and its length.

A bare tuple, because there is one per message.
"""


(_RESULT, _ERROR, _CHUNK, _OVERFLOW, _NOTIFICATION, _REQUEST, _BROKEN, _FULL, _ATTACHED) = EventKind


class Pending:
    """A request that has no answer yet.

    Attributes:
        id: Its JSON-RPC id.
        method: Its method.
        pool: Its pool, ``None`` where the bus chooses by the session.
        line: Its bytes, newline included, ready to send.
        streaming: Whether its chunks are wanted one by one.
        buffered: Bytes of chunks that arrived and were not consumed yet; the consumer of
            a stream lowers it.
        hold_above: At how many buffered bytes its worker is to be held next.
        holds: The worker that is held for it, 0 for none.
        flowing: Whether its worker cannot be held, for others wait for it too.
        timeout: Seconds it may take; kept for the client, which has the clock.
        waiter: Whatever the client waits with.
    """

    __slots__ = (
        "buffered",
        "flowing",
        "hold_above",
        "holds",
        "id",
        "line",
        "method",
        "pool",
        "session",
        "streaming",
        "texts",
        "timeout",
        "token",
        "waiter",
    )

    def __init__(self, id: int, method: str, pool: str | None, streaming: bool) -> None:
        self.id = id
        self.method = method
        self.pool = pool
        self.line = b""
        self.streaming = streaming
        self.buffered = 0
        self.hold_above = 0
        self.holds = 0
        self.flowing = False
        self.session: str | None = None
        self.token: Any = None
        self.texts: list[str] | None = None
        self.timeout = 0.0
        self.waiter: Any = None


class Session:
    """The requests of one client.

    Args:
        protocols: The profile of each pool, in the order of the configuration.
        name: Prefix of the sessions made for calls that have none.
        chunk_limit: Bytes of chunks a request may have waiting before it is given up.
        session_limit: How many pools of named sessions are remembered.

    Attributes:
        pending: The requests in flight by id.  Read it; let the methods change it.
        worker_pools: The pool of each worker; the owner keeps it up to date.
        late_answers: Answers that came after their request had ended.
    """

    def __init__(self, protocols: Mapping[str, str], name: str, chunk_limit: int, session_limit: int) -> None:
        self.pending: dict[int, Pending] = {}
        self.worker_pools: dict[int, str] = {}
        self.late_answers = 0
        self._rows: dict[str, ChunkRow] = {pool: PROFILES[protocol] for pool, protocol in protocols.items()}
        self._heads: dict[tuple[str, str | None], str] = {}
        self._chunk_methods = {row.method for row in self._rows.values() if row.method}
        self._params_sessions = any(row.by_params_session for row in self._rows.values())
        self._first = next(iter(self._rows))
        self._prefix = f"{name}."
        self._chunk_limit = chunk_limit
        self._hold_step = min(_HOLD_ABOVE, chunk_limit // 2)
        self._session_limit = session_limit
        self._next_id = 1
        self._session_pools: dict[str, str] = {}
        self._by_session: dict[str, dict[int, Pending]] = {}
        self._by_token: dict[Any, Pending] = {}

    # ---- Calls

    def request(
        self,
        method: str,
        params: Any,
        pool: str | None,
        session: str | None,
        routing: Mapping[str, Any] | None,
        streaming: bool,
    ) -> Pending:
        """Registers a request; its line is in `Pending.line`.

        Args:
            method: The method, a string.
            params: JSON object or array, or ``None`` for none.
            pool: A pool of the configuration, or ``None`` for the session's or the first.
            session: The conversation it belongs to, if any.
            routing: Further top-level fields (``agentId``, ``_ext``).
            streaming: Whether chunks are wanted one by one.

        Raises:
            InvalidArgumentError: Something in it is not JSON data.
        """
        number = self._next_id
        inner = _params_session(params) if self._params_sessions else None
        target = pool if pool is not None else self._pool_of(session, inner)
        row = self._rows[target]
        pending = Pending(number, method, target, streaming)
        pending.hold_above = self._hold_step
        token = None
        if streaming and row.by_token:
            params, token = self._with_token(params, number)
        carried = session
        if session is None and row.by_session:
            carried = f"{self._prefix}{number}"
        pending.line = self._line(number, method, params, pool, carried, routing)
        # Nothing can fail from here on, so a refused call leaves no trace.
        self._next_id = number + 1
        self.pending[number] = pending
        if token is not None:
            pending.token = token
            self._by_token[token] = pending
        if row.by_params_session and inner is not None:
            session = inner
        if session is not None:
            pending.session = session
            self._by_session.setdefault(session, {})[number] = pending
            self._remember(session, target)
        return pending

    def notify(
        self,
        method: str,
        params: Any,
        pool: str | None,
        session: str | None,
        routing: Mapping[str, Any] | None,
    ) -> bytes:
        """The line of a notification; arguments and errors as in `request`."""
        return self._line(None, method, params, pool, session, routing)

    def cancel(self, pending: Pending) -> bytes:
        """Forgets a request; what is returned tells the bus, and through it the worker."""
        self._forget(pending)
        line = b'{"jsonrpc":"2.0","method":"stdio_bus/cancel","params":{"id":%d}}\n' % pending.id
        return line + self.release(pending)

    def control(self, method: str, params: Mapping[str, Any]) -> Pending:
        """Registers a request to the bus itself (``stdio_bus/``); its line is in `Pending.line`.

        Raises:
            InvalidArgumentError: Something in it is not JSON data.
        """
        pending = Pending(self._next_id, method, None, False)
        pending.line = self._line(pending.id, method, dict(params), None, None, None)
        self._next_id += 1
        self.pending[pending.id] = pending
        return pending

    # ---- Backpressure

    def hold(self, pending: Pending, worker: int) -> Pending:
        """A request that the bus stop reading from a worker, because ``pending`` has enough.

        The bus goes on by itself as soon as it sends anything else to that worker, and
        refuses while several requests are out there; `held` takes its answer.
        """
        pending.holds = worker
        return self.control("stdio_bus/pause", {"worker": worker})

    def held(self, pending: Pending, accepted: bool) -> None:
        """Whether the bus has agreed to the last `hold`."""
        pending.flowing = not accepted

    def consumed(self, pending: Pending, size: int) -> bool:
        """Counts bytes of chunks as read; whether `release` is due."""
        pending.buffered -= size
        return bool(pending.holds) and pending.buffered <= self._hold_step // 2

    def release(self, pending: Pending) -> bytes:
        """The line that ends a hold; empty when there is none."""
        worker, pending.holds = pending.holds, 0
        pending.hold_above = self._hold_step
        pending.flowing = False
        if not worker:
            return b""
        return b'{"jsonrpc":"2.0","method":"stdio_bus/resume","params":{"worker":%d}}\n' % worker

    def drain(self) -> list[Pending]:
        """Forgets every pending request and returns them, oldest first."""
        ended = list(self.pending.values())
        self.pending.clear()
        self._by_session.clear()
        self._by_token.clear()
        return ended

    # ---- Incoming lines

    def receive(self, data: bytes, records: Iterable[Record]) -> list[Event]:
        """Sorts a batch of lines.

        Args:
            data: The lines, one after the other, each followed by a newline.
            records: One per line, in the same order.

        Returns:
            What the lines mean, in order.  Requests named in them have left `pending`.
        """
        events: list[Event] = []
        pending = self.pending
        end = -1
        # Where every character is one byte, offsets in bytes are offsets in characters.
        text = data.decode("ascii") if data.isascii() else None
        for size, worker, _client, _reserved in records:
            start = end + 1
            end = start + size
            try:
                message = decode(text[start:end] if text is not None else data[start:end].decode())
            except (ValueError, RecursionError) as error:
                events.append((_BROKEN, error, None, start, size))
                continue
            if "method" in message:
                self._incoming_call(events, message, worker, start, size)
                continue
            number = message.get("id")
            request = pending.get(number) if type(number) is int else None
            if request is None:
                self._count_late(message)
                continue
            self._forget(request)
            if "error" in message:
                failure = failures.from_answer(message["error"], request.method, request.pool)
                events.append((_ERROR, request, failure, start, size))
            else:
                result = message.get("result")
                if request.texts is not None and isinstance(result, dict):
                    result.setdefault("text", "".join(request.texts))
                if self._params_sessions:
                    self._learn(request, result)
                events.append((_RESULT, request, result, start, size))
        return events

    def _count_late(self, message: Mapping[str, Any]) -> None:
        # The bus confirms a cancel with an error of its own, which is no late answer.
        error = message.get("error")
        if not isinstance(error, dict) or error.get("code") != _CANCELLED:
            self.late_answers += 1

    def _incoming_call(
        self, events: list[Event], message: dict[str, Any], worker: int, start: int, size: int
    ) -> None:
        if message["method"] == _TO_WORKER:
            events.append((_ATTACHED, message["params"]["message"], worker, start, size))
            return
        if "id" in message:
            events.append((_REQUEST, message, worker, start, size))
            return
        pool = self.worker_pools.get(worker)
        events.append((_NOTIFICATION, message, pool, start, size))
        if message["method"] not in self._chunk_methods:
            return
        params = message.get("params")
        if not isinstance(params, dict):
            return
        row = self._rows[pool if pool is not None else self._first]
        if message["method"] != row.method:
            return
        data = row.read(params)
        if data is NO_CHUNK:
            return
        owner = self._owner(row, message, params, pool)
        if owner is None or not (owner.streaming or row.joins):
            return
        owner.buffered += size
        if owner.buffered > self._chunk_limit and (owner.flowing or not owner.streaming):
            events.append((_OVERFLOW, owner, None, start, size))
        elif owner.streaming:
            events.append((_CHUNK, owner, data, start, size))
            if owner.buffered > owner.hold_above:
                owner.hold_above = owner.buffered + self._hold_step
                events.append((_FULL, owner, worker, start, size))
        elif isinstance(data, str):
            if owner.texts is None:
                owner.texts = []
            owner.texts.append(data)

    def _owner(
        self, row: ChunkRow, message: dict[str, Any], params: dict[str, Any], pool: str | None
    ) -> Pending | None:
        """The request a chunk belongs to, ``None`` where that is not certain."""
        if row.by_token:
            return self._by_token.get(_hashable(params.get("progressToken")))
        if row.by_params_session:
            prompt = self._prompt(_params_session(params), pool)
            sole = self._sole(pool) if prompt is None else None
            # A stream that names no session, alone on its pool, is what the agent speaks of.
            return sole if sole is not None and sole.streaming and sole.session is None else prompt
        number = _first_integer(
            message.get("requestId"), params.get("requestId"), params.get("progressToken")
        )
        named = self.pending.get(number) if number is not None else None
        session = message.get("sessionId")
        if isinstance(session, str):
            if session.startswith(self._prefix):
                suffix = session[len(self._prefix) :]
                fresh = self.pending.get(int(suffix)) if _is_number(suffix) else None
                if fresh is not None and fresh.session is None:
                    return fresh
            members = self._by_session.get(session)
            if members is None:
                return None
            if named is not None and named.id in members:
                return named
            # A worker that names only the session answers its requests in their order.
            return next(iter(members.values()))
        if number is not None:
            return named
        return self._sole(pool)

    def _prompt(self, session: str | None, pool: str | None) -> Pending | None:
        """The prompt in flight in a session of an agent, failing that its oldest request."""
        members = self._by_session.get(session, {}) if session is not None else {}
        here = [request for request in members.values() if pool is None or request.pool == pool]
        return next(
            (request for request in here if request.method == "session/prompt"), here[0] if here else None
        )

    def _sole(self, pool: str | None) -> Pending | None:
        """The only request in flight on a pool, hence on the worker that spoke."""
        sole = None
        for request in self.pending.values():
            if request.pool is not None and (pool is None or request.pool == pool):
                if sole is not None:
                    return None
                sole = request
        return sole

    # ---- Tables

    def _line(
        self,
        number: int | None,
        method: str,
        params: Any,
        pool: str | None,
        session: str | None,
        routing: Mapping[str, Any] | None,
    ) -> bytes:
        head = self._heads.get((method, pool))
        if head is None:
            head = self._make_head(method, pool)
        text = f'{{"jsonrpc":"2.0"{head}' if number is None else f'{{"jsonrpc":"2.0","id":{number}{head}'
        if session is not None:
            if not isinstance(session, str):
                refuse("session_id", "must be a string")
            text += f',"sessionId":{encode(session, "session_id")}'
        if routing is not None:
            text += f",{encode(routing, 'options')[1:-1]}"
        if params is None:
            return to_bytes(text + "}\n", "call")
        if not isinstance(params, (dict, list, tuple)):
            refuse("params", "must be a dict, a list or None")
        # The part that may be large is last, and copied once.
        return to_bytes(f'{text},"params":{encode(params, "params")}}}\n', "call")

    def _make_head(self, method: str, pool: str | None) -> str:
        """The fields that many calls have in common; kept for the next of them."""
        head = f',"method":{encode(method, "method")}'
        if pool is not None:
            head += f',"pool":{encode(pool, "pool")}'
        if len(self._heads) >= _HEADS_KEPT:
            self._heads.clear()
        self._heads[method, pool] = head
        return head

    def _with_token(self, params: Any, number: int) -> tuple[Any, Any]:
        """Params that carry a progress token, and that token: the caller's own or ours."""
        if params is None:
            params = {}
        if not isinstance(params, dict):
            return params, None
        meta = params.get("_meta", {})
        if not isinstance(meta, dict):
            refuse("params._meta", "must be a dict")
        token = meta.get("progressToken", number)
        if isinstance(token, bool) or not isinstance(token, (str, int)):
            refuse("params._meta.progressToken", "must be a string or an integer")
        if token in self._by_token:
            refuse("params._meta.progressToken", f"{token!r} belongs to another stream in flight")
        return {**params, "_meta": {**meta, "progressToken": token}}, token

    def _pool_of(self, session: str | None, inner: str | None) -> str:
        """The pool the bus chooses for a call that names none."""
        if session is not None and session in self._session_pools:
            return self._session_pools[session]
        target = self._session_pools.get(inner) if inner is not None else None
        return target if target is not None and self._rows[target].by_params_session else self._first

    def _learn(self, request: Pending, result: Any) -> None:
        """Remembers the session that an agent has made."""
        made = _params_session(result)
        if made is not None and request.pool is not None and self._rows[request.pool].by_params_session:
            self._remember(made, request.pool)

    def _remember(self, session: str, pool: str) -> None:
        pools = self._session_pools
        if session not in pools and len(pools) >= self._session_limit:
            del pools[next(iter(pools))]
        pools[session] = pool

    def _forget(self, pending: Pending) -> None:
        if self.pending.pop(pending.id, None) is None:
            return
        if pending.token is not None:
            del self._by_token[pending.token]
        if pending.session is not None:
            members = self._by_session[pending.session]
            del members[pending.id]
            if not members:
                del self._by_session[pending.session]


def _first_integer(*values: Any) -> int | None:
    return next((value for value in values if type(value) is int), None)


def _params_session(params: Any) -> str | None:
    session = params.get("sessionId") if isinstance(params, dict) else None
    return session if isinstance(session, str) else None


def _hashable(value: Any) -> Any:
    return value if type(value) in (str, int) else None


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 20
