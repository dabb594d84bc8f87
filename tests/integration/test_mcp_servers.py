"""A strict MCP server behind a pool of profile `mcp`; real ones are in test_real_servers.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stdiobus import TimeoutError


def call(tool: str, **arguments: Any) -> dict:
    return {"name": tool, "arguments": arguments}


def text(result: dict) -> str:
    return result["content"][0]["text"]


async def seen(bus: Any) -> dict:
    """What the strict server noticed so far."""
    return (await bus.request("tools/call", call("seen"), pool="mcp_strict"))["structuredContent"]


async def test_strict_server_sees_nothing_but_clean_mcp(make_bus, pool):
    bus = await make_bus(pool("mcp_strict_worker.py", "--on-violation", "exit", protocol="mcp"))
    assert text(await bus.request("tools/call", call("add", a=2, b=3), pool="mcp_strict")) == "5"
    echo = call("echo", text="hi")
    assert text(await bus.request("tools/call", echo, pool="mcp_strict", session_id="s-1")) == "hi"
    await bus.notify("notifications/cancelled", {"requestId": 99}, pool="mcp_strict")
    assert (await seen(bus))["violations"] == []
    assert bus.get_stats().worker_restarts == 0


async def test_progress_tokens_of_parallel_streams_do_not_mix(make_bus, pool):
    bus = await make_bus(pool("mcp_strict_worker.py", protocol="mcp"))

    async def count(n: int) -> list:
        stream = bus.stream_request("tools/call", call("count", n=n), pool="mcp_strict")
        return [event async for event in stream]

    for n, events in enumerate(await asyncio.gather(*(count(n) for n in range(20)))):
        assert [event.data for event in events[:-1]] == [f"step {step}" for step in range(1, n + 1)]
        assert text(events[-1].data) == "counted"


async def test_timeout_cancels_the_request_on_the_server(make_bus, pool):
    bus = await make_bus(pool("mcp_strict_worker.py", protocol="mcp"))
    with pytest.raises(TimeoutError):
        await bus.request("tools/call", call("hold"), pool="mcp_strict", timeout_ms=50)
    report = await seen(bus)
    assert len(report["cancelled"]) == 1
    assert report["violations"] == []


@pytest.mark.asyncio_only("a blocking call has no task that could be cancelled")
async def test_cancelled_task_cancels_the_request_on_the_server(make_bus, pool):
    bus = await make_bus(pool("mcp_strict_worker.py", protocol="mcp"))
    held = asyncio.ensure_future(bus.request("tools/call", call("hold"), pool="mcp_strict"))
    await asyncio.sleep(0)  # it has sent its request
    await bus.request("ping", pool="mcp_strict")  # one worker, in order: it has read it
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held
    report = await seen(bus)
    assert len(report["cancelled"]) == 1
    assert report["violations"] == []


async def test_question_of_the_server_that_nobody_answers_gets_method_not_found(make_bus, pool):
    bus = await make_bus(pool("mcp_strict_worker.py", protocol="mcp"))
    answer = await bus.request("tools/call", call("ask"), pool="mcp_strict")
    assert answer["error"]["code"] == -32601
