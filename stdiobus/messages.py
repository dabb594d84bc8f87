"""What the bus hands to its user.

Frozen data and enums only: events, snapshots, statistics.  What a user hands to the bus is in
``config.py`` and ``options.py``; nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

from .values import Value

__all__ = [
    "BackendMode",
    "BusState",
    "BusStats",
    "ListenMode",
    "OverflowPolicy",
    "StreamEvent",
    "StreamEventType",
    "WorkerEvent",
    "WorkerInfo",
]


class BusState(IntEnum):
    """Where a bus is in its life; the numbers are the kernel's.

    Attributes:
        CREATED: Not started yet.
        STARTING: ``start`` has not returned.
        RUNNING: Calls are possible.
        STOPPING: ``stop`` has not returned.
        STOPPED: It has ended, and is not started again.
    """

    CREATED = 0
    STARTING = 1
    RUNNING = 2
    STOPPING = 3
    STOPPED = 4


class BackendMode(str, Enum):
    """What moves the bytes.

    Attributes:
        AUTO: The first of the next three that works.
        NATIVE: The kernel as a library in this process.
        SUBPROCESS: The program ``stdio_bus``.
        DOCKER: That program in a container.
        MEMORY: Nothing; for tests.
    """

    AUTO = "auto"
    NATIVE = "native"
    SUBPROCESS = "subprocess"
    DOCKER = "docker"
    MEMORY = "memory"


class ListenMode(str, Enum):
    """Whether, and how, other processes can connect to the bus.

    Attributes:
        NONE: They cannot.
        TCP: Over TCP, at `NativeOptions.tcp_host` and ``tcp_port``.
        UNIX: Over the Unix socket `NativeOptions.unix_path`.
    """

    NONE = "none"
    TCP = "tcp"
    UNIX = "unix"


class OverflowPolicy(str, Enum):
    """What a full subscription does with the next notification.

    Attributes:
        DROP_OLDEST: Forgets its oldest one, takes the new one.
        DROP_NEWEST: Refuses the new one.
        CLOSE: Refuses it and ends after what it has.
    """

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    CLOSE = "close"


class StreamEventType(str, Enum):
    """The kind of a `StreamEvent`.

    Attributes:
        CHUNK: A part of the answer.
        RESULT: The final result, once, last.
    """

    CHUNK = "chunk"
    RESULT = "result"


@dataclass(frozen=True, eq=False, repr=False)
class StreamEvent(Value):
    """One event of a streamed request.

    Attributes:
        type: ``CHUNK`` for a part, ``RESULT`` for the final result.
        data: The text of a chunk where its profile has text, else the notification's
            ``params``; for ``RESULT`` the result as the worker gave it.
    """

    type: StreamEventType
    data: Any

    @property
    def text(self) -> str | None:
        """The text of a chunk; ``None`` for a chunk without text and for the result."""
        if self.type is StreamEventType.CHUNK and isinstance(self.data, str):
            return self.data
        return None

    @property
    def result(self) -> Any:
        """The result; ``None`` for a chunk."""
        return self.data if self.type is StreamEventType.RESULT else None


@dataclass(frozen=True, eq=False, repr=False)
class HelloResult(Value):
    """What the bus answers to ``stdio_bus/hello``.

    Attributes:
        negotiated_protocol_version: The version of the ``stdio_bus/`` methods in use.
        session_id: The bus's name for this client.
        extensions: What else the bus can do.
    """

    negotiated_protocol_version: str
    session_id: str
    extensions: Mapping[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class RequestContext(Value):
    """Where a worker's request comes from; what a handler of ``on_request`` gets beside its params.

    Attributes:
        method: Its method.
        id: Its JSON-RPC id, as the bus delivers it.
        pool: The pool of the worker, ``None`` where that is not known.
        worker_id: The worker.
        session_id: The session it speaks of, by the top-level ``sessionId`` or by
            ``params.sessionId``; ``None`` when it names none.
    """

    method: str
    id: Any
    pool: str | None
    worker_id: int
    session_id: str | None


@dataclass(frozen=True, eq=False, repr=False)
class BusStats(Value):
    """Counters since start; "in" is from clients to the bus, "out" from it to them.

    Attributes:
        messages_in: Messages from clients.
        messages_out: Messages to clients.
        bytes_in: Bytes of the former, newlines not counted.
        bytes_out: Bytes of the latter.
        worker_restarts: How often a worker was started again after it had died.
        routing_errors: Messages without a destination.
        client_connects: External clients that have come.
        client_disconnects: External clients that have gone.
        late_answers: Answers that arrived after their request had been given up here.
    """

    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    worker_restarts: int = 0
    routing_errors: int = 0
    client_connects: int = 0
    client_disconnects: int = 0
    late_answers: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class WorkerInfo(Value):
    """A snapshot of one worker.

    Attributes:
        pool: Its pool.
        worker_id: Its slot, from 1; a restarted worker keeps it.
        pid: Its process, 0 when none runs.
        state: ``starting``, ``ready``, ``backoff``, ``stopping``, ``stopped`` or ``failed``.
        in_flight: Requests sent to it and not answered.
        restarts: How often it was started again.
        uptime_ms: Age of the present process, in milliseconds.
        bytes_in: Bytes written to its stdin.
        bytes_out: Bytes read from its stdout.
    """

    pool: str
    worker_id: int
    pid: int
    state: str
    in_flight: int
    restarts: int
    uptime_ms: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, eq=False, repr=False)
class WorkerEvent(Value):
    """A change in the life of one worker.

    Attributes:
        pool: Its pool.
        worker_id: Its slot, from 1.
        kind: ``started`` (ready for requests), ``restarting`` (crashed, a new start is
            due), ``failed`` (will not be started again) or ``stopped`` (ended on demand).
        pid: The process concerned, 0 when there was none.
        returncode: Its exit code, minus the signal that ended it, or ``None``.
        stderr_tail: The last lines it wrote to stderr.
        reason: One sentence; empty for ``started``.
    """

    pool: str
    worker_id: int
    kind: str
    pid: int
    returncode: int | None = None
    stderr_tail: str = ""
    reason: str = ""


def returncode(exit_code: int, signal: int) -> int | None:
    """How a process ended, as ``subprocess`` says it, from the kernel's pair of numbers."""
    if signal:
        return -signal
    return exit_code if exit_code >= 0 else None
