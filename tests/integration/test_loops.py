"""Event loops and threads: which ones a bus runs on, and which calls it refuses."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stdiobus import AsyncStdioBus, BusConfig, InvalidStateError, TransportError

LINUX = sys.platform == "linux"


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """A loop that watches no descriptors for its users, as asyncio's own on some platforms."""

    def add_reader(self, *args):
        raise NotImplementedError


def run(loop, coroutine):
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def echo_once(pools, backend):
    async with AsyncStdioBus(BusConfig(pools=pools), backend=backend) as bus:
        results = await asyncio.gather(*(bus.request("echo", {"n": n}, pool="echo") for n in range(100)))
    return [result["params"]["n"] for result in results]


def test_native_bus_works_on_a_loop_that_cannot_watch_descriptors(pool):
    assert run(LoopWithoutReaders(), echo_once([pool("echo_worker.py")], "native")) == list(range(100))


@pytest.mark.parametrize("backend_name", ["native", "subprocess"])
def test_bus_works_on_uvloop(pool, backend_name):
    uvloop = pytest.importorskip("uvloop")
    assert run(uvloop.new_event_loop(), echo_once([pool("echo_worker.py")], backend_name)) == list(range(100))


async def test_every_row_runs_on_the_loop_that_it_names(make_bus, pool, backend):
    await make_bus(pool("echo_worker.py"))
    kind = type(asyncio.get_running_loop()).__module__.split(".")[0]
    assert kind == ("uvloop" if backend == "native-uvloop" else "asyncio")


@pytest.mark.parametrize("backend_name", ["native", "subprocess"])
def test_bus_works_on_a_loop_in_another_thread(pool, backend_name):
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(asyncio.run, echo_once([pool("echo_worker.py")], backend_name))
        assert future.result() == list(range(100))


async def test_many_buses_live_in_one_process(make_bus, pool):
    buses = [await make_bus(pool("echo_worker.py")) for _ in range(4)]
    results = await asyncio.gather(
        *(b.request("echo", {"n": n}, pool="echo") for n in range(25) for b in buses)
    )
    assert [result["params"]["n"] for result in results] == [n for n in range(25) for _ in buses]
    assert len({result["pid"] for result in results}) == 4


@pytest.mark.asyncio_only("its loop is in a thread")
async def test_no_thread_runs_beside_the_loop(make_bus, pool):
    def threads():
        return set(threading.enumerate()), set(os.listdir("/proc/self/task") if LINUX else ())

    before = threads()
    bus = await make_bus(pool("echo_worker.py"), pool("stream_echo_worker.py", protocol="stdiobus"))
    seen = [threads()]
    bus.on_message(lambda line: seen.append(threads()))
    await asyncio.gather(*(bus.request("echo", {"n": n}, pool="echo") for n in range(10)))
    async for _ in bus.stream_request("stream_echo", {"prompt": "one two three"}):
        seen.append(threads())
    stopping = asyncio.ensure_future(bus.stop(5))
    while not stopping.done():
        seen.append(threads())
        await asyncio.sleep(0.001)
    assert len(seen) > 14
    assert all(each == before for each in seen)


@pytest.mark.asyncio_only("it may be called from any thread")
async def test_send_from_another_thread_is_refused_with_both_threads_and_the_remedy(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    caught = []

    def send():
        try:
            bus.send('{"jsonrpc":"2.0","method":"greet","pool":"echo"}')
        except TransportError as error:
            caught.append(str(error))

    thread = threading.Thread(target=send, name="intruder")
    thread.start()
    thread.join()
    for word in ("intruder", "MainThread", "call_soon_threadsafe"):
        assert word in caught[0]


def said_in_a_forked_child(use):
    """The message of the error that a call raises in a forked child."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            use()
            os.write(writer, b"no error")
        except InvalidStateError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


@pytest.mark.filterwarnings(
    "ignore:.*is multi-threaded:DeprecationWarning"
)  # the child calls next to nothing
async def test_bus_refuses_to_work_in_a_forked_child(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    line = '{"jsonrpc":"2.0","method":"greet","pool":"echo"}'
    assert "fork" in said_in_a_forked_child(lambda: bus.send(line))
    assert (await bus.request("echo", {"n": 1}, pool="echo"))["params"] == {"n": 1}
