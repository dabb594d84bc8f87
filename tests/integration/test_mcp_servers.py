"""Unmodified MCP servers behind a pool of profile `mcp`: real ones, and a strict one of our own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from stdiobus import RemoteError, StreamEventType, TimeoutError


def call(tool: str, **arguments: Any) -> dict:
    return {"name": tool, "arguments": arguments}


def text(result: dict) -> str:
    return result["content"][0]["text"]


async def seen(bus: Any) -> dict:
    """What the strict server noticed so far."""
    return (await bus.request("tools/call", call("seen"), pool="mcp_strict"))["structuredContent"]


# ---- the real ones -------------------------------------------------------------------------


async def test_typescript_server_lists_its_tools(make_bus, everything):
    bus = await make_bus(everything)
    tools = await bus.request("tools/list", pool="everything")
    assert {"echo", "get-sum", "trigger-long-running-operation"} <= {tool["name"] for tool in tools["tools"]}


async def test_typescript_server_adds_two_and_three(make_bus, everything):
    bus = await make_bus(everything)
    result = await bus.request("tools/call", call("get-sum", a=2, b=3), pool="everything")
    assert text(result) == "The sum of 2 and 3 is 5."


async def test_typescript_server_streams_progress(make_bus, everything):
    bus = await make_bus(everything)
    operation = call("trigger-long-running-operation", duration=0.4, steps=4)
    events = [event async for event in bus.stream_request("tools/call", operation, pool="everything")]
    assert [event.type for event in events] == [StreamEventType.CHUNK] * 4 + [StreamEventType.RESULT]
    assert [event.data["progress"] for event in events[:-1]] == [1, 2, 3, 4]
    assert "completed" in text(events[-1].data)


async def test_typescript_server_keeps_parallel_calls_and_streams_apart(make_bus, everything):
    bus = await make_bus(everything)

    async def stream(steps: int) -> list:
        operation = call("trigger-long-running-operation", duration=0.1 * steps, steps=steps)
        stream = bus.stream_request("tools/call", operation, pool="everything")
        return [event.data["total"] async for event in stream if event.type == "chunk"]

    streams = [asyncio.ensure_future(stream(steps)) for steps in (2, 3, 4)]
    sums = [bus.request("tools/call", call("get-sum", a=n, b=n), pool="everything") for n in range(50)]
    answers = [text(result) for result in await asyncio.gather(*sums)]
    assert answers == [f"The sum of {n} and {n} is {2 * n}." for n in range(50)]
    assert await asyncio.gather(*streams) == [[2] * 2, [3] * 3, [4] * 4]


@pytest.mark.parametrize("backend", ["native", "subprocess"])  # it takes seconds to start
async def test_python_server_converts_a_time_in_twenty_parallel_requests(make_bus, time_server):
    bus = await make_bus(replace(time_server, instances=2))

    async def convert(hour: int) -> str:
        tool = call("convert_time", source_timezone="UTC", time=f"{hour:02}:00", target_timezone="Asia/Tokyo")
        result = await bus.request("tools/call", tool, pool="time")
        return json.loads(text(result))["target"]["datetime"][11:16]

    converted = await asyncio.gather(*(convert(hour) for hour in range(20)))
    assert converted == [f"{(hour + 9) % 24:02}:00" for hour in range(20)]


async def test_worker_error_is_a_remote_error_with_its_code(make_bus, pool):
    bus = await make_bus(pool("mcp_strict_worker.py", protocol="mcp"))
    with pytest.raises(RemoteError) as caught:
        await bus.request("no/such/method", pool="mcp_strict")
    assert caught.value.rpc_code == -32601


# ---- strictness ----------------------------------------------------------------------------


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


async def test_first_handshake_result_is_given_to_a_client_that_initializes_itself(make_bus, pool):
    bus = await make_bus(pool("mcp_strict_worker.py", protocol="mcp"))
    params = {"protocolVersion": "2025-06-18", "capabilities": {}}
    own = await bus.request("initialize", params, pool="mcp_strict")
    assert own["serverInfo"]["name"] == "strict"
    await bus.notify("notifications/initialized", pool="mcp_strict")
    assert (await seen(bus))["violations"] == []
