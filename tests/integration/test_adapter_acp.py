"""The client of the `agent-client-protocol` package over a pool of its own agents."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

acp = pytest.importorskip("acp", exc_type=ImportError)

from acp.schema import AllowedOutcome, RequestPermissionResponse  # noqa: E402

from stdiobus.adapters.acp import open_endpoint  # noqa: E402

pytestmark = pytest.mark.busy_loop
over_both_backends = pytest.mark.parametrize("backend", ["native", "subprocess"])
PATIENCE = 30


@pytest.fixture
def backend() -> str:
    """What a client library sees does not depend on it: one will do, but for the first test."""
    return "native"


@pytest.fixture
def strict(pool) -> Any:
    """An agent that starts faster than one of the package."""
    return pool("strict_worker.py", "acp", id="acp", protocol="acp")


class Host(acp.Client):
    """Notes what it is told, per session, and chooses the same option each time."""

    def __init__(self, choice: str = "allow") -> None:
        self.choice = choice
        self.said: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.told = asyncio.Event()

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.said.setdefault(session_id, []).append(update.content.text)
        self.told.set()

    async def request_permission(self, session_id: str, **_: Any) -> RequestPermissionResponse:
        self.asked.append(session_id)
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=self.choice))


async def prompt(agent: Any, session: str, *texts: str) -> str:
    blocks = [acp.text_block(text) for text in texts]
    answer = await asyncio.wait_for(agent.prompt(session_id=session, prompt=blocks), PATIENCE)
    return answer.stop_reason


async def opened(agent: Any) -> str:
    return (await asyncio.wait_for(agent.new_session(cwd="/", mcp_servers=[]), PATIENCE)).session_id


async def hold(agent: Any, client: Host, session: str) -> asyncio.Task:
    """A prompt that the agent keeps."""
    holding = asyncio.create_task(prompt(agent, session, "hold"))
    await asyncio.wait_for(client.told.wait(), PATIENCE)
    return holding


@over_both_backends
async def test_clients_and_their_sessions_do_not_mix(make_bus, pool):
    bus = await make_bus(pool("acp_worker.py", protocol="acp", instances=2))

    async def host(number: int) -> None:
        client = Host()
        agent = acp.connect_to_agent(client, await open_endpoint(bus, "acp"))
        assert (await agent.initialize(protocol_version=1)).protocol_version == 1
        sessions = [await opened(agent) for _ in range(3)]
        texts = {session: [f"{number}/{session}/{n}" for n in range(10)] for session in sessions}
        assert (
            await asyncio.gather(*(prompt(agent, *item) for item in [(s, *texts[s]) for s in texts]))
            == ["end_turn"] * 3
        )
        assert client.said == texts
        await agent.close()

    await asyncio.gather(*map(host, range(5)))


async def test_permission_requests_reach_the_client_of_the_session(make_bus, pool):
    bus = await make_bus(pool("acp_worker.py", protocol="acp"))

    async def host(choice: str) -> None:
        client = Host(choice)
        agent = acp.connect_to_agent(client, await open_endpoint(bus, "acp"))
        sessions = [await opened(agent) for _ in range(2)]
        await asyncio.gather(*(prompt(agent, session, "may I?") for session in sessions))
        assert sorted(client.asked) == sorted(sessions)
        assert client.said == {session: [choice] for session in sessions}
        await agent.close()

    await asyncio.gather(*(host(choice) for choice in ("allow", "reject", "allow", "reject")))


async def test_cancelled_prompt_answers_and_the_session_goes_on(make_bus, strict):
    bus = await make_bus(strict)
    client = Host()
    agent = acp.connect_to_agent(client, await open_endpoint(bus, "acp"))
    session = await opened(agent)
    holding = await hold(agent, client, session)
    await agent.cancel(session_id=session)
    assert await holding == "cancelled"
    assert await prompt(agent, session, "echo") == "end_turn"
    await agent.close()


async def test_prompt_whose_agent_dies_ends_with_the_reason(make_bus, strict):
    bus = await make_bus(strict)
    client = Host()
    agent = acp.connect_to_agent(client, await open_endpoint(bus, "acp"))
    session = await opened(agent)
    holding = await hold(agent, client, session)
    os.kill(bus.get_workers()[0].pid, signal.SIGKILL)
    with pytest.raises(acp.RequestError, match=r"SIGKILL|signal 9") as raised:
        await holding
    assert raised.value.code == -32083
    assert await prompt(agent, await opened(agent), "echo") == "end_turn"
    await agent.close()


async def test_prompt_whose_bus_is_destroyed_is_told_so(make_bus, strict):
    bus = await make_bus(strict)
    client = Host()
    agent = acp.connect_to_agent(client, await open_endpoint(bus, "acp"))
    holding = await hold(agent, client, await opened(agent))
    bus.destroy()
    with pytest.raises(acp.RequestError, match="the bus was destroyed"):
        await holding
    await agent.close()


async def test_agent_closed_from_another_task(make_bus, strict):
    bus = await make_bus(strict)
    client = Host()
    agent = acp.connect_to_agent(client, await open_endpoint(bus, "acp"))
    holding = await hold(agent, client, await opened(agent))
    await asyncio.create_task(agent.close())
    with pytest.raises(ConnectionError):
        await holding
    other = acp.connect_to_agent(Host(), await open_endpoint(bus, "acp"))
    assert await prompt(other, await opened(other), "echo") == "end_turn"
    await other.close()
