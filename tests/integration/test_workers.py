"""Pools at run time, workers of this process, handlers and hello, over every backend."""

from __future__ import annotations

import asyncio
import sys

import pytest

from stdiobus import (
    BusConfig,
    EmbeddedWorker,
    InvalidArgumentError,
    NegotiationFailedError,
    PoolConfig,
    RemoteError,
    StdioBus,
    UnavailableError,
)
from tests.interpreters import PYTHON

CALC = PoolConfig(id="calc", embedded=True)


async def serve(method, params, context):
    if method == "add":
        return params["a"] + params["b"]
    if method == "stream":
        for part in ("a", "b", "c"):
            context.chunk(part)
        return {"parts": 3}
    if method == "ask":
        return await context.request("roots/list", params)
    raise RemoteError("no such method", {}, rpc_code=-32601)


async def test_function_of_this_process_serves_a_pool(make_bus, backend):
    bus = await make_bus(CALC)
    count = 500 if backend != "sync" else 100  # there each is a thread, and they keep the loop's from running
    waiting = asyncio.ensure_future(bus.request("calc", {"a": 1, "b": 2}, method="add"))
    worker = await bus.add_worker("calc", serve)
    assert await waiting == 3
    assert await bus.request("calc", method="stream") == {"parts": 3, "text": "abc"}
    events = [event.data async for event in bus.stream_request("calc", method="stream")]
    assert events == ["a", "b", "c", {"parts": 3}]
    with pytest.raises(RemoteError, match="no such method"):
        await bus.request("calc", method="other")
    assert [info.worker_id for info in bus.pool("calc").workers()] == [worker.worker_id]
    assert bus.get_worker_count() == 1
    worker.close()
    successor = await bus.add_worker("calc", serve)
    sums = await asyncio.gather(*(bus.request("calc", {"a": n, "b": n}, method="add") for n in range(count)))
    assert sums == [2 * n for n in range(count)]
    assert successor.worker_id != worker.worker_id


@pytest.mark.asyncio_only("a blocking call has no task that could be cancelled")
async def test_worker_whose_adding_is_cancelled_is_through_with_what_it_got(make_bus, eventually):
    bus = await make_bus(CALC)
    for turns in range(12):
        waiting = asyncio.ensure_future(bus.request("calc", {"a": 1, "b": 2}, method="add", timeout_ms=20000))
        adding = asyncio.ensure_future(bus.add_worker("calc", serve))
        for _ in range(turns):
            await asyncio.sleep(0)
        adding.cancel()
        outcome = (await asyncio.gather(adding, return_exceptions=True))[0]
        assert outcome is None or isinstance(outcome, (asyncio.CancelledError, EmbeddedWorker))
        if not isinstance(outcome, EmbeddedWorker):
            await eventually(lambda: not bus.get_workers())
            outcome = await bus.add_worker("calc", serve)
        assert await waiting == 3
        outcome.close()
        await eventually(lambda: not bus.get_workers())


async def test_handler_answers_what_a_worker_asks(make_bus):
    bus = await make_bus(CALC)
    await bus.add_worker("calc", serve)
    with pytest.raises(RemoteError, match="does not answer roots/list"):
        await bus.request("calc", {"a": 1}, method="ask")

    @bus.on_request("roots/list")
    async def roots(params, context):
        await asyncio.sleep(0)
        return [params, context.pool]

    assert await bus.request("calc", {"a": 1}, method="ask") == [{"a": 1}, "calc"]


async def test_pool_is_scaled_and_restarted_under_load(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    echo = bus.pool("echo")
    before = {worker.pid for worker in echo.workers()}
    stop = asyncio.Event()
    answered = []

    async def load():
        while not stop.is_set():
            answered.append(await echo.request("echo", {"n": 1}))

    loads = [asyncio.ensure_future(load()) for _ in range(8)]
    await echo.scale(3)
    assert len(echo.workers()) == 3
    await echo.restart()
    after = {worker.pid for worker in echo.workers()}
    assert len(after) == 3
    assert not before & after
    await echo.scale(1)
    assert [worker.state for worker in echo.workers()] == ["ready"]
    stop.set()
    await asyncio.gather(*loads)
    assert answered
    assert bus.get_stats().worker_restarts == 0


ONCE = r"""
import json, os, sys
try:
    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
except FileExistsError:
    sys.exit("not again")
for line in sys.stdin:
    print(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": {}}), flush=True)
"""


async def test_worker_that_cannot_be_started_is_told_and_the_others_stay(make_bus, tmp_path):
    greeting = {"request": {"method": "hi"}}
    args = ["-c", ONCE, str(tmp_path / "was")]
    once = PoolConfig(id="p", command=PYTHON, args=args, protocol="jsonrpc", handshake=greeting)
    bus = await make_bus(once, limits={"max_restarts": 0})
    for change in (bus.pool("p").scale(2), bus.restart_pool("p")):
        with pytest.raises(UnavailableError, match="not again"):
            await change
    assert await bus.request("m", pool="p") == {}
    with pytest.raises(InvalidArgumentError, match=r"instances: .* 1\.\.1024"):
        await bus.scale_pool("p", 0)


async def test_embedded_pool_has_no_processes_to_scale(make_bus):
    bus = await make_bus(CALC)
    with pytest.raises(InvalidArgumentError, match="add_worker"):
        await bus.scale_pool("calc", 2)


async def test_hello(make_bus):
    bus = await make_bus(CALC)
    assert bus.agent_session_id is None
    result = await bus.connect()
    assert (result.negotiated_protocol_version, bus.agent_session_id) == ("1.0", result.session_id)
    with pytest.raises(NegotiationFailedError, match=r"speaks version 1\.0, this client 9\.0"):
        await bus.hello({"protocolVersion": "9.0"})


async def test_further_clients_have_ids_of_their_own(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    clients = [await bus.open_client("echo") for _ in range(5)]
    for number, client in enumerate(clients):
        for id in range(20):
            params = {"of": number}
            await client.send({"jsonrpc": "2.0", "id": id, "method": "echo", "params": params})
    assert (await bus.request("echo", {"of": "host"}))["params"] == {"of": "host"}
    for number, client in enumerate(clients):
        answers = [await client.receive() for _ in range(20)]
        assert [answer["id"] for answer in answers] == list(range(20))
        assert {answer["result"]["params"]["of"] for answer in answers} == {number}
        await client.close()
        assert await client.receive() is None


def test_sync_bus_has_the_same():
    with StdioBus(BusConfig(pools=[CALC, PoolConfig(id="cat", command="cat")])) as bus:

        def blocking(params, context):
            # Not on the private thread, so it may call the bus.
            return bus.request("calc", {"a": 4, "b": 5}, method="add")

        bus.on_request("roots/list")(blocking)
        worker = bus.add_worker("calc", serve)
        assert bus.pool("calc").request("add", {"a": 1, "b": 2}) == 3
        assert bus.request("calc", {}, method="ask") == 9
        with bus.session(pool="calc") as session:
            assert [event.data for event in session.stream_request("stream")][:3] == ["a", "b", "c"]
        bus.pool("cat").scale(2)
        bus.pool("cat").restart()
        assert len(bus.pool("cat").workers()) == 2
        assert bus.connect().session_id == bus.agent_session_id
        assert (worker.pool, worker.worker_id) == ("calc", bus.pool("calc").workers()[0].worker_id)
        worker.close()

        def in_a_thread(method, params, context):
            for part in ("a", "b"):
                context.chunk(part)
            return {"method": method}

        loop = bus._loop._thread._loop
        loop.call_soon_threadsafe(loop.set_debug, True)  # refuses what is not fit for threads
        worker = bus.add_worker("calc", in_a_thread)
        assert bus.request("calc", method="anything") == {"method": "anything", "text": "ab"}


FLOOD = r"""
import json, sys
line = json.loads(sys.stdin.readline())
params = {"update": {"content": {"type": "text", "text": "x" * line["params"]["size"]}}}
for number in range(line["params"]["count"]):
    head = {"jsonrpc": "2.0", "method": "session/update", "sessionId": line["sessionId"]}
    sys.stdout.write(json.dumps({**head, "params": params}) + "\n")
answer = {"jsonrpc": "2.0", "id": line["id"], "result": line["params"]["count"]}
sys.stdout.write(json.dumps(answer) + "\n")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "count"),
    # A third of a gigabyte is more than may be kept, too.
    [("native", 4096), ("native-timer", 1365), ("subprocess", 1365)],
)
async def test_slow_consumer_of_a_gigabyte_loses_nothing_and_keeps_little(backend, count):
    """In a process of its own, whose peak of memory is that of the test."""
    program = f"""
import asyncio, sys
sys.path.insert(0, {str(sys.path[0])!r})
from stdiobus import AsyncStdioBus, BusConfig, NativeOptions, PoolConfig
async def main():
    pool = PoolConfig(id="p", command={PYTHON!r}, args=["-c", {FLOOD!r}])
    options = {{"native": NativeOptions(force_timer=True)}} if {backend == "native-timer"} else {{}}
    backend = {"native" if backend.startswith("native") else backend!r}
    async with AsyncStdioBus(BusConfig(pools=[pool]), backend=backend, timeout_ms=300000, **options) as bus:
        got = 0
        async for event in bus.stream_request("flood", {{"count": {count}, "size": 262144}}):
            if event.type == "chunk":
                assert len(event.data) == 262144
                got += 1
                if got % 128 == 1:
                    await asyncio.sleep(0.02)  # slower than the worker
        assert got == event.data == {count}, got
    # Not ru_maxrss, which a new process has from its parent.
    status = open("/proc/self/status").read()
    print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0
    assert int(out) < 200  # MiB
