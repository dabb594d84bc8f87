"""The asyncio client over a scripted backend: life, calls, guards."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import threading
import weakref

import pytest

from stdiobus import (
    AsyncStdioBus,
    BusConfig,
    BusState,
    InvalidArgumentError,
    InvalidStateError,
    PoolConfig,
    RemoteError,
    RequestOptions,
    TimeoutError,
    TransportError,
    UnavailableError,
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


# ---- life ------------------------------------------------------------------------------------


async def test_life_of_a_bus(backend, config):
    bus = AsyncStdioBus(config)
    assert (bus.get_state(), bus.is_running(), bus.get_workers()) == (BusState.CREATED, False, [])
    starting = asyncio.ensure_future(bus.start())
    await asyncio.sleep(0)
    assert bus.get_state() is BusState.STARTING
    await asyncio.gather(starting, bus.start())
    await bus.start()
    assert bus.is_running()
    assert (bus.get_worker_count(), bus.get_client_count(), bus.get_workers()[0].pid) == (3, 0, 4711)
    await asyncio.gather(bus.stop(2), bus.stop(2))
    await bus.stop()
    await bus.destroy()
    assert bus.get_state() is BusState.STOPPED
    assert backend.calls[:2] == ["start", "stop 2"]
    assert set(backend.calls[2:]) == {"destroy"}
    with pytest.raises(InvalidStateError, match="stopped; make a new bus"):
        await bus.start()


async def test_failed_start_destroys_everything_and_raises(backend, config):
    backend.start_error = UnavailableError("no program")
    bus = AsyncStdioBus(config)
    with pytest.raises(UnavailableError, match="no program"):
        await bus.start()
    assert backend.calls == ["start", "destroy"]
    assert bus.get_state() is BusState.STOPPED


async def test_start_fails_when_all_workers_of_a_pool_have(backend, config):
    backend.ready = False
    bus = AsyncStdioBus(config)
    starting = asyncio.ensure_future(bus.start())
    await asyncio.sleep(0)
    backend.event("own", 1, "started")
    backend.event("mcp", 3, "failed", returncode=7, stderr_tail="no licence", reason="it exited with 7")
    with pytest.raises(UnavailableError, match=r"pool 'mcp': .*it exited with 7(.|\n)*no licence"):
        await starting
    assert backend.calls[-1] == "destroy"


async def test_destroy_during_start_ends_the_start(backend, config):
    backend.ready = False
    bus = AsyncStdioBus(config)
    starting = asyncio.ensure_future(bus.start())
    await asyncio.sleep(0)
    bus.destroy()
    with pytest.raises(TransportError, match="destroyed"):
        await starting


async def test_cancelled_start_destroys_everything(backend, config):
    backend.ready = False
    bus = AsyncStdioBus(config)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(bus.start(), 0.01)
    assert backend.calls[-1] == "destroy"


@pytest.mark.parametrize("end", ["stop", "destroy"])
async def test_end_of_the_bus_ends_every_pending_request_with_its_own_error(backend, config, end):
    bus = AsyncStdioBus(config)
    await bus.start()
    requests = [asyncio.ensure_future(bus.request(f"m{n}")) for n in range(3)]
    await asyncio.sleep(0)
    await getattr(bus, end)()
    errors = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(error) for error in errors] == [TransportError] * 3
    assert [str(error).split(":")[0] for error in errors] == ["m0", "m1", "m2"]
    if end == "stop":
        assert [m["params"]["id"] for m in backend.messages if m["method"] == "stdio_bus/cancel"] == [1, 2, 3]


async def test_second_stop_waits_for_the_first(backend, config):
    bus = AsyncStdioBus(config)
    await bus.start()
    backend.stop_waits_for = asyncio.get_running_loop().create_future()
    first = asyncio.ensure_future(bus.stop(1))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(bus.stop(2))
    await asyncio.wait({second}, timeout=0.01)
    assert not second.done()
    backend.stop_waits_for.set_result(None)
    await asyncio.gather(first, second)
    assert [call for call in backend.calls if call.startswith("stop")] == ["stop 1"]
    assert bus.get_state().name == "STOPPED"


def test_stop_on_another_loop_destroys(backend, config):
    bus = AsyncStdioBus(config)
    asyncio.run(bus.start())
    asyncio.run(bus.stop())
    assert backend.calls[-1] == "destroy"
    assert bus.get_state().name == "STOPPED"


async def test_stop_refuses_what_is_no_time(bus):
    for wrong in (-1, "1", True, math.nan):
        with pytest.raises(InvalidArgumentError, match="timeout_sec"):
            await bus.stop(wrong)


async def test_dead_backend_ends_every_request_and_the_bus(bus, backend):
    request = asyncio.ensure_future(bus.request("m"))
    await asyncio.sleep(0)
    backend.fail(TransportError("it crashed: segmentation fault"))
    with pytest.raises(TransportError, match="m: it crashed: segmentation fault"):
        await request
    with pytest.raises(TransportError, match="it crashed"):
        await bus.request("n")
    assert bus.get_state() is BusState.STOPPED


async def test_kernel_that_takes_no_messages_ends_every_request(bus, backend):
    backend.send_error = InvalidStateError("not running")
    with pytest.raises(TransportError, match="takes no messages any more: not running"):
        await bus.request("m")


async def test_garbage_bus_frees_its_backend(backend, config):
    bus = AsyncStdioBus(config)
    await bus.start()
    bus.on_message(print)
    dead = weakref.ref(bus)
    del bus
    gc.collect()
    assert dead() is None
    assert backend.finalized == [True]


async def test_stopped_bus_needs_no_finalizer(backend, config):
    async with AsyncStdioBus(config) as bus:
        pass
    del bus
    gc.collect()
    assert backend.finalized == []


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


# ---- guards ----------------------------------------------------------------------------------


async def test_calls_before_start_and_after_stop_are_refused(backend, config):
    bus = AsyncStdioBus(config)
    for call in (lambda: bus.request("m"), lambda: bus.notify("m")):
        with pytest.raises(InvalidStateError, match=r"created; call start\(\) first"):
            await call()
    with pytest.raises(InvalidStateError):
        bus.stream_request("m")
    async with bus:
        pass
    with pytest.raises(InvalidStateError, match="stopped; make a new bus"):
        bus.send("{}")
    with pytest.raises(InvalidStateError):
        bus.subscribe()


async def test_other_threads_are_refused_with_both_names(bus):
    subscription = bus.subscribe()
    calls = [
        lambda: bus.send("{}"),
        lambda: bus.stream_request("m"),
        lambda: asyncio.run(bus.request("m")),
        lambda: asyncio.run(bus.notify("m")),
        lambda: asyncio.run(bus.hello()),
        lambda: asyncio.run(bus.add_worker("own", print)),
        lambda: asyncio.run(bus.scale_pool("own", 2)),
        lambda: asyncio.run(bus.restart_pool("own")),
        lambda: asyncio.run(bus.start()),
        lambda: asyncio.run(bus.stop()),
        lambda: bus.unsubscribe(subscription),
        bus.get_stats,
        bus.get_workers,
        bus.get_worker_count,
        bus.get_client_count,
        bus.destroy,
    ]
    caught = []

    def intrude():
        for call in calls:
            try:
                call()
            except TransportError as error:
                caught.append(str(error))

    thread = threading.Thread(target=intrude, name="intruder")
    thread.start()
    thread.join()
    assert len(caught) == len(calls)
    for message in caught:
        assert "'intruder'" in message
        assert "'MainThread'" in message
        assert "call_soon_threadsafe" in message
    assert bus.is_running()


async def test_other_threads_are_refused_while_the_bus_starts_and_stops(backend, config):
    backend.ready = False
    bus = AsyncStdioBus(config)
    caught = []

    def intrude(call):
        try:
            asyncio.run(call())
        except TransportError as error:
            caught.append(str(error).split()[0])

    starting = asyncio.ensure_future(bus.start())
    await asyncio.sleep(0)
    await asyncio.to_thread(intrude, bus.start)
    await asyncio.to_thread(intrude, bus.stop)
    assert caught == ["start", "destroy"]
    bus.destroy()
    with pytest.raises(TransportError):
        await starting


async def test_forked_child_is_refused(bus, config):
    never_started = AsyncStdioBus(config)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for call in (lambda: bus.send("{}"), bus.destroy, lambda: bus.stream_request("m")):
            try:
                call()
            except InvalidStateError as error:
                said.append(str(error))
        said.append(never_started.get_state().name)
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)  # noqa: ASYNC222 - it exits at once
    with os.fdopen(reader) as pipe:
        said = json.loads(pipe.read())
    assert all(f"belongs to process {os.getpid()}" in message for message in said[:3])
    assert said[3] == "CREATED"


async def test_introspection(bus, backend):
    assert bus.get_backend_type() == "native"
    assert bus.get_listen_mode() == "none"
    assert bus.get_stats().messages_in == 0
    assert bus.client_session_id.startswith("py-")
