"""Agents behind pools of profile `acp`: sessions, prompts as streams, questions, cancellation.

The agent is `strict_worker.py`, which names its sessions by number, alike in every process, and ends at a
session that is not its own. Real agents are in test_real_servers.py, the client of the
`agent-client-protocol` package in test_adapter_acp.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stdiobus import AsyncStdioBus, RemoteError

pytestmark = pytest.mark.parametrize("backend", ["native", "subprocess"])
PATIENCE = 30

TEXT = {"type": "text", "text": "text"}
IMAGE = {"type": "image", "data": "", "mimeType": "image/png"}
# Every variant of `update.sessionUpdate` in the schema of version 1.
UPDATES = [
    {"sessionUpdate": "user_message_chunk", "content": TEXT},
    {"sessionUpdate": "agent_thought_chunk", "content": TEXT},
    {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "one "}},
    {"sessionUpdate": "tool_call", "toolCallId": "1", "title": "reading", "status": "pending"},
    {"sessionUpdate": "tool_call_update", "toolCallId": "1", "status": "completed"},
    {"sessionUpdate": "plan", "entries": []},
    {"sessionUpdate": "plan_update", "plan": {}},
    {"sessionUpdate": "plan_removed", "id": "1"},
    {"sessionUpdate": "available_commands_update", "availableCommands": []},
    {"sessionUpdate": "current_mode_update", "currentModeId": "ask"},
    {"sessionUpdate": "config_option_update", "configOptions": []},
    {"sessionUpdate": "session_info_update", "title": "a talk"},
    {"sessionUpdate": "usage_update", "used": 1, "size": 2},
    {"sessionUpdate": "of_the_future", "content": TEXT},
    {"sessionUpdate": "agent_message_chunk", "content": IMAGE},
    {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "two"}},
]


@pytest.fixture
async def bus(make_bus, pool, eventually) -> AsyncStdioBus:
    """Two agents, both ready."""
    bus = await make_bus(pool("strict_worker.py", "acp", id="agent", protocol="acp", instances=2))
    await eventually(lambda: [worker.state for worker in bus.get_workers()] == ["ready", "ready"])
    return bus


async def opened(bus: AsyncStdioBus) -> str:
    return (await bus.request("session/new", {"cwd": "/", "mcpServers": []}, pool="agent"))["sessionId"]


def prompt(bus: AsyncStdioBus, session: str, what: str, **params: Any) -> Any:
    """The stream of a prompt."""
    return bus.stream_request(
        "session/prompt", {"sessionId": session, "prompt": what, **params}, pool="agent"
    )


async def parts(stream: Any) -> list:
    return [event.data async for event in stream]


async def pid(bus: AsyncStdioBus, session: str) -> int:
    return (await parts(prompt(bus, session, "seen")))[-1]["pid"]


async def test_message_chunks_are_the_stream_and_every_update_reaches_subscriptions(bus):
    session, other = await opened(bus), await opened(bus)
    updates = bus.subscribe("agent", methods=["session/update"])
    seen = await parts(prompt(bus, session, "updates", updates=UPDATES))
    image = {"sessionId": session, "update": UPDATES[-2]}
    assert seen == ["one ", image, "two", {"stopReason": "end_turn"}]
    answer = await bus.request(
        "session/prompt", {"sessionId": other, "prompt": "updates", "updates": UPDATES}, pool="agent"
    )
    assert answer == {"stopReason": "end_turn", "text": "one two"}
    bus.unsubscribe(updates)
    expected = [(each, update) for each in (session, other) for update in UPDATES]
    assert [(note["params"]["sessionId"], note["params"]["update"]) async for note in updates] == expected


async def test_sessions_of_one_agent_stream_in_turns_without_mixing(make_bus, pool):
    bus = await make_bus(pool("strict_worker.py", "acp", id="agent", protocol="acp"))
    sessions = [await opened(bus) for _ in range(5)]
    streams = [prompt(bus, session, "stream", n=n, together=5) for n, session in enumerate(sessions, 1)]
    for n, seen in enumerate(await asyncio.gather(*map(parts, streams)), 1):
        assert seen == [*(str(part) for part in range(n)), {"stopReason": "end_turn", "n": n}]


async def test_sessions_that_two_agents_name_alike_are_two(bus):
    sessions = [await opened(bus) for _ in range(6)]
    assert len(set(sessions)) == 6
    processes = [await pid(bus, session) for session in sessions]
    assert len(set(processes)) == 2, "both agents have some"
    for _ in range(3):
        assert [await pid(bus, session) for session in sessions] == processes
    streams = [prompt(bus, session, "stream", n=n) for n, session in enumerate(sessions, 1)]
    for n, seen in enumerate(await asyncio.gather(*map(parts, streams)), 1):
        assert seen == [*(str(part) for part in range(n)), {"stopReason": "end_turn", "n": n}]


async def test_fork_stays_with_its_session_and_is_one_of_its_own(bus):
    await opened(bus)
    session = await opened(bus)
    process = await pid(bus, session)
    for _ in range(3):
        fork = await bus.request("session/fork", {"sessionId": session, "cwd": "/"}, pool="agent")
        assert fork["sessionId"] != session
        assert await pid(bus, fork["sessionId"]) == process


async def test_questions_of_several_sessions_are_answered_each_by_its_own_name(bus):
    arrived = asyncio.Event()
    asked: list[str] = []

    @bus.on_request("session/request_permission")
    async def permission(params, context):
        asked.append(params["sessionId"])
        assert context.session_id == params["sessionId"]
        if len(asked) == 6:
            arrived.set()
        await asyncio.wait_for(arrived.wait(), PATIENCE)  # all are open at once
        return {"outcome": {"outcome": "selected", "optionId": params["sessionId"]}}

    @bus.on_request("fs/read_text_file")
    def read(params, context):
        raise RemoteError("not outside the project", rpc_code=-32001)

    sessions = [await opened(bus) for _ in range(6)]
    asks = (parts(prompt(bus, session, "ask", method="session/request_permission")) for session in sessions)
    for session, [answer] in zip(sessions, await asyncio.gather(*asks)):
        assert answer["result"]["outcome"]["optionId"] == session
    assert sorted(asked) == sorted(sessions)
    [answer] = await parts(prompt(bus, sessions[0], "ask", method="fs/read_text_file"))
    assert answer["error"] == {"code": -32001, "message": "not outside the project"}
    [answer] = await parts(prompt(bus, sessions[0], "ask", method="terminal/create"))
    assert answer["error"]["code"] == -32601


async def test_cancelled_prompt_answers_and_others_go_on(bus):
    sessions = [await opened(bus) for _ in range(4)]
    streams = [prompt(bus, session, "hold") for session in sessions]
    for stream in streams:
        assert (await stream.__anext__()).text == "0"
    await bus.notify("session/cancel", {"sessionId": sessions[1]}, pool="agent")
    assert await parts(streams[1]) == [{"stopReason": "cancelled"}]
    await streams[2].aclose()  # leaving tells the agent so
    seen = [(await parts(prompt(bus, session, "seen")))[-1] for session in sessions]
    assert sum({each["pid"]: each["cancelled"] for each in seen}.values()) == 2
    for number in (0, 3):
        await bus.notify("session/cancel", {"sessionId": sessions[number]}, pool="agent")
        assert await parts(streams[number]) == [{"stopReason": "cancelled"}]


async def test_request_is_cancelled_by_the_id_that_its_client_gave_it(bus):
    async def client() -> None:
        async with await bus.open_client("agent") as own:

            async def send(**message: Any) -> None:
                await own.send({"jsonrpc": "2.0", **message})

            await send(id=1, method="session/new", params={"cwd": "/"})
            session = (await asyncio.wait_for(own.receive(), PATIENCE))["result"]
            await send(id="mine", method="session/prompt", params={**session, "prompt": "hold"})
            await asyncio.wait_for(own.receive(), PATIENCE)
            await send(method="$/cancel_request", params={"requestId": "of nobody"})
            await send(method="$/cancel_request", params={"requestId": "mine"})
            answer = await asyncio.wait_for(own.receive(), PATIENCE)
            assert (answer["id"], answer["error"]["code"]) == ("mine", -32800)

    await asyncio.gather(*(client() for _ in range(4)))


async def test_stream_that_names_no_session_has_what_its_agent_says_meanwhile(make_bus, pool):
    # As a bare prompt to a pool does, where the agent makes up a session of its own for it.
    bus = await make_bus(pool("stream_echo_worker.py", id="agent", protocol="acp"))
    events = [event async for event in bus.stream_request("agent", {"prompt": "hi there"})]
    assert [event.text for event in events[:-1]] == ["hi ", "there"]
    assert events[-1].data == {"stopReason": "end_turn", "words": 2}
