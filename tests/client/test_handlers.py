"""Handlers of workers' requests, over a scripted backend."""

from __future__ import annotations

import asyncio

import pytest

from stdiobus import InvalidArgumentError, RemoteError, RequestContext


def ask(backend, method="roots/list", number=5, **fields):
    backend.deliver({"jsonrpc": "2.0", "id": number, "method": method, **fields}, worker=2)


def answers(backend):
    return [message for message in backend.messages if "method" not in message]


async def test_sync_handler_answers_with_its_context(bus, backend, turn):
    seen = []

    @bus.on_request("roots/list")
    def roots(params, context):
        seen.append((params, context))
        return {"roots": []}

    ask(backend, params={"sessionId": "s"})
    await turn()
    assert answers(backend) == [{"jsonrpc": "2.0", "id": 5, "result": {"roots": []}}]
    assert seen == [({"sessionId": "s"}, RequestContext("roots/list", 5, "plain", 2, "s"))]


async def test_async_handlers_run_side_by_side(bus, backend, turn):
    gates = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def handler(params, context):
        await gates[params["name"]].wait()
        return params["name"]

    assert bus.on_request("m", handler) is handler
    ask(backend, "m", 1, params={"name": "a"}, sessionId="top")
    ask(backend, "m", 2, params={"name": "b"})
    await turn()
    assert answers(backend) == []
    gates["b"].set()
    await turn()
    gates["a"].set()
    await turn()
    assert [(answer["id"], answer["result"]) for answer in answers(backend)] == [(2, "b"), (1, "a")]


async def test_exception_is_an_error_answer_and_is_logged(bus, backend, turn, caplog):
    def denied(params, context):
        raise RemoteError("not you", {}, rpc_code=403)

    bus.on_request("broken", lambda params, context: 1 / 0)
    bus.on_request("denied", denied)
    bus.on_request("odd", lambda params, context: object())
    for number, method in enumerate(("broken", "denied", "odd"), 1):
        ask(backend, method, number)
    await turn()
    errors = {answer["id"]: answer["error"] for answer in answers(backend)}
    assert {number: error["code"] for number, error in errors.items()} == {1: -32603, 2: 403, 3: -32602}
    assert errors[1]["message"] == "division by zero"
    assert [record.message for record in caplog.records] == [
        "broken: the handler raised",
        "odd: the handler raised",
    ]


async def test_without_a_handler_the_answer_is_method_not_found(bus, backend, turn):
    bus.on_request("other", lambda params, context: None)
    ask(backend)
    await turn()
    assert answers(backend)[0]["error"]["code"] == -32601


async def test_later_handler_replaces_the_earlier(bus, backend, turn):
    bus.on_request("m", lambda params, context: 1)
    bus.on_request("m", lambda params, context: 2)
    ask(backend, "m")
    await turn()
    assert answers(backend)[0]["result"] == 2


async def test_handlers_that_run_are_cancelled_with_the_bus(bus, backend, turn):
    cancelled = []

    async def handler(params, context):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(params)
            raise

    bus.on_request("m", handler)
    ask(backend, "m", params=[1])
    await turn()
    await bus.stop()
    await turn()
    assert cancelled == [[1]]
    assert answers(backend) == []


@pytest.mark.parametrize(("method", "handler"), [(7, print), ("m", "print")])
def test_bad_arguments(bus, method, handler):
    with pytest.raises(InvalidArgumentError, match="must be a"):
        bus.on_request(method, handler)
