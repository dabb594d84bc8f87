"""The life of a bus over a scripted backend: its states and ends, and the calls that it refuses."""

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
    BusState,
    InvalidArgumentError,
    InvalidStateError,
    TransportError,
    UnavailableError,
)

# ---- beginning and end -----------------------------------------------------------------------


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


@pytest.mark.filterwarnings(
    "ignore:.*is multi-threaded:DeprecationWarning"
)  # the child calls next to nothing
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
