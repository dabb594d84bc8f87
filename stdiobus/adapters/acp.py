"""The ``agent-client-protocol`` package over a bus: an endpoint for ``acp.connect_to_agent``.

Needs ``pip install "stdiobus[acp]"``.

    async with AsyncStdioBus(config) as bus:
        agent = acp.connect_to_agent(client, await open_endpoint(bus, "agent"))
        session = await agent.new_session(cwd="/project")
        await agent.prompt(session_id=session.session_id, prompt=[acp.text_block("hi")])
        await agent.close()

Updates, permission requests and file requests of a session reach the client that opened it.
``agent.initialize`` is answered by the bus with what the agent answered it; what the agent may
ask of its clients is declared in ``PoolConfig.handshake``.
"""

from __future__ import annotations

from .endpoint import Endpoint, missing, open_endpoint

try:
    import acp  # noqa: F401 - whoever imports this is about to need it
except ImportError as error:
    raise missing("acp", "agent-client-protocol", error) from error

__all__ = ["Endpoint", "open_endpoint"]
