"""Every exception of the package, and the numbers that name them.

Only exceptions live here; who raises which one, and how the kernel's error codes become
these, does not (see ``protocol/failures.py``).  This module imports nothing of the package.

The tree::

    Exception
    +-- StdioBusError                  .code  .message  .details  .to_dict()
        +-- InvalidArgumentError       1   the caller asked for something impossible
        +-- InvalidStateError          2   not started, stopped already, forked
        +-- TimeoutError               3   no answer in time (also a builtin TimeoutError)
        +-- CancelledError             4   the bus was told to cancel the request
        +-- TransportError             5   a worker, the program or the bus went away
        +-- NegotiationFailedError     6   the two sides do not agree on a protocol
        +-- PolicyDeniedError          7   somebody is not allowed to do that
        +-- UnavailableError           8   no worker, no pool or no backend can serve
        +-- ResourceExhaustedError     9   a queue or a buffer is full
        +-- NotSupportedError         10   this backend or library cannot do that
        +-- InternalError             99   a bug, or a worker's own error:
            +-- RemoteError                a worker answered with an error
                                           .rpc_code  .rpc_data
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

__all__ = [
    "CancelledError",
    "ErrorCode",
    "InternalError",
    "InvalidArgumentError",
    "InvalidStateError",
    "NegotiationFailedError",
    "NotSupportedError",
    "PolicyDeniedError",
    "RemoteError",
    "ResourceExhaustedError",
    "StdioBusError",
    "TimeoutError",
    "TransportError",
    "UnavailableError",
]


class ErrorCode(IntEnum):
    """The number of each kind of error; stable across releases and languages.

    Attributes:
        INVALID_ARGUMENT: `InvalidArgumentError`.
        INVALID_STATE: `InvalidStateError`.
        TIMEOUT: `TimeoutError`.
        CANCELLED: `CancelledError`.
        TRANSPORT: `TransportError`.
        NEGOTIATION_FAILED: `NegotiationFailedError`.
        POLICY_DENIED: `PolicyDeniedError`.
        UNAVAILABLE: `UnavailableError`.
        RESOURCE_EXHAUSTED: `ResourceExhaustedError`.
        NOT_SUPPORTED: `NotSupportedError`.
        INTERNAL: `InternalError`, `RemoteError`.
    """

    INVALID_ARGUMENT = 1
    INVALID_STATE = 2
    TIMEOUT = 3
    CANCELLED = 4
    TRANSPORT = 5
    NEGOTIATION_FAILED = 6
    POLICY_DENIED = 7
    UNAVAILABLE = 8
    RESOURCE_EXHAUSTED = 9
    NOT_SUPPORTED = 10
    INTERNAL = 99


class StdioBusError(Exception):
    """The root of all errors of this package.

    Args:
        message: What happened, to which pool and worker, and what to do about it.
        details: Facts for programs: pool, worker, exit code, stderr and the like.

    Attributes:
        code: The kind of error; fixed per class.
        message: The message.
        details: The facts, empty when there are none.
    """

    code: ErrorCode = ErrorCode.INTERNAL

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details) if details else {}

    def to_dict(self) -> dict[str, Any]:
        """The error as plain data, for logs and for other processes."""
        return {
            "code": int(self.code),
            "name": self.code.name,
            "message": self.message,
            "details": dict(self.details),
        }


class InvalidArgumentError(StdioBusError):
    """An argument, a configuration or a message is wrong; nothing was done."""

    code = ErrorCode.INVALID_ARGUMENT


class InvalidStateError(StdioBusError):
    """The bus is not in a state that allows the call."""

    code = ErrorCode.INVALID_STATE


class TimeoutError(StdioBusError, builtins.TimeoutError):
    """A deadline passed; also a builtin ``TimeoutError``."""

    code = ErrorCode.TIMEOUT


class CancelledError(StdioBusError):
    """The bus ended the request because it was told to cancel it.

    Not raised for a cancelled task: that keeps raising ``asyncio.CancelledError``.
    """

    code = ErrorCode.CANCELLED


class TransportError(StdioBusError):
    """The way to the worker broke: it exited, the bus stopped, a wrong thread called."""

    code = ErrorCode.TRANSPORT


class NegotiationFailedError(StdioBusError):
    """The two sides found no protocol version or extension in common."""

    code = ErrorCode.NEGOTIATION_FAILED


class PolicyDeniedError(StdioBusError):
    """A rule of the bus or of the worker forbids the call."""

    code = ErrorCode.POLICY_DENIED


class UnavailableError(StdioBusError):
    """Nothing can serve the call: no backend, or a pool whose workers all failed."""

    code = ErrorCode.UNAVAILABLE


class ResourceExhaustedError(StdioBusError):
    """A queue, a buffer or a message limit is full."""

    code = ErrorCode.RESOURCE_EXHAUSTED


class NotSupportedError(StdioBusError):
    """This backend, library or platform does not offer the operation."""

    code = ErrorCode.NOT_SUPPORTED


class InternalError(StdioBusError):
    """Something that should not happen did; other than a `RemoteError` it is a bug."""

    code = ErrorCode.INTERNAL


class RemoteError(InternalError):
    """A worker answered the request with a JSON-RPC error.

    Args:
        message: The worker's message, with the method and the pool it concerns.
        details: As in `StdioBusError`.
        rpc_code: ``error.code`` of the answer.
        rpc_data: ``error.data`` of the answer, ``None`` when it has none.
    """

    def __init__(
        self,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        rpc_code: int = 0,
        rpc_data: Any = None,
    ) -> None:
        super().__init__(message, details)
        self.rpc_code = rpc_code
        self.rpc_data = rpc_data

    def to_dict(self) -> dict[str, Any]:
        """As `StdioBusError.to_dict`, with ``rpc_code`` and ``rpc_data``."""
        return {**super().to_dict(), "rpc_code": self.rpc_code, "rpc_data": self.rpc_data}
