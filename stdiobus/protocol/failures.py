"""Error answers become exceptions.

Knows the kernel's error codes and what a caller can do about each; knows nothing of
requests beyond the method and pool that an error message names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import (
    CancelledError,
    InternalError,
    InvalidArgumentError,
    RemoteError,
    ResourceExhaustedError,
    StdioBusError,
    TransportError,
    UnavailableError,
)


class _Kind(NamedTuple):
    error: type[StdioBusError]
    remedy: str


# The kernel's codes (errors it makes itself carry data.source "stdio_bus").
_KINDS: dict[int, _Kind] = {
    -32700: _Kind(InvalidArgumentError, "send one JSON object per line"),
    -32600: _Kind(InvalidArgumentError, "send one JSON-RPC 2.0 request within the limits"),
    -32081: _Kind(InvalidArgumentError, "name a pool of the configuration"),
    -32082: _Kind(UnavailableError, "correct what the worker complains about, then start a new bus"),
    -32083: _Kind(TransportError, "send it again only if it is safe to run twice"),
    -32084: _Kind(
        ResourceExhaustedError, "send fewer at a time, or raise max_queue or instances of the pool"
    ),
    -32085: _Kind(TransportError, "send it to a bus that is running"),
    -32086: _Kind(ResourceExhaustedError, "raise limits.max_input_buffer or ask for less"),
    -32087: _Kind(CancelledError, "send it again if the answer is still wanted"),
    -32088: _Kind(InternalError, "correct the worker, which wrote what is no JSON-RPC"),
}

# How a text may name each fact; the first is how it is named here.
_FACTS = {
    "pool": ("pool",),
    "worker": ("worker",),
    "exit_code": ("exit code", "status"),
    "signal": ("signal",),
}


def from_answer(error: Any, method: str, pool: str | None) -> StdioBusError:
    """The exception for the ``error`` member of an answer.

    Args:
        error: The member, as decoded.
        method: Method of the request it answers.
        pool: Pool the request was for, ``None`` where the bus chose.
    """
    if not isinstance(error, dict):
        return InternalError(f"{method}: the answer has an error that is not an object: {error!r}")
    code = error.get("code")
    text = str(error.get("message", "no message"))
    data = error.get("data")
    details: dict[str, Any] = {"method": method, "pool": pool, "rpc_code": code}
    if isinstance(data, dict) and data.get("source") == "stdio_bus":
        details.update({name: value for name, value in data.items() if name != "source"})
        kind = _KINDS.get(code) if isinstance(code, int) else None
        if kind is not None:
            return kind.error(describe(f"{method}: {text}", details, kind.remedy), details)
    where = f" (pool {pool!r})" if pool is not None else ""
    return RemoteError(
        f"{method}{where}: {text} [{code}]",
        details,
        rpc_code=code if isinstance(code, int) else 0,
        rpc_data=data,
    )


def ended(error: StdioBusError, method: str, pool: str | None) -> StdioBusError:
    """A copy of ``error`` for one request, so that no two callers share a traceback."""
    return type(error)(f"{method}: {error.message}", {**error.details, "method": method, "pool": pool})


def _names(text: str, label: str, value: Any) -> bool:
    return re.search(rf"""\b{label} ["']?{re.escape(str(value))}(?!\w)""", text) is not None


def describe(text: str, facts: Mapping[str, Any], remedy: str) -> str:
    """One message from a sentence, the facts about a worker, the remedy and its stderr.

    Args:
        text: What happened; facts that it names already are not repeated.
        facts: ``pool``, ``worker``, ``exit_code``, ``signal``, ``stderr``; each may be
            missing or ``None``.
        remedy: What to do.
    """
    parts: list[str] = []
    for name, labels in _FACTS.items():
        value = facts.get(name)
        if value is not None and not any(_names(text, label, value) for label in labels):
            parts.append(f"{labels[0]} {value!r}")
    message = text.rstrip(".")
    if parts:
        message += f" ({', '.join(parts)})"
    message += f"; {remedy}"
    stderr = facts.get("stderr")
    if isinstance(stderr, str) and stderr.strip():
        message += "\nlast lines of its stderr:\n  " + "\n  ".join(stderr.rstrip("\n").split("\n"))
    return message
