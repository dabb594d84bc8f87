"""The scripted peer: what a user's test says is what their code meets, and all of it is seen."""

from __future__ import annotations

import asyncio
import json
import textwrap

import pytest

from stdiobus import (
    AsyncStdioBus,
    BackendMode,
    BusConfig,
    InvalidArgumentError,
    InvalidStateError,
    NativeOptions,
    PoolConfig,
    RemoteError,
    StdioBus,
    StdioBusBuilder,
    TimeoutError,
    TransportError,
    UnavailableError,
)
from stdiobus.backends import memory as module
from stdiobus.backends.memory import MemoryBackend

CONFIG = BusConfig(
    [
        PoolConfig("plain", "w", protocol="jsonrpc", instances=2),
        PoolConfig("own", "w"),
        PoolConfig("mcp", "w", protocol="mcp"),
        PoolConfig("agent", "w", protocol="acp", instances=2),
    ]
)


@pytest.fixture
def memory():
    return MemoryBackend()


@pytest.fixture
async def bus(memory):
    async with AsyncStdioBus(CONFIG, backend=memory) as running:
        yield running


def test_example_of_the_documentation_runs():
    example = module.__doc__.split("::\n", 1)[1].split("\nIt stands for")[0]
    exec(textwrap.dedent(example), {"__name__": "example"})


# ---- Choosing it


async def test_bus_itself_is_asked(memory):
    async with AsyncStdioBus(CONFIG, backend=memory) as bus:
        assert (await bus.hello()).session_id == "client-0"
        with pytest.raises(RemoteError, match="has no stdio_bus/scale; use a real backend"):
            await bus.scale_pool(CONFIG.pools[0].id, 2)
    assert memory.requests == []


async def test_both_clients_and_the_builder_take_it(memory):
    assert AsyncStdioBus(CONFIG, backend=memory).get_backend_type() == "memory"
    builder = StdioBusBuilder().config(CONFIG).backend(memory)
    async with builder.build() as bus:
        assert bus.get_backend_type() == BackendMode.MEMORY
        assert bus.is_running()


def test_its_name_alone_and_a_listener_are_refused(memory):
    with pytest.raises(InvalidArgumentError, match="backend: must be one of auto, native"):
        AsyncStdioBus(CONFIG, backend="memory")
    with pytest.raises(InvalidArgumentError, match='backend "memory"'):
        AsyncStdioBus(CONFIG, backend=memory, native=NativeOptions(listen_mode="tcp"))


async def test_it_serves_one_bus(memory, bus):
    with pytest.raises(InvalidStateError, match="make one for each"):
        await AsyncStdioBus(CONFIG, backend=memory).start()


async def test_it_must_be_started_before_it_speaks(memory):
    with pytest.raises(InvalidArgumentError, match="has no worker that runs"):
        memory.notify("plain", "n")


# ---- Answers


async def test_results_errors_and_functions_answer(memory, bus):
    async def slowly(call):
        await asyncio.sleep(0)
        return {"slow": call.params}

    def broken(call):
        raise KeyError("oops")

    memory.on("null", None)
    memory.on("value", {"a": [1]})
    memory.on("error", RemoteError("not here", rpc_code=-32001, rpc_data={"path": "/"}))
    memory.on("double", lambda call: call.params["n"] * 2)
    memory.on("slowly", slowly)
    memory.on("broken", broken)
    memory.on("no json", lambda call: {1, 2})
    memory.on("value", "other", pool="own")
    assert await bus.request("null") is None
    assert await bus.request("value") == {"a": [1]}
    assert await bus.request("value", pool="own") == "other"
    assert await bus.request("double", {"n": 21}) == 42
    assert await bus.request("slowly", {"n": 1}) == {"slow": {"n": 1}}
    for method, code, text in (
        ("error", -32001, "not here"),
        ("broken", -32603, "KeyError: 'oops'"),
        ("no json", -32603, "not JSON data"),
        ("unknown", -32601, "method not found: unknown"),
    ):
        with pytest.raises(RemoteError, match=text) as caught:
            await bus.request(method)
        assert caught.value.rpc_code == code
        assert caught.value.rpc_data == ({"path": "/"} if method == "error" else None)


async def test_what_workers_got_is_recorded(memory, bus):
    seen = []
    memory.on("greet", lambda call: seen.append(call) or "hi")
    await bus.notify("greet", {"n": 1}, pool="own")
    await bus.request("greet", {"n": 2}, pool="plain", session_id="s")
    [request] = memory.requests
    [notification] = memory.notifications
    assert seen == [notification, request]
    assert (request.method, request.params, request.pool, request.session_id) == (
        "greet",
        {"n": 2},
        "plain",
        "s",
    )
    assert (notification.params, notification.pool, notification.worker_id) == ({"n": 1}, "own", 3)
    assert repr(request) == "<MemoryCall greet to worker 1 of 'plain'>"


async def test_raw_lines_that_reach_no_worker_get_the_errors_of_the_bus(memory, bus):
    errors = []
    both = asyncio.get_running_loop().create_future()

    @bus.on_message
    def note(line):
        errors.append(json.loads(line))
        if len(errors) == 2:
            both.set_result(None)

    bus.send("{")
    bus.send('{"jsonrpc":"2.0","id":"a","method":"m","pool":"nowhere"}')
    await both
    assert [(error["id"], error["error"]["code"]) for error in errors] == [(None, -32700), ("a", -32081)]
    assert memory.requests == []


# ---- Workers


async def test_calls_go_to_the_least_loaded_worker_and_sessions_stay(memory, bus):
    answers = []

    def hold(call):
        answers.append(asyncio.get_running_loop().create_future())
        return answers[-1]

    memory.on("hold", hold)
    memory.on("session/new", lambda call: {"sessionId": f"made-{call.worker_id}"})
    memory.on("where", lambda call: call.worker_id)
    held = asyncio.ensure_future(bus.request("hold", pool="plain"))
    await asyncio.sleep(0)  # it is on its way
    assert await bus.request("where", pool="plain", session_id="s") == 2
    assert [info.in_flight for info in bus.get_workers()[:2]] == [1, 0]
    answers[0].set_result("done")
    assert await held == "done"
    assert await bus.request("where", pool="plain") == 1
    assert await bus.request("where", pool="plain", session_id="s") == 2
    assert await bus.request("where", session_id="s") == 2
    held = asyncio.ensure_future(bus.request("hold", pool="agent"))
    await asyncio.sleep(0)  # likewise
    assert (await bus.request("session/new", {}, pool="agent"))["sessionId"] == "made-6"
    answers[1].set_result(None)
    await held
    assert await bus.request("where", {"sessionId": "made-6"}, pool="agent") == 6


async def test_killed_worker_fails_its_calls_and_comes_back(memory, bus):
    reached = asyncio.Event()

    async def never(call):
        reached.set()
        await asyncio.Event().wait()

    memory.on("never", never)
    memory.on("where", lambda call: call.worker_id)
    events = []
    bus.on_worker_event(lambda event: events.append((event.worker_id, event.kind, event.returncode)))
    lost = asyncio.ensure_future(bus.request("never", pool="own"))
    await reached.wait()
    memory.kill("own", returncode=3, stderr_tail="out of memory")
    with pytest.raises(
        TransportError, match=r"never: the worker ended, exit code 3(.|\n)*out of memory"
    ) as caught:
        await lost
    assert caught.value.details["exit_code"] == 3
    assert await bus.request("where", pool="own") == 3
    assert events == [(3, "restarting", 3), (3, "started", None)]
    assert bus.get_stats().worker_restarts == 1
    assert [info.restarts for info in bus.get_workers()] == [0, 0, 1, 0, 0, 0]


async def test_worker_that_is_gone_for_good_leaves_its_pool_unavailable(memory, bus):
    memory.on("where", lambda call: call.worker_id)
    memory.kill("plain", worker_id=1, restart=False)
    assert await bus.request("where", pool="plain") == 2
    assert bus.get_worker_count() == 5
    memory.kill("plain", restart=False)
    with pytest.raises(UnavailableError, match="no worker of the pool runs"):
        await bus.request("where", pool="plain")
    with pytest.raises(InvalidArgumentError, match="has no worker 7"):
        memory.kill("plain", worker_id=7)


async def test_refused_pool_fails_the_start_with_its_reason():
    memory = MemoryBackend()
    memory.refuse("own", "exit code 1 during the handshake", stderr_tail="no licence")
    with pytest.raises(
        UnavailableError, match=r"'own': no worker can be started: exit code 1(.|\n)*no licence"
    ):
        await AsyncStdioBus(CONFIG, backend=memory).start()


# ---- Chunks, notifications, worker requests


@pytest.mark.parametrize(
    ("pool", "params"), [("own", {}), ("mcp", {}), ("agent", {"sessionId": "s"}), ("agent", {})]
)
async def test_chunks_reach_the_stream_in_every_profile_that_has_them(memory, bus, pool, params):
    @memory.on("say")
    def say(call):
        for word in ("one ", "two"):
            call.chunk(word)
        return {"said": 2}

    events = [event async for event in bus.stream_request("say", params, pool=pool)]
    assert [event.data for event in events[:-1]] == ["one ", "two"]
    assert events[-1].data == {"said": 2}
    result = await bus.request("say", {**params, "sessionId": "s"} if pool == "agent" else params, pool=pool)
    assert result == ({"said": 2} if pool == "mcp" else {"said": 2, "text": "one two"})


async def test_profile_without_chunks_says_so(memory, bus):
    memory.on("say", lambda call: call.chunk("x"))
    with pytest.raises(RemoteError, match="its profile has no chunks"):
        await bus.request("say", pool="plain")


async def test_notifications_reach_subscriptions(memory, bus):
    subscription = bus.subscribe("own")
    memory.notify("own", "log", {"level": "info"}, session_id="s")
    memory.on("m", lambda call: call.notify("progress"))
    await bus.request("m", pool="own", session_id="t")
    first, second = await anext_of(subscription), await anext_of(subscription)
    assert first == {"jsonrpc": "2.0", "method": "log", "params": {"level": "info"}, "sessionId": "s"}
    assert second == {"jsonrpc": "2.0", "method": "progress", "sessionId": "t"}


async def anext_of(iterator):
    return await iterator.__anext__()


async def test_worker_asks_the_client(memory, bus):
    @memory.on("ask")
    async def ask(call):
        await call.ask("nobody/answers", {"n": 1})

    with pytest.raises(RemoteError, match="nobody/answers") as caught:
        await bus.request("ask")
    assert caught.value.rpc_code == -32601
    answer = asyncio.ensure_future(memory.ask("own", "roots/list"))
    await asyncio.sleep(0)
    bus.send('{"jsonrpc":"2.0","id":2,"result":{"roots":[]}}')
    assert await answer == {"roots": []}


# ---- The end


async def test_client_that_gives_up_cancels_the_handler(memory, bus):
    cancelled = asyncio.Event()

    @memory.on("slow")
    async def slow(call):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        await bus.request("slow", timeout_ms=1)
    await cancelled.wait()
    assert memory.requests[0].cancelled
    assert bus.get_workers()[0].in_flight == 0
    assert bus.get_stats().late_answers == 0


async def test_handler_that_cancels_itself_is_an_error(memory, bus):
    async def give_up(call):
        raise asyncio.CancelledError

    memory.on("m", give_up)
    with pytest.raises(RemoteError, match="the handler was cancelled"):
        await bus.request("m")
    bus.send('{"jsonrpc":"2.0","method":"stdio_bus/cancel","params":{"id":1}}')  # too late, and no harm


async def test_stop_ends_calls_handlers_and_questions(memory):
    waiting = asyncio.Event()
    ended = []

    @memory.on("wait")
    async def wait(call):
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(call.method)

    async with AsyncStdioBus(CONFIG, backend=memory) as bus:
        request = asyncio.ensure_future(bus.request("wait"))
        await waiting.wait()
        question = asyncio.ensure_future(memory.ask("own", "roots/list"))
        await asyncio.sleep(0)
        memory.destroy()  # before the client refuses it
        with pytest.raises(TransportError, match="ended before the client answered"):
            await question
    with pytest.raises(TransportError):
        await request
    assert ended == ["wait"]
    assert bus.get_workers() == []
    memory.notify("own", "late")  # nobody hears it, and nothing breaks


async def test_raw_request_that_is_withdrawn_ends_with_the_error_for_it(memory, bus):
    lines = []
    told = asyncio.Event()
    bus.on_message(lambda line: (lines.append(line), told.set()))
    memory.on("never", lambda call: asyncio.get_running_loop().create_future())
    bus.send('{"jsonrpc":"2.0","id":"x","method":"never"}')
    bus.send('{"jsonrpc":"2.0","method":"stdio_bus/cancel","params":{"id":"x"}}')
    await told.wait()
    assert '"code":-32087' in lines[0]


def test_synchronous_client_is_scripted_from_its_own_thread(memory):
    with StdioBus(CONFIG, backend=memory) as bus:
        memory.on("m", lambda call: "answer")
        assert bus.request("m") == "answer"
        subscription = bus.subscribe("own")
        memory.notify("own", "log")
        assert next(iter(subscription))["method"] == "log"
        stats = bus.get_stats()
        assert (stats.messages_in, stats.messages_out) == (1, 2)
        assert stats.bytes_in > 0 < stats.bytes_out
