"""Workers that live in this process, over a scripted backend."""

from __future__ import annotations

import asyncio

import pytest

from stdiobus import InvalidArgumentError, RemoteError, TransportError


def said(backend):
    """What workers of this process have said."""
    return [each["params"] for each in backend.messages if each["method"] == "stdio_bus/from_worker"]


def tell(backend, message, worker=9):
    params = {"worker": worker, "message": message}
    backend.deliver({"jsonrpc": "2.0", "method": "stdio_bus/to_worker", "params": params}, worker=worker)


@pytest.fixture
def attach(bus, backend, turn):
    """`await attach(handler, pool)`: a worker with the id 9."""

    async def make(handler, pool="own", early=()):
        adding = asyncio.ensure_future(bus.add_worker(pool, handler))
        await turn()
        asked = backend.messages[-1]
        assert (asked["method"], asked["params"]) == ("stdio_bus/attach", {"pool": pool})
        for message in early:
            tell(backend, message)
        backend.deliver({"id": asked["id"], "result": {"worker": 9}})
        return await adding

    return make


async def test_function_serves_requests_and_notifications(attach, backend, turn):
    seen = []

    def handler(method, params, context):
        seen.append((method, params, context.id, context.session_id))
        return {"done": params}

    worker = await attach(handler)
    assert (worker.pool, worker.worker_id) == ("own", 9)
    tell(backend, {"jsonrpc": "2.0", "id": 3, "method": "m", "params": [1], "sessionId": "s"})
    tell(backend, {"jsonrpc": "2.0", "method": "n", "params": {"sessionId": "inner"}})
    await turn()
    assert seen == [("m", [1], 3, "s"), ("n", {"sessionId": "inner"}, None, "inner")]
    answer = {"jsonrpc": "2.0", "id": 3, "result": {"done": [1]}}
    assert said(backend) == [{"worker": 9, "message": answer}]


async def test_line_that_comes_before_the_number_is_not_lost(attach, backend, turn):
    await attach(lambda *_: "early", early=[{"id": 1, "method": "initialize"}])
    await turn()
    assert said(backend)[0]["message"]["result"] == "early"


@pytest.mark.parametrize(
    ("pool", "request_fields", "expected"),
    [
        ("own", {"sessionId": "s"}, {"method": "session/update", "sessionId": "s", "requestId": 3}),
        ("mcp", {"params": {"_meta": {"progressToken": "t"}}}, {"method": "notifications/progress"}),
    ],
)
async def test_chunks_are_those_of_the_profile(attach, backend, turn, pool, request_fields, expected):
    async def handler(method, params, context):
        context.chunk("a")
        return None

    await attach(handler, pool)
    tell(backend, {"jsonrpc": "2.0", "id": 3, "method": "m", **request_fields})
    await turn()
    chunk = said(backend)[0]["message"]
    flat = {**chunk, **chunk["params"]}
    assert {name: flat[name] for name in expected} == expected
    if pool == "mcp":
        assert chunk["params"] == {"progressToken": "t", "progress": 1, "message": "a"}


async def test_chunk_nobody_asked_for_is_not_sent_to_an_mcp_client(attach, backend, turn):
    await attach(lambda method, params, context: context.chunk("a"), "mcp")
    tell(backend, {"jsonrpc": "2.0", "id": 3, "method": "m"})
    await turn()
    assert [each["message"]["result"] for each in said(backend)] == [None]


async def test_worker_asks_the_client(attach, backend, turn):
    async def handler(method, params, context):
        try:
            return await context.request("roots/list", {"a": 1})
        except RemoteError as error:
            return error.rpc_code

    await attach(handler)
    for number, outcome in ((1, {"result": [2]}), (2, {"error": {"code": -5, "message": "no"}})):
        tell(backend, {"jsonrpc": "2.0", "id": number, "method": "m", "sessionId": "s"})
        await turn()
        asked = said(backend)[-1]["message"]
        assert (asked["method"], asked["params"], asked["sessionId"]) == ("roots/list", {"a": 1}, "s")
        tell(backend, {"jsonrpc": "2.0", "id": asked["id"], **outcome})
        tell(backend, {"jsonrpc": "2.0", "id": asked["id"], **outcome})  # twice: dropped
        await turn()
    assert [each["message"]["result"] for each in said(backend) if "result" in each["message"]] == [[2], -5]


async def test_cancelled_request_ends_its_task_and_is_not_answered(attach, backend, turn):
    ended = []

    async def handler(method, params, context):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(context.id)

    await attach(handler, "mcp")
    tell(backend, {"jsonrpc": "2.0", "id": 3, "method": "m"})
    await turn()
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}}
    tell(backend, cancel)
    tell(backend, {**cancel, "params": {"requestId": [1]}})
    await turn()
    assert (ended, said(backend)) == ([3], [])


async def test_closing_detaches_once_and_the_end_ends_what_it_waits_for(attach, backend, turn):
    errors = []

    async def handler(method, params, context):
        try:
            await context.request("m")
        except TransportError as error:
            errors.append(str(error))
            raise

    worker = await attach(handler)
    tell(backend, {"jsonrpc": "2.0", "id": 3, "method": "m"})
    await turn()
    worker.close()
    worker.close()
    await turn()
    detached = [each["params"] for each in backend.messages if each["method"] == "stdio_bus/detach"]
    assert detached == [{"worker": 9}]
    backend.event("own", 9, "stopped")
    await turn()
    tell(backend, {"jsonrpc": "2.0", "id": 4, "method": "m"})
    await turn()
    assert len(said(backend)) == 1


async def test_attaching_that_is_given_up_is_undone(bus, backend, turn):
    adding = asyncio.ensure_future(bus.add_worker("own", print))
    await turn()
    adding.cancel()
    await turn()
    backend.deliver({"id": backend.messages[-1]["id"], "result": {"worker": 9}})
    await turn()
    assert backend.messages[-1]["method"] == "stdio_bus/detach"
    with pytest.raises(asyncio.CancelledError):
        await adding


async def test_bad_arguments(bus):
    with pytest.raises(InvalidArgumentError, match="there is no pool"):
        await bus.add_worker("nope", print)
    with pytest.raises(InvalidArgumentError, match="handler: must be a function"):
        await bus.add_worker("own", "print")


async def test_raw_lines_are_the_users_alone(attach, bus, backend, turn):
    lines = []
    await attach(lambda *_: None)
    bus.on_message(lines.append)
    tell(backend, {"jsonrpc": "2.0", "id": 3, "method": "m"})
    backend.deliver({"jsonrpc": "2.0", "method": "tick"})
    await turn()
    assert lines == ['{"jsonrpc":"2.0","method":"tick"}']
