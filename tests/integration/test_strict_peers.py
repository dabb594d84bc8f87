"""What workers see, whatever their clients do: bytes that the strictest parser accepts.

`strict_worker.py` ends at the first line that it does not: each test sees that it is still the process
that was started.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from stdiobus import AuditEvent, Identity, RemoteError, RequestOptions, TimeoutError

PROFILES = ("jsonrpc", "mcp", "mcp-stateless", "acp")
pytestmark = [
    pytest.mark.parametrize("backend", ["native", "subprocess"]),
    pytest.mark.parametrize("profile", PROFILES),
    pytest.mark.slow,
]
PATIENCE = 30

# Ids of clients: strings, floats, null, beyond what parsers keep, alike but for their type.
IDS: list[Any] = [
    *(0, 7, -7, "7", "0", "", "null", None, 1.5, -0.5, 1e300, 7.0, 2**53 + 1, 2**63, 10**40),
    *("\u2028", "\n", '"', "\\u0000", "id \U0001f600", "x" * 1000, "stdio_bus", "true"),
]
ROUTING = {"agentId": "agent", "_ext": {"audit": [1]}, "pool": "strict"}


@pytest.fixture
async def bus(make_bus, pool, profile):
    """A bus with one strict worker, which is the same and content in the end."""
    bus = await make_bus(pool("strict_worker.py", profile, protocol=profile))
    pid = bus.get_workers()[0].pid
    yield bus
    await caller(bus, profile)("seen")
    assert [worker.pid for worker in bus.get_workers()] == [pid]
    assert bus.get_stats().worker_restarts == 0


def caller(bus: Any, profile: str) -> Any:
    """`await call(method, **params)`: a request, for acp a prompt in a session of its own."""

    async def call(method: str, /, **params: Any) -> Any:
        if profile != "acp":
            return await bus.request(method, params, pool="strict")
        session = await bus.request("session/new", {"cwd": "/", "mcpServers": []}, pool="strict")
        return await bus.request("session/prompt", {**session, "prompt": method, **params}, pool="strict")

    return call


async def receive(client: Any, number: int = 1) -> list[dict]:
    return [await asyncio.wait_for(client.receive(), PATIENCE) for _ in range(number)]


async def opened(client: Any, profile: str) -> dict:
    """The params that a prompt needs, `{}` where there are none: a session that the client opens."""
    if profile != "acp":
        return {}
    await client.send({"jsonrpc": "2.0", "id": "session", "method": "session/new", "params": {"cwd": "/"}})
    [answer] = await receive(client)
    return answer["result"]


def message(profile: str, method: str, number: Any, /, **params: Any) -> dict:
    if profile == "acp":
        method, params = "session/prompt", {**params, "prompt": method}
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


async def test_odd_ids_of_three_clients_come_back_as_they_were(bus, profile):
    async def client() -> None:
        async with await bus.open_client("strict") as each:
            session = await opened(each, profile)
            for n, number in enumerate(IDS):
                request = message(profile, "echo", number, n=n, **session)
                # The fields of the bus stand first, in the middle and last.
                sent = [*request.items(), *ROUTING.items()]
                sent += [] if profile == "acp" else [("sessionId", f"conversation {n % 3}")]
                await each.send(dict(sent[n % len(sent) :] + sent[: n % len(sent)]))
            answers = {json.dumps(answer["id"]): answer for answer in await receive(each, len(IDS))}
            for n, number in enumerate(IDS):
                assert answers[json.dumps(number)]["result"]["n"] == n

    await asyncio.gather(*(client() for _ in range(3)))


async def test_lines_of_every_spelling_reach_it_clean_and_others_not_at_all(bus, profile):
    answers: asyncio.Queue[dict] = asyncio.Queue()
    bus.on_message(lambda line: answers.put_nowait(json.loads(line)))
    method = "session/n\\u0065w" if profile == "acp" else "\\u0065cho"
    assert bus.send(f' {{"method":"{method}"\t, "_ext":[{{}}] ,"id" :"a","jsonrpc":"2.0","pool":"strict" }} ')
    assert bus.send(f'{{"pool":"strict","agentId":"x","jsonrpc":"2.0","method":"{method}","id":"b"}}\r\n')
    refused = (
        *('[{"jsonrpc":"2.0","id":1,"method":"echo"}]', "[]", "42", '"x"', "null", "{", '{"a":1}{"a":2}'),
        '{"jsonrpc":"2.0","id":"c","method":"echo","extra":1}',
        '{"jsonrpc":"2.0","id":"c","id":"d","method":"echo"}',
        '{"jsonrpc":"1.0","id":"c","method":"echo"}',
        '{"id":"c","method":"echo"}',
        '{"jsonrpc":"2.0","id":"c","method":"echo","params":7}',
        '{"jsonrpc":"2.0","id":{},"method":"echo"}',
        '{"jsonrpc":"2.0","id":true,"method":"echo"}',
        '{"jsonrpc":"2.0","id":"c","method":null}',
        '{"jsonrpc":"2.0","method":"echo\u2028","extra":1}',
    )
    for line in refused:
        assert bus.send(line)
    assert bus.send('{"jsonrpc":"2.0","id":0,"result":{}}')  # to what nobody has asked
    got = [await asyncio.wait_for(answers.get(), PATIENCE) for _ in range(len(refused) + 2)]
    assert [answer["error"]["code"] for answer in got if answer.get("id") not in ("a", "b")] == [
        *([-32600] * 5 + [-32700] * 2 + [-32600] * 9)
    ]
    assert {answer["id"] for answer in got} >= {"a", "b"}


async def test_sessions_options_streams_and_deadlines_of_the_bus_itself(bus, profile, eventually):
    call = caller(bus, profile)
    options = RequestOptions(agent_id="a", identity=Identity(subject_id="s"), audit=AuditEvent("e"))
    method, session = "echo", {}
    if profile == "acp":
        session = await bus.request("session/new", {"cwd": "/"}, pool="strict", options=options)
        method = "session/prompt"
    params = {**session, "prompt": "echo", "text": 'a\n"b"\r\n\u2028 \U0001f600\0'}
    assert (await bus.request(method, params, pool="strict", options=options))["text"] == params["text"]
    async with bus.session(pool="strict") as conversation:
        assert (await conversation.request(method, params))["text"] == params["text"]

    async def stream(n: int) -> None:
        target, own = "stream", {}
        if profile == "acp":
            target, own = "session/prompt", await bus.request("session/new", {"cwd": "/"}, pool="strict")
        params = {**own, "prompt": "stream", "n": n}
        events = [event async for event in bus.stream_request(target, params, pool="strict")]
        assert [event.text for event in events[:-1]] == (
            [] if profile == "jsonrpc" else [str(part) for part in range(n)]
        )
        assert events[-1].data["n"] == n

    await asyncio.gather(*(stream(n) for n in range(5)))
    method, own = "hold", {}
    if profile == "acp":
        method, own = "session/prompt", await bus.request("session/new", {"cwd": "/"}, pool="strict")
    with pytest.raises(TimeoutError):
        await bus.request(method, {**own, "prompt": "hold"}, pool="strict", timeout_ms=50)
    seen = await call("seen")
    assert seen["cancelled"] == (profile != "jsonrpc")


async def test_cancellations_and_tokens_of_clients_are_in_its_own_ids(bus, profile):
    if profile == "jsonrpc":
        pytest.skip("it cannot be cancelled")

    async def client(number: Any) -> None:
        async with await bus.open_client("strict") as each:
            session = await opened(each, profile)
            meta = {"_meta": {"progressToken": "mine"}} if profile != "acp" else {}
            await each.send(message(profile, "hold", number, **session, **meta))
            [part] = await receive(each)  # the worker has it
            if profile == "acp":
                assert part["params"]["sessionId"] == session["sessionId"]
                cancel = {"method": "session/cancel", "params": session}
            else:
                assert part["params"]["progressToken"] == "mine"
                cancel = {"method": "notifications/cancelled", "params": {"requestId": number}}
            await each.send({"jsonrpc": "2.0", **cancel})
            if profile != "acp":  # late, and nobody's; an agent would be told again
                await each.send({"jsonrpc": "2.0", **cancel})
            [end] = await receive(each)
            assert end["id"] == number

    for number in (1, "1", 1.5, None):
        await asyncio.gather(*(client(number) for _ in range(3)))


async def test_questions_are_answered_under_its_own_id(bus, profile):
    if profile == "mcp-stateless":
        pytest.skip("its servers ask nothing")
    bus.on_request("answered", lambda params, context: {"got": params["question"]})

    @bus.on_request("refused")
    async def refuse(params, context):
        raise RemoteError("no", rpc_code=-32001)

    call = caller(bus, profile)
    assert (await call("ask", method="answered"))["result"] == {"got": "?"}
    assert (await call("ask", method="refused"))["error"]["code"] == -32001
    assert (await call("ask", method="unknown"))["error"]["code"] == -32601
    async with await bus.open_client("strict") as client:
        session = await opened(client, profile)
        await client.send(message(profile, "ask", "mine", method="x", **session))
        [question] = await receive(client)
        answer = {"jsonrpc": "2.0", "id": question["id"], "result": {}, "sessionId": "s", "_ext": {}}
        await client.send(answer)
        await client.send(answer)  # late
        [end] = await receive(client)
        assert (end["id"], end["result"]["result"]) == ("mine", {})
