"""Answers that this side gives: to a worker's request, or as a worker that lives here.

Lines only; who calls the user's function is in ``client/``.
"""

from __future__ import annotations

from typing import Any

from ..errors import InvalidArgumentError, RemoteError
from .codec import encode

_INVALID_PARAMS = -32602
_INTERNAL_ERROR = -32603
_METHOD_NOT_FOUND = -32601


def result_line(number: Any, result: Any) -> bytes:
    """The line that answers with a result.

    Args:
        number: The id of the request, as it came.
        result: JSON data.

    Raises:
        InvalidArgumentError: It is not JSON data.
    """
    return _line({"jsonrpc": "2.0", "id": number, "result": result})


def error_line(number: Any, error: BaseException) -> bytes:
    """The line that answers with an exception as a JSON-RPC error.

    A `RemoteError` passes its own ``rpc_code`` and ``rpc_data`` on, an
    `InvalidArgumentError` is -32602, everything else -32603.
    """
    code, data = _INTERNAL_ERROR, None
    text = str(error) or type(error).__name__
    if isinstance(error, RemoteError):
        code, data = error.rpc_code, error.rpc_data
    elif isinstance(error, InvalidArgumentError):
        code = _INVALID_PARAMS
    body = {"code": code, "message": text}
    full = body if data is None else {**body, "data": data}
    try:
        return _line({"jsonrpc": "2.0", "id": number, "error": full})
    except InvalidArgumentError:  # the data is none of JSON's
        return _line({"jsonrpc": "2.0", "id": number, "error": body})


def no_handler_line(number: Any, method: str) -> bytes:
    """The line that answers a request nobody here serves."""
    body = {"code": _METHOD_NOT_FOUND, "message": f"this client does not answer {method}"}
    return _line({"jsonrpc": "2.0", "id": number, "error": body})


def _line(message: dict[str, Any]) -> bytes:
    # The id is the other side's text: "replace" keeps a lone surrogate in it from
    # raising here, where no caller of ours is to blame.
    return encode(message, "answer").encode(errors="replace") + b"\n"
