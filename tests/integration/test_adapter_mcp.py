"""The `mcp` package's own clients over a pool of its own server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import pytest

mcp = pytest.importorskip("mcp", exc_type=ImportError)

from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, CreateMessageResult, TextContent  # noqa: E402

from stdiobus import InvalidArgumentError  # noqa: E402
from stdiobus.adapters.mcp import stdiobus_client  # noqa: E402

pytestmark = pytest.mark.busy_loop
over_both_backends = pytest.mark.parametrize("backend", ["native", "subprocess"])
PATIENCE = 30


@pytest.fixture
def backend() -> str:
    """What a client library sees does not depend on it: one will do, but for the first test."""
    return "native"


HOLD = CallToolRequest(params=CallToolRequestParams(name="hold", arguments={}))


@pytest.fixture
def strict(pool) -> Any:
    """A server that starts faster than one of the package."""
    return pool("mcp_strict_worker.py", protocol="mcp")


def text(result: Any) -> str:
    assert not result.is_error, result
    return result.content[0].text


async def check_progress(client: Any, name: str, calls: int = 3, steps: int = 10) -> None:
    """Calls with progress, at once: each sees exactly its own."""

    async def call(number: int) -> None:
        own, seen = f"{name}/{number}", []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append((done, total, message))

        arguments = {"n": steps, "name": own}
        assert text(await client.call_tool("count", arguments, progress_callback=progress)) == own
        assert sorted(seen) == [(step + 1, steps, f"{own}/{step}") for step in range(steps)]

    await asyncio.gather(*(call(number) for number in range(calls)))


async def both_ready(bus: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while [worker.state for worker in bus.get_workers()] != ["ready", "ready"]:
        assert time.monotonic() < deadline, "the workers do not start"
        await asyncio.sleep(0.01)


async def hold(session: Any) -> asyncio.Task:
    """A call that the server keeps."""
    begun = asyncio.Event()

    async def progress(*_: Any) -> None:
        begun.set()

    call = asyncio.create_task(session.send_request(HOLD, CallToolResult, progress_callback=progress))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    return call


@over_both_backends
async def test_twenty_sessions_on_two_workers_see_their_own_answers_and_progress(make_bus, pool):
    bus = await make_bus(pool("mcp_worker.py", protocol="mcp", instances=2))
    await both_ready(bus)
    everybody_is_here = asyncio.Event()
    arrived = []

    async def host(number: int) -> int:
        async with stdiobus_client(bus, "mcp") as (read, write), mcp.ClientSession(read, write) as session:
            await session.initialize()
            arrived.append(number)
            if len(arrived) == 20:
                everybody_is_here.set()
            await everybody_is_here.wait()
            await check_progress(session, f"host {number}")
            return int(text(await session.call_tool("pid", {})))

    pids = await asyncio.wait_for(asyncio.gather(*map(host, range(20))), PATIENCE)
    assert len(set(pids)) == 2, "both workers served"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_client_finds_the_era_at_once(make_bus, strict, mode):
    bus = await make_bus(strict)
    started = time.monotonic()
    async with mcp.Client(stdiobus_client(bus, "mcp_strict"), mode=mode) as client:
        assert time.monotonic() - started < 5, "server/discover is answered by the bus"
        assert client.protocol_version == "2025-11-25"
        assert text(await client.call_tool("echo", {"text": "hi"})) == "hi"


async def test_stateless_pool(make_bus, pool):
    bus = await make_bus(pool("mcp_worker.py", protocol="mcp-stateless", instances=2))

    async def host(number: int) -> None:
        async with mcp.Client(stdiobus_client(bus, "mcp")) as client:
            assert client.protocol_version == "2026-07-28"
            await check_progress(client, f"host {number}")

    await asyncio.wait_for(asyncio.gather(*map(host, range(5))), PATIENCE)


async def test_question_of_the_server_reaches_the_client_that_called(make_bus, pool):
    bus = await make_bus(
        pool(
            "mcp_worker.py",
            protocol="mcp",
            handshake={
                "request": {
                    "method": "initialize",
                    "params": {
                        "protocolVersion": "2025-11-25",
                        "capabilities": {"sampling": {}},
                        "clientInfo": {"name": "test", "version": "1"},
                    },
                },
                "notification": {"method": "notifications/initialized"},
            },
        )
    )

    async def host(name: str) -> None:
        async def sample(context: Any, params: Any) -> CreateMessageResult:
            content = TextContent(type="text", text=f"{name} says: {params.messages[0].content.text}")
            return CreateMessageResult(role="assistant", content=content, model="none")

        async with mcp.Client(stdiobus_client(bus, "mcp"), sampling_callback=sample) as client:
            assert text(await client.call_tool("ask", {"question": "hi"})) == f"{name} says: hi"

    for name in ("a", "b"):
        await asyncio.wait_for(host(name), PATIENCE)


async def test_call_whose_worker_dies_ends_with_the_reason_and_the_session_goes_on(make_bus, strict):
    bus = await make_bus(strict)
    async with mcp.Client(stdiobus_client(bus, "mcp_strict")) as client:
        pid = (await client.call_tool("seen", {})).structured_content["pid"]
        call = await hold(client.session)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(mcp.MCPError, match=r"SIGKILL|signal 9") as raised:
            await asyncio.wait_for(call, PATIENCE)
        assert raised.value.error.code == -32083
        assert raised.value.error.data["pool"] == "mcp_strict"
        again = await asyncio.wait_for(client.call_tool("seen", {}), PATIENCE)
        assert again.structured_content["pid"] != pid


@pytest.mark.parametrize("end", ["stop", "destroy"])
async def test_call_whose_bus_ends_is_told_so(make_bus, strict, end):
    # A server that says nothing itself when its input ends.
    bus = await make_bus(strict)
    async with mcp.Client(stdiobus_client(bus, "mcp_strict")) as client:
        call = await hold(client.session)
        if end == "stop":
            await bus.stop(0.5)
        else:
            bus.destroy()
        with pytest.raises(mcp.MCPError, match=r"bus (is stopping|was (stopped|destroyed))"):
            await asyncio.wait_for(call, PATIENCE)


async def test_cancelled_call_is_cancelled_at_the_server(make_bus, strict):
    bus = await make_bus(strict)
    async with mcp.Client(stdiobus_client(bus, "mcp_strict")) as client:
        call = await hold(client.session)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        seen = (await client.call_tool("seen", {})).structured_content
        assert len(seen["cancelled"]) == 1
        assert seen["violations"] == []


async def test_unknown_pool_is_an_error_of_the_bus(make_bus, strict):
    bus = await make_bus(strict)
    with pytest.raises(InvalidArgumentError, match="there is no pool"):
        async with stdiobus_client(bus, "nope"):
            pass
