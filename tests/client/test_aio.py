"""The asyncio client over a scripted backend: arguments, calls, numbers."""

from __future__ import annotations

import asyncio
import math

import pytest

from stdiobus import (
    AsyncStdioBus,
    BusConfig,
    BusState,
    InvalidArgumentError,
    PoolConfig,
    RemoteError,
    RequestOptions,
    TimeoutError,
)

# ---- arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "config"),
        ({"config": {"pools": []}}, "pools"),
        ({"config": {"pools": [{"id": "a", "command": "c"}]}, "config_path": "x"}, "config"),
        ({"config": {"pools": [{"id": "a", "command": "c"}]}, "backend": "docker2"}, "backend"),
        ({"config": {"pools": [{"id": "a", "command": "c"}]}, "timeout_ms": 0}, "timeout_ms"),
        ({"config": {"pools": [{"id": "a", "command": "c"}]}, "timeout_ms": True}, "timeout_ms"),
    ],
)
def test_wrong_argument_is_refused_by_name(arguments, field):
    with pytest.raises(InvalidArgumentError) as caught:
        AsyncStdioBus(**arguments)
    assert caught.value.details["field"] == field


def test_configuration_from_a_file(tmp_path):
    path = tmp_path / "bus.json"
    path.write_text('{"pools": [{"id": "a", "command": "c"}]}')
    bus = AsyncStdioBus(config_path=path)
    assert bus.get_state() is BusState.CREATED


# ---- calls -----------------------------------------------------------------------------------


async def test_request_returns_its_result(bus, backend, turn):
    request = asyncio.ensure_future(bus.request("echo", {"a": 1}))
    await turn()
    [sent] = backend.messages
    assert (sent["id"], sent["method"], sent["params"]) == (1, "echo", {"a": 1})
    backend.deliver({"id": 1, "result": {"b": 2}})
    assert await request == {"b": 2}


async def test_requests_of_one_turn_are_sent_in_one_piece(bus, backend, turn):
    requests = [asyncio.ensure_future(bus.request("m", [n])) for n in range(5)]
    await turn()
    assert len(backend.sent) == 1
    backend.deliver(*({"id": n, "result": n} for n in range(5, 0, -1)))
    assert await asyncio.gather(*requests) == [1, 2, 3, 4, 5]


TARGETS = [
    (("tools/list",), {}, ("tools/list", None)),
    (("tools/list",), {"pool": "mcp"}, ("tools/list", "mcp")),
    (("mcp",), {}, ("mcp", "mcp")),
    (("mcp",), {"method": "tools/list"}, ("tools/list", "mcp")),
    (("mcp",), {"pool": "plain"}, ("mcp", "plain")),
    (("mcp",), {"pool": "mcp", "method": "tools/list"}, ("tools/list", "mcp")),
]


@pytest.mark.parametrize(("arguments", "keywords", "expected"), TARGETS)
async def test_target_is_a_method_or_a_pool(bus, backend, turn, arguments, keywords, expected):
    request = asyncio.ensure_future(bus.request(*arguments, **keywords))
    await bus.notify(*arguments, **keywords)
    await turn()
    for sent in backend.messages:
        assert (sent["method"], sent.get("pool")) == expected
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"pool": "nope"}, "there is no pool 'nope'; the configuration has 'own', 'plain', 'mcp'"),
        ({"method": "m"}, "there is no pool 'target'"),
        ({"method": "m", "pool": "mcp"}, "the method is given twice"),
        ({"timeout_ms": -5}, "timeout_ms: must be a number of milliseconds above 0"),
        ({"timeout_ms": "5"}, "timeout_ms"),
        ({"params": 5}, "params: must be a dict, a list or None"),
    ],
)
async def test_wrong_call_is_refused_and_not_sent(bus, backend, turn, keywords, message):
    with pytest.raises(InvalidArgumentError, match=message):
        await bus.request("target", **keywords)
    await turn()
    assert backend.sent == []


async def test_options_travel_and_arguments_win_over_them(bus, backend, turn):
    options = RequestOptions(timeout_ms=1, session_id="opt", agent_id="agent")
    request = asyncio.ensure_future(bus.request("m", session_id="arg", timeout_ms=10_000, options=options))
    await turn()
    await bus.notify("n", options=options)
    await turn()
    assert [(m["sessionId"], m["agentId"]) for m in backend.messages] == [("arg", "agent"), ("opt", "agent")]
    with pytest.raises(TimeoutError):
        await bus.request("m", options=options)
    assert not request.done()  # though it is older
    backend.deliver({"id": 1, "result": None})
    await request


async def test_error_answer_is_raised(bus, backend, turn):
    request = asyncio.ensure_future(bus.request("m", pool="plain"))
    await turn()
    backend.deliver({"id": 1, "error": {"code": -32601, "message": "no such method", "data": 1}})
    with pytest.raises(RemoteError) as caught:
        await request
    assert (caught.value.rpc_code, caught.value.rpc_data) == (-32601, 1)


async def test_timeout_cancels_the_request_and_drops_its_late_answer(bus, backend, turn):
    with pytest.raises(TimeoutError, match=r"slow: no answer from pool 'mcp' within 10 ms"):
        await bus.request("slow", pool="mcp", timeout_ms=10)
    await turn()
    assert backend.messages[-1]["params"] == {"id": 1}
    backend.deliver({"id": 1, "result": "late"})
    assert bus.get_stats().late_answers == 1


async def test_deadline_of_a_pool_wins_over_that_of_the_bus_and_loses_to_that_of_a_call(backend):
    config = BusConfig([PoolConfig("fast", "w", timeout_ms=10), PoolConfig("own", "w", timeout_ms=60_000)])
    async with AsyncStdioBus(config, timeout_ms=60_000) as bus:
        for pool in (None, "fast"):
            with pytest.raises(TimeoutError, match="within 10 ms"):
                await bus.request("m", pool=pool)
        with pytest.raises(TimeoutError, match="within 5 ms"):
            await bus.request("m", pool="own", timeout_ms=5)


async def test_cancelled_task_cancels_the_request(bus, backend, turn):
    request = asyncio.ensure_future(bus.request("m"))
    await turn()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await turn()
    assert backend.messages[-1]["method"] == "stdio_bus/cancel"


async def test_answer_to_a_task_that_is_being_cancelled_harms_nobody(bus, backend, turn):
    first, second = (asyncio.ensure_future(bus.request("m")) for _ in range(2))
    await turn()
    first.cancel()
    backend.deliver({"id": 1, "result": 1}, {"id": 2, "result": 2})
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == 2
    assert all(message["method"] == "m" for message in backend.messages)


async def test_question_of_a_worker_is_answered_with_method_not_found(bus, backend, turn):
    backend.deliver({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})
    await turn()
    [answer] = backend.messages
    assert (answer["id"], answer["error"]["code"]) == (5, -32601)


async def test_raw_line(bus, backend, turn):
    assert bus.send('{"id": "mine", "method": "m"}\n') is True
    assert bus.send(b'{"id": "yours", "method": "m"}') is True
    await turn()
    assert [message["id"] for message in backend.messages] == ["mine", "yours"]
    for wrong in ("", "\n", "  ", "{}\n{}", "\ud800"):
        with pytest.raises(InvalidArgumentError, match="line"):
            bus.send(wrong)
    backend.waiting = 1 << 40
    assert bus.send("{}") is False


async def test_kernel_that_lags_behind_refuses_requests(bus, backend):
    backend.waiting = 1 << 40
    with pytest.raises(Exception, match="wait for the kernel") as caught:
        await bus.request("m")
    assert caught.value.code == 9
    backend.waiting = 0


async def test_deadline_may_be_none(bus, backend, turn):
    request = asyncio.ensure_future(bus.request("m", timeout_ms=math.inf))
    await turn()
    backend.deliver({"id": 1, "result": 1})
    assert await request == 1


# ---- numbers ---------------------------------------------------------------------------------


async def test_introspection(bus, backend):
    assert bus.get_backend_type() == "native"
    assert bus.get_listen_mode() == "none"
    assert bus.get_stats().messages_in == 0
    assert bus.client_session_id.startswith("py-")
