"""Pools of MCP servers, ACP agents and other JSON-RPC workers behind one bus.

Public names and the version; nothing else.  Names are loaded when they are first used, so
that importing the package costs next to nothing and loads no library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "3.0.0.dev0"

if TYPE_CHECKING:
    from .client.aio import AsyncStdioBus
    from .client.blocking import SyncEmbeddedWorker, SyncLogicalClient, SyncStream, SyncSubscription
    from .client.builder import StdioBusBuilder
    from .client.embedded import EmbeddedWorker, WorkerContext
    from .client.handles import PoolHandle, SessionHandle
    from .client.logical import LogicalClient
    from .client.subscriptions import NotificationSubscription
    from .client.sync import StdioBus
    from .config import BusConfig, DockerOptions, LimitsConfig, NativeOptions, PoolConfig, SubprocessOptions
    from .errors import (
        CancelledError,
        ErrorCode,
        InternalError,
        InvalidArgumentError,
        InvalidStateError,
        NegotiationFailedError,
        NotSupportedError,
        PolicyDeniedError,
        RemoteError,
        ResourceExhaustedError,
        StdioBusError,
        TimeoutError,
        TransportError,
        UnavailableError,
    )
    from .messages import (
        BackendMode,
        BusState,
        BusStats,
        HelloResult,
        ListenMode,
        OverflowPolicy,
        RequestContext,
        StreamEvent,
        StreamEventType,
        WorkerEvent,
        WorkerInfo,
    )
    from .options import AuditEvent, HelloParams, Identity, RequestOptions

_MODULES = {
    "client.aio": ("AsyncStdioBus",),
    "client.blocking": ("SyncEmbeddedWorker", "SyncLogicalClient", "SyncStream", "SyncSubscription"),
    "client.builder": ("StdioBusBuilder",),
    "client.embedded": ("EmbeddedWorker", "WorkerContext"),
    "client.handles": ("PoolHandle", "SessionHandle"),
    "client.logical": ("LogicalClient",),
    "client.subscriptions": ("NotificationSubscription",),
    "client.sync": ("StdioBus",),
    "config": (
        "BusConfig",
        "DockerOptions",
        "LimitsConfig",
        "NativeOptions",
        "PoolConfig",
        "SubprocessOptions",
    ),
    "errors": (
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
    ),
    "messages": (
        "BackendMode",
        "BusState",
        "BusStats",
        "HelloResult",
        "ListenMode",
        "OverflowPolicy",
        "RequestContext",
        "StreamEvent",
        "StreamEventType",
        "WorkerEvent",
        "WorkerInfo",
    ),
    "options": ("AuditEvent", "HelloParams", "Identity", "RequestOptions"),
}

_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AsyncStdioBus",
    "AuditEvent",
    "BackendMode",
    "BusConfig",
    "BusState",
    "BusStats",
    "CancelledError",
    "DockerOptions",
    "EmbeddedWorker",
    "ErrorCode",
    "HelloParams",
    "HelloResult",
    "Identity",
    "InternalError",
    "InvalidArgumentError",
    "InvalidStateError",
    "LimitsConfig",
    "ListenMode",
    "LogicalClient",
    "NativeOptions",
    "NegotiationFailedError",
    "NotSupportedError",
    "NotificationSubscription",
    "OverflowPolicy",
    "PolicyDeniedError",
    "PoolConfig",
    "PoolHandle",
    "RemoteError",
    "RequestContext",
    "RequestOptions",
    "ResourceExhaustedError",
    "SessionHandle",
    "StdioBus",
    "StdioBusBuilder",
    "StdioBusError",
    "StreamEvent",
    "StreamEventType",
    "SubprocessOptions",
    "SyncEmbeddedWorker",
    "SyncLogicalClient",
    "SyncStream",
    "SyncSubscription",
    "TimeoutError",
    "TransportError",
    "UnavailableError",
    "WorkerContext",
    "WorkerEvent",
    "WorkerInfo",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
