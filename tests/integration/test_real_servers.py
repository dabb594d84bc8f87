"""MCP servers and ACP agents that were written for other hosts, unmodified, in two instances each.

`.ci/run` installs them. What a server of our own can show as well is in the other files.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stdiobus import PoolConfig, RemoteError, StreamEventType, TimeoutError

pytestmark = pytest.mark.parametrize("backend", ["native", "subprocess"])
PATIENCE = 30


def call(tool: str, **arguments: Any) -> dict:
    return {"name": tool, "arguments": arguments}


def text(result: dict) -> str:
    return result["content"][0]["text"]


async def both_ready(bus: Any, eventually: Any) -> None:
    await eventually(lambda: [worker.state for worker in bus.get_workers()] == ["ready", "ready"])


# ---- MCP servers ---------------------------------------------------------------------------------


@pytest.fixture
def hearing(everything) -> PoolConfig:
    """server-everything in two instances, which may ask its client everything."""
    params = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"roots": {}, "sampling": {}, "elicitation": {}},
        "clientInfo": {"name": "test", "version": "1"},
    }
    handshake = {
        "request": {"method": "initialize", "params": params},
        "notification": {"method": "notifications/initialized"},
    }
    return replace(everything, instances=2, handshake=handshake)


async def test_everything_server_answers_streams_and_is_cancelled(make_bus, everything, eventually):
    bus = await make_bus(replace(everything, instances=2))
    await both_ready(bus, eventually)
    server = bus.pool("everything")
    tools = await server.request("tools/list")
    assert {"echo", "get-sum", "trigger-long-running-operation"} <= {tool["name"] for tool in tools["tools"]}

    async def stream(steps: int) -> list:
        operation = call("trigger-long-running-operation", duration=0.1 * steps, steps=steps)
        return [event async for event in server.stream_request("tools/call", operation)]

    streams = [asyncio.ensure_future(stream(steps)) for steps in (2, 3, 4)]
    sums = [server.request("tools/call", call("get-sum", a=n, b=n)) for n in range(50)]
    answers = [text(result) for result in await asyncio.gather(*sums)]
    assert answers == [f"The sum of {n} and {n} is {2 * n}." for n in range(50)]
    for steps, events in zip((2, 3, 4), await asyncio.gather(*streams)):
        assert [event.type for event in events] == [StreamEventType.CHUNK] * steps + [StreamEventType.RESULT]
        assert [event.data["progress"] for event in events[:-1]] == list(range(1, steps + 1))
        assert "completed" in text(events[-1].data)

    endless = call("trigger-long-running-operation", duration=600, steps=1)
    with pytest.raises(TimeoutError):
        await server.request("tools/call", endless, timeout_ms=200)
    await eventually(lambda: not any(worker.in_flight for worker in server.workers()))


async def test_everything_server_logs_and_asks_for_roots_samples_and_input(make_bus, hearing, eventually):
    bus = await make_bus(hearing, start=False)
    logged = bus.subscribe("everything", methods=["notifications/message"])

    @bus.on_request("roots/list")
    def roots(params, context):
        return {"roots": [{"uri": "file:///project", "name": context.pool}]}

    @bus.on_request("sampling/createMessage")
    async def sample(params, context):
        content = {"type": "text", "text": params["messages"][0]["content"]["text"].upper()}
        return {"role": "assistant", "model": "none", "content": content}

    @bus.on_request("elicitation/create")
    def elicit(params, context):
        return {"action": "accept", "content": {"name": "Ada"}}

    await bus.start()
    server = bus.pool("everything")
    assert "file:///project" in text(await server.request("tools/call", call("get-roots-list")))
    sampled = await server.request("tools/call", call("trigger-sampling-request", prompt="a word"))
    assert "A WORD" in text(sampled)
    elicited = await server.request("tools/call", call("trigger-elicitation-request"))
    assert "Ada" in json.dumps(elicited)
    first = await asyncio.wait_for(logged.__anext__(), PATIENCE)
    assert first["params"]["data"].startswith("Roots updated: 1 root")


async def test_sequential_thinking_server_keeps_each_session_on_its_process(make_bus, node, eventually):
    script = "@modelcontextprotocol/server-sequential-thinking/dist/index.js"
    bus = await make_bus(node(script, id="thinking", protocol="mcp", instances=2))
    await both_ready(bus, eventually)

    async def think(session: Any, number: int) -> int:
        thought = call(
            "sequentialthinking", thought="so", thoughtNumber=number, totalThoughts=5, nextThoughtNeeded=True
        )
        return (await session.request("tools/call", thought))["structuredContent"]["thoughtHistoryLength"]

    sessions = [bus.session(pool="thinking") for _ in range(2)]
    await asyncio.gather(*(think(session, 1) for session in sessions))  # at once: one on each
    for number in range(2, 6):
        assert [await think(session, number) for session in sessions] == [number, number]


async def test_time_server_converts_in_twenty_parallel_requests(make_bus, time_server):
    bus = await make_bus(replace(time_server, instances=2))

    async def convert(hour: int) -> str:
        tool = call("convert_time", source_timezone="UTC", time=f"{hour:02}:00", target_timezone="Asia/Tokyo")
        result = await bus.request("tools/call", tool, pool="time")
        return json.loads(text(result))["target"]["datetime"][11:16]

    converted = await asyncio.gather(*(convert(hour) for hour in range(20)))
    assert converted == [f"{(hour + 9) % 24:02}:00" for hour in range(20)]
    with pytest.raises(RemoteError) as caught:
        await bus.request("no/such/method", pool="time")
    assert caught.value.rpc_code == -32601


@pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="mcp is not installed")
async def test_python_server_of_the_stateless_era_goes_on_where_its_state_is(make_bus, pool, eventually):
    bus = await make_bus(pool("mcp_worker.py", protocol="mcp-stateless", instances=2))
    await both_ready(bus, eventually)
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }

    async def confirm(what: str) -> None:
        params = {**call("confirm", what=what), "_meta": meta}
        asked = await bus.request("tools/call", params, pool="mcp")
        assert asked["resultType"] == "input_required"
        [(key, question)] = asked["inputRequests"].items()
        assert question["params"]["message"] == f"{what}?"
        given = {key: {"action": "accept", "content": {"sure": True}}}
        # Only the process that issued this state can read it.
        more = {"inputResponses": given, "requestState": asked["requestState"]}
        assert text(await bus.request("tools/call", {**params, **more}, pool="mcp")) == f"{what}: True"

    await asyncio.gather(*(confirm(f"question {number}") for number in range(10)))


# ---- ACP agents ----------------------------------------------------------------------------------


async def new_session(bus: Any, pool: str) -> str:
    return (await bus.request("session/new", {"cwd": "/", "mcpServers": []}, pool=pool))["sessionId"]


def prompt(session: str, *texts: str) -> dict:
    return {"sessionId": session, "prompt": [{"type": "text", "text": text} for text in texts]}


@pytest.fixture
def echo_agent() -> PoolConfig:
    """The echo agent of the Python package, as pool `echo`."""
    folder = os.environ.get("STDIOBUS_TEST_ACP_EXAMPLES")
    if not folder or importlib.util.find_spec("acp") is None:
        pytest.skip("STDIOBUS_TEST_ACP_EXAMPLES is not set, or agent-client-protocol is not installed")
    script = Path(folder, "echo_agent.py")
    return PoolConfig(id="echo", command=sys.executable, args=[str(script)], protocol="acp", instances=2)


async def test_python_agent_streams_each_session_its_own_prompt(make_bus, echo_agent, eventually):
    bus = await make_bus(echo_agent)
    await both_ready(bus, eventually)
    sessions = await asyncio.gather(*(new_session(bus, "echo") for _ in range(6)))

    async def talk(session: str) -> None:
        words = [f"{session} {number} " for number in range(5)]
        events = [event async for event in bus.stream_request("session/prompt", prompt(session, *words))]
        assert [event.text for event in events[:-1]] == words
        assert events[-1].data["stopReason"] == "end_turn"
        answer = await bus.request("session/prompt", prompt(session, *words))
        assert answer["text"] == "".join(words)

    await asyncio.gather(*map(talk, sessions))
    await eventually(lambda: all(worker.bytes_out > 1000 for worker in bus.get_workers()))  # both worked


@pytest.mark.slow
async def test_typescript_agent_plays_its_turn_and_asks_each_session_for_permission(
    make_bus, node, eventually
):
    agent = node("@agentclientprotocol/sdk/dist/examples/agent.js", id="agent", protocol="acp", instances=2)
    bus = await make_bus(agent)
    await both_ready(bus, eventually)
    updates = bus.subscribe("agent", methods=["session/update"])
    allowed, refused, left = await asyncio.gather(*(new_session(bus, "agent") for _ in range(3)))
    choices = {allowed: "allow", refused: "reject"}
    asked = []

    @bus.on_request("session/request_permission")
    async def permission(params, context):
        asked.append(context.session_id)
        assert params["toolCall"]["toolCallId"] == "call_2"
        return {"outcome": {"outcome": "selected", "optionId": choices[context.session_id]}}

    async def turn(session: str) -> tuple[str, dict]:
        events = [event async for event in bus.stream_request("session/prompt", prompt(session, "go"))]
        return "".join(event.text for event in events[:-1]), events[-1].data

    async def leave() -> dict:
        stream = bus.stream_request("session/prompt", prompt(left, "go"))
        assert (await stream.__anext__()).text.startswith("I'll help you")
        await bus.notify("session/cancel", {"sessionId": left}, pool="agent")
        return (await stream.__anext__()).result

    (yes, end), (no, other_end), cancelled = await asyncio.gather(turn(allowed), turn(refused), leave())
    assert "successfully updated the configuration" in yes
    assert "I'll skip the configuration update" in no
    assert (end, other_end) == ({"stopReason": "end_turn"},) * 2
    assert cancelled["stopReason"] == "cancelled"
    assert sorted(asked) == sorted(choices)
    bus.unsubscribe(updates)
    kinds: dict[str, list] = {}
    async for update in updates:
        params = update["params"]
        kinds.setdefault(params["sessionId"], []).append(params["update"]["sessionUpdate"])
    turns = ["agent_message_chunk", "tool_call", "tool_call_update", "agent_message_chunk", "tool_call"]
    assert kinds[allowed] == [*turns, "tool_call_update", "agent_message_chunk"]
    assert kinds[refused] == [*turns, "agent_message_chunk"]
    assert kinds[left] == turns[:1]
