"""Options of a call, as they travel."""

from __future__ import annotations

from stdiobus import AuditEvent, Identity, RequestOptions


def test_options_become_routing_fields():
    assert RequestOptions(timeout_ms=5, session_id="s").routing() is None
    options = RequestOptions(
        agent_id="a",
        identity=Identity("ada", role="admin"),
        audit=AuditEvent("e-1", attributes={"k": [1]}),
    )
    assert options.routing() == {
        "agentId": "a",
        "_ext": {
            "identity": {"subjectId": "ada", "role": "admin"},
            "audit": {"eventId": "e-1", "attributes": {"k": [1]}},
        },
    }
