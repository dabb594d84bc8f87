"""What is a chunk, per profile: one table.

A chunk is a notification that carries a part of one request's answer.  This module says
which notifications are chunks, what data they carry and by which marks their request is
found; finding it is the business of ``session.py``.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

Message = dict[str, Any]

NO_CHUNK = object()
"""What a reader returns for a notification that is not a chunk after all."""


class ChunkRow(NamedTuple):
    """How one profile streams.

    Attributes:
        method: The notification that may be a chunk, ``None`` where there is none.
        read: Its data, or `NO_CHUNK`: text where the profile has text, else ``params``.
        by_token: The request is found by ``params.progressToken``, which streamed
            requests carry in ``params._meta``.
        by_session: The request is found by the top-level ``sessionId``, so that calls
            without a session carry a fresh one; failing that by ``requestId`` or
            ``progressToken``, failing that it is the only one out on the worker.
        by_params_session: The request is found by ``params.sessionId``, which both have;
            failing that it is the only one in the pool, if a stream that names none.
        joins: Chunk text is part of the result, so a plain request gets it joined.
    """

    method: str | None
    read: Callable[[Message], Any]
    by_token: bool
    by_session: bool
    by_params_session: bool
    joins: bool


def _nothing(params: Message) -> Any:
    return NO_CHUNK


def _session_update(params: Message) -> Any:
    """``session/update`` of ACP shape: text of an ``agent_message_chunk``."""
    update = params.get("update")
    if not isinstance(update, dict):
        return params
    if update.get("sessionUpdate", "agent_message_chunk") != "agent_message_chunk":
        return NO_CHUNK
    content = update.get("content")
    text = content.get("text") if isinstance(content, dict) else None
    return text if isinstance(text, str) else params


def _progress(params: Message) -> Any:
    """``notifications/progress`` of MCP: its message, which servers may leave out."""
    message = params.get("message")
    return message if isinstance(message, str) else params


PROFILES: dict[str, ChunkRow] = {
    "stdiobus": ChunkRow("session/update", _session_update, False, True, False, True),
    "jsonrpc": ChunkRow(None, _nothing, False, False, False, False),
    "mcp": ChunkRow("notifications/progress", _progress, True, False, False, False),
    "mcp-stateless": ChunkRow("notifications/progress", _progress, True, False, False, False),
    "acp": ChunkRow("session/update", _session_update, False, False, True, True),
}
