"""What the bus hands to its user, and what a user hands to a single call.

Frozen data and enums only: events, snapshots, statistics, per-call options.  What
configures a whole bus is in ``config.py``; nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

__all__ = [
    "AuditEvent",
    "BackendMode",
    "BusState",
    "BusStats",
    "Identity",
    "ListenMode",
    "OverflowPolicy",
    "RequestOptions",
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


@dataclass(frozen=True)
class StreamEvent:
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


@dataclass(frozen=True)
class Identity:
    """On whose behalf a call is made; travels in the ``_ext`` field of the message.

    Attributes:
        subject_id: The name of the user or service.
        role: The role in which it acts.
        asserted_by: Who vouches for that.
    """

    subject_id: str
    role: str | None = None
    asserted_by: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The identity as it travels, without the fields that are not set."""
        return _present({"subjectId": self.subject_id, "role": self.role, "assertedBy": self.asserted_by})


@dataclass(frozen=True)
class AuditEvent:
    """What a call is recorded as; travels in the ``_ext`` field of the message.

    Attributes:
        event_id: The name of the record.
        action: What is being done.
        timestamp: When, as the caller writes times.
        attributes: Anything else, JSON data.
    """

    event_id: str
    action: str | None = None
    timestamp: str | None = None
    attributes: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The event as it travels, without the fields that are not set."""
        return _present(
            {
                "eventId": self.event_id,
                "action": self.action,
                "timestamp": self.timestamp,
                "attributes": self.attributes,
            }
        )


@dataclass(frozen=True)
class RequestOptions:
    """Options of one call; an argument of the call itself wins over its option.

    Attributes:
        timeout_ms: Deadline in milliseconds, ``None`` for that of the bus.
        session_id: The conversation the call belongs to.
        agent_id: Which agent behind the worker is meant (``agentId`` on the wire).
        identity: On whose behalf.
        audit: What to record.
    """

    timeout_ms: float | None = None
    session_id: str | None = None
    agent_id: str | None = None
    identity: Identity | None = None
    audit: AuditEvent | None = None

    def routing(self) -> dict[str, Any] | None:
        """The top-level fields the options add to a message, ``None`` when none."""
        fields: dict[str, Any] = {}
        if self.agent_id is not None:
            fields["agentId"] = self.agent_id
        extension: dict[str, Any] = {}
        if self.identity is not None:
            extension["identity"] = self.identity.to_dict()
        if self.audit is not None:
            extension["audit"] = self.audit.to_dict()
        if extension:
            fields["_ext"] = extension
        return fields or None


@dataclass(frozen=True)
class HelloParams:
    """What a client says of itself in ``stdio_bus/hello``.

    Attributes:
        protocol_version: The version of the ``stdio_bus/`` methods that it speaks.
        client_name: Its name.
        client_version: Its version.
        extensions: What else it can do, JSON data.
    """

    protocol_version: str = "1.0"
    client_name: str = "stdiobus-python"
    client_version: str | None = None
    extensions: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The params as they travel, without the fields that are not set."""
        return _present(
            {
                "protocolVersion": self.protocol_version,
                "clientInfo": _present({"name": self.client_name, "version": self.client_version}),
                "extensions": self.extensions,
            }
        )


@dataclass(frozen=True)
class HelloResult:
    """What the bus answers to ``stdio_bus/hello``.

    Attributes:
        negotiated_protocol_version: The version of the ``stdio_bus/`` methods in use.
        session_id: The bus's name for this client.
        extensions: What else the bus can do.
    """

    negotiated_protocol_version: str
    session_id: str
    extensions: Mapping[str, Any]


@dataclass(frozen=True)
class RequestContext:
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


@dataclass(frozen=True)
class BusStats:
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


@dataclass(frozen=True)
class WorkerInfo:
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


@dataclass(frozen=True)
class WorkerEvent:
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


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
