"""What a user hands to a single call; what configures a whole bus is in ``config.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .values import Value

__all__ = ["AuditEvent", "HelloParams", "Identity", "RequestOptions"]


@dataclass(frozen=True, eq=False, repr=False)
class Identity(Value):
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


@dataclass(frozen=True, eq=False, repr=False)
class AuditEvent(Value):
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


@dataclass(frozen=True, eq=False, repr=False)
class RequestOptions(Value):
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


@dataclass(frozen=True, eq=False, repr=False)
class HelloParams(Value):
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


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
