"""FastMCP's client over a pool."""

from __future__ import annotations

import asyncio

import pytest

fastmcp = pytest.importorskip("fastmcp", exc_type=ImportError)

from stdiobus.adapters.fastmcp import StdioBusTransport  # noqa: E402

pytestmark = pytest.mark.busy_loop
PATIENCE = 30


@pytest.fixture
def backend() -> str:
    """What a client library sees does not depend on it: one will do."""
    return "native"


@pytest.mark.parametrize("protocol", ["mcp", "mcp-stateless"])
async def test_clients_share_a_transport_and_see_their_own_answers_and_progress(make_bus, pool, protocol):
    bus = await make_bus(pool("mcp_worker.py", protocol=protocol))
    transport = StdioBusTransport(bus, "mcp")
    assert repr(transport) == "<StdioBusTransport(pool='mcp')>"

    async def host(name: str) -> None:
        seen = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append(message)

        async with fastmcp.Client(transport) as client:
            result = await client.call_tool("count", {"n": 5, "name": name}, progress_handler=progress)
            assert result.data.result == name
            assert sorted(seen) == [f"{name}/{step}" for step in range(5)]

    await asyncio.wait_for(asyncio.gather(*(host(f"host {number}") for number in range(5))), PATIENCE)


async def test_client_closed_from_another_task_and_opened_again(make_bus, pool):
    bus = await make_bus(pool("mcp_worker.py", protocol="mcp"))
    client = fastmcp.Client(StdioBusTransport(bus, "mcp"))
    for _ in range(2):
        await asyncio.create_task(client.__aenter__())
        assert {tool.name for tool in await client.list_tools()} >= {"count", "hold"}
        await asyncio.create_task(client.__aexit__(None, None, None))
