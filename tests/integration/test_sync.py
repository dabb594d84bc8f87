"""`StdioBus` from many threads and inside a running loop; the rest is the row "sync" of the other files."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stdiobus import BusConfig, StdioBus


@pytest.fixture(params=["native", "subprocess"])
def make_bus(request):
    """`make_bus(pool, ...)`: a started `StdioBus`, stopped after the test."""
    with contextlib.ExitStack() as buses:
        yield lambda *pools: buses.enter_context(StdioBus(BusConfig(pools=pools), backend=request.param))


def test_requests_of_many_threads_each_get_their_own_answer(make_bus, pool):
    bus = make_bus(pool("echo_worker.py", instances=2))
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda n: bus.request("echo", {"n": n}, pool="echo"), range(500)))
    assert [result["params"]["n"] for result in results] == list(range(500))


def test_streams_of_many_threads_do_not_mix(make_bus, pool):
    bus = make_bus(pool("stream_echo_worker.py", "--together", "4", protocol="stdiobus"))

    def text(prompt):
        events = bus.stream_request("stream_echo", {"prompt": prompt})
        return "".join(event.data for event in events if event.type == "chunk")

    prompts = [f"stream {n} " * 20 for n in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(text, prompts)) == prompts


def test_32_threads_do_everything_at_once(make_bus, pool):
    bus = make_bus(
        pool("echo_worker.py", instances=2), pool("stream_echo_worker.py", instances=2, protocol="stdiobus")
    )
    together = threading.Barrier(32, timeout=30)

    def use(thread):
        subscription = bus.subscribe("echo", methods=["tick"])
        together.wait()
        for n in range(3):
            assert bus.request("echo", {"n": [thread, n]}, pool="echo")["params"] == {"n": [thread, n]}
            prompt = f"stream {n} of thread {thread} " * 3
            events = list(bus.stream_request("stream_echo", {"prompt": prompt}))
            assert "".join(event.data for event in events[:-1]) == prompt
            assert events[-1].type == "result"
        bus.request("echo", {"emit": 2}, pool="echo")
        together.wait()  # the ticks of all threads have arrived
        bus.unsubscribe(subscription)
        return sum(1 for _ in subscription)

    with ThreadPoolExecutor(32) as threads:
        assert list(threads.map(use, range(32))) == [64] * 32


def test_stop_and_destroy_are_idempotent_and_leave_no_thread(make_bus, pool):
    before = threading.enumerate()
    bus = make_bus(pool("echo_worker.py"))
    for _ in range(2):
        bus.stop()
        bus.destroy()
    assert threading.enumerate() == before


@pytest.mark.busy_loop
async def test_bus_is_usable_inside_a_running_loop(pool):
    with StdioBus(BusConfig(pools=[pool("echo_worker.py", id="echo")])) as bus:
        assert bus.request("echo", {"n": 1}, pool="echo")["params"] == {"n": 1}
