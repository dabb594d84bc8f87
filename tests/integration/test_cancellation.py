"""Calls that are given up: at any turn of the loop, and a thousand at once. Nothing is left of them."""

from __future__ import annotations

import asyncio
import random

import pytest

from stdiobus import AsyncStdioBus, BusConfig, BusState, PoolConfig, TransportError
from tests.interpreters import PYTHON

# The first turns one by one, then further apart, until the call has come to its end: that takes time
# and not turns, of which some interpreters make a million in a second.
TURNS = [*range(10), *(2**n for n in range(4, 25))]

given_up_by_its_task = pytest.mark.asyncio_only("a blocking call has no task that could be cancelled")

MUTE = PoolConfig(id="mute", command="sh", args=["-c", "while read line; do :; done"], protocol="jsonrpc")


async def ended_before(turns, call):
    """Cancels a call after so many turns of the loop; whether it had come to its end."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return False
    return True


async def nothing_runs(eventually):
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})


@pytest.fixture
def pools(compiled_echo_worker):
    return [
        PoolConfig(id="echo", command=compiled_echo_worker, protocol="jsonrpc"),
        MUTE,
        PoolConfig(id="own", embedded=True),
    ]


async def stream(bus):
    async for event in bus.stream_request("e", {"n": 1}, pool="echo"):
        assert event.data == {"n": 1}


async def add_worker(bus):
    worker = await bus.add_worker("own", lambda method, params, context: params)
    try:
        assert await bus.request("own", {"n": 1}) == {"n": 1}
    finally:
        worker.close()


async def scale(bus):
    await bus.scale_pool("echo", 1 if bus.get_worker_count() > 2 else 2)


CALLS = {
    "request": lambda bus: bus.request("e", {"n": 1}, pool="echo"),
    "stream": stream,
    "hello": lambda bus: bus.hello(),
    "add_worker": add_worker,
    "scale": scale,
    "restart": lambda bus: bus.restart_pool("echo"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("backend", ["native", "native-timer", "subprocess"])
async def test_call_cancelled_at_any_turn_leaves_a_bus_that_works(make_bus, pools, call, eventually):
    bus = await make_bus(*pools)
    for turns in TURNS:
        ended = await ended_before(turns, CALLS[call](bus))
        assert await bus.request("e", {"turns": turns}, pool="echo") == {"turns": turns}
        if call == "add_worker":
            await eventually(lambda: not bus.pool("own").workers())
        if ended:
            break
    assert ended
    await nothing_runs(eventually)
    await eventually(lambda: not any(worker.in_flight for worker in bus.get_workers()))
    await bus.stop(5)
    await nothing_runs(eventually)


@given_up_by_its_task
async def test_start_cancelled_at_any_turn_leaves_nothing(backend_arguments, pools, eventually):
    for turns in TURNS:
        bus = AsyncStdioBus(BusConfig(pools=pools), **backend_arguments)
        ended = await ended_before(turns, bus.start())
        assert bus.is_running() == ended
        if ended:
            await bus.stop(5)
            break
        assert bus.get_state() is (BusState.STOPPED if turns else BusState.CREATED)
        assert bus.get_workers() == []
    assert ended
    await nothing_runs(eventually)


@given_up_by_its_task
async def test_stop_cancelled_at_any_turn_leaves_nothing(make_bus, pools, gone, eventually):
    for turns in TURNS:
        bus = await make_bus(*pools)
        pids = [worker.pid for worker in bus.get_workers()]
        waiting = asyncio.ensure_future(bus.request("mute"))
        await asyncio.sleep(0)
        ended = await ended_before(turns, bus.stop(5))
        await bus.stop(5)
        assert bus.get_state() is BusState.STOPPED
        if turns or ended:  # or else the stop had not begun when it was cancelled
            with pytest.raises(TransportError, match=r"mute: the bus was (stopped|destroyed)"):
                await waiting
        else:
            await asyncio.gather(waiting, return_exceptions=True)
        assert all([await asyncio.to_thread(gone, pid, 10) for pid in pids])
        if ended:
            break
    assert ended
    await nothing_runs(eventually)


# An MCP server that answers nothing until it is asked to `release`: then everything, what was
# cancelled too, in another order. The result of that is what was cancelled.
LATE = r"""
import json, sys
held, cancelled = {}, []
def send(**fields):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **fields}) + "\n")
for line in sys.stdin:
    message = json.loads(line)
    method = message.get("method")
    if method == "initialize":
        send(id=message["id"], result={"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}})
    elif method == "notifications/cancelled":
        cancelled.append(held[message["params"]["requestId"]])
    elif method == "hold":
        held[message["id"]] = message["params"]["n"]
    elif method == "release":
        for number, n in reversed(list(held.items())):
            send(id=number, result={"n": n})
        send(id=message["id"], result={"held": len(held), "cancelled": cancelled})
    sys.stdout.flush()
"""


@given_up_by_its_task
async def test_a_thousand_of_two_thousand_requests_are_cancelled(make_bus, eventually):
    late = PoolConfig(id="late", command=PYTHON, args=["-c", LATE], protocol="mcp", max_queue=4000)
    bus = await make_bus(late)
    requests = [asyncio.ensure_future(bus.request("hold", {"n": n}, timeout_ms=60000)) for n in range(2000)]
    await asyncio.sleep(0)  # each has been sent
    chosen = random.Random(4).sample(range(2000), 1000)
    for place, n in enumerate(chosen):
        requests[n].cancel()
        if place % 100 == 0:
            await asyncio.sleep(0)
    await asyncio.wait([requests[n] for n in chosen])
    told = await bus.request("release", timeout_ms=60000)
    assert told["held"] == 2000
    assert sorted(told["cancelled"]) == sorted(chosen)
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    given_up = set(chosen)
    for n, outcome in enumerate(outcomes):
        assert isinstance(outcome, asyncio.CancelledError) if n in given_up else outcome == {"n": n}
    await eventually(lambda: bus.get_stats().routing_errors + bus.get_stats().late_answers == 1000)
