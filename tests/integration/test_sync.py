"""`StdioBus`: the same jobs for code without an event loop, from any thread, also inside a running loop."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stdiobus import BusConfig, LimitsConfig, StdioBus, TimeoutError, TransportError, UnavailableError


@pytest.fixture(params=["native", "subprocess"])
def make_bus(request):
    """`make_bus(pool, ...)`: a started `StdioBus`, stopped after the test."""
    buses = []

    def make(*pools, limits=None, start=True):
        config = BusConfig(pools=list(pools), limits=LimitsConfig(**limits or {}))
        bus = StdioBus(config, backend=request.param)
        buses.append(bus)
        if start:
            bus.start()
        return bus

    yield make
    for bus in buses:
        bus.stop(5)
        bus.destroy()


def test_request_is_answered(make_bus, pool):
    bus = make_bus(pool("echo_worker.py"))
    assert bus.request("echo", {"n": 1}, pool="echo")["params"] == {"n": 1}
    assert bus.is_running()
    assert bus.get_worker_count() == 1


def test_requests_of_many_threads_each_get_their_own_answer(make_bus, pool):
    bus = make_bus(pool("echo_worker.py", instances=2))
    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(lambda n: bus.request("echo", {"n": n}, pool="echo"), range(500)))
    assert [result["params"]["n"] for result in results] == list(range(500))


def test_reply_is_streamed_word_by_word(make_bus, pool):
    bus = make_bus(pool("stream_echo_worker.py", protocol="stdiobus"))
    events = list(bus.stream_request("stream_echo", {"prompt": "one two three"}))
    assert [event.data for event in events[:-1]] == ["one ", "two ", "three"]
    assert events[-1].type == "result"


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
        for n in range(5):
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


def test_subscription_is_an_iterator_that_ends(make_bus, pool):
    bus = make_bus(pool("echo_worker.py"))
    subscription = bus.subscribe("echo")
    bus.request("echo", {"emit": 3}, pool="echo")
    bus.unsubscribe(subscription)
    assert [note["params"]["n"] for note in subscription] == [0, 1, 2]


def test_notification_callbacks_are_called(make_bus, pool):
    bus = make_bus(pool("echo_worker.py"))
    called = threading.Event()
    bus.on_notification(lambda line: called.set())
    bus.notify("greet", {"name": "Ada"}, pool="echo")
    assert called.wait(10)


def test_timeout_is_raised_and_the_bus_goes_on(make_bus, pool):
    bus = make_bus(pool("misbehaving_worker.py", "mute"), pool("echo_worker.py"))
    with pytest.raises(TimeoutError):
        bus.request("a", pool="misbehaving", timeout_ms=50)
    assert bus.request("echo", {"n": 1}, pool="echo")["params"] == {"n": 1}


def test_killed_worker_fails_its_request_and_the_next_is_served(make_bus, pool):
    bus = make_bus(pool("echo_worker.py"))
    pid = bus.request("echo", pool="echo")["pid"]
    held = bus.stream_request("held", {"after": 1000}, pool="echo")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(TransportError, match="SIGKILL"):
        next(held)
    assert bus.request("echo", pool="echo")["pid"] != pid


def test_failed_start_raises_and_leaves_nothing(make_bus, pool):
    bad = pool("misbehaving_worker.py", "exit", protocol="mcp")
    bus = make_bus(bad, limits={"max_restarts": 0}, start=False)
    with pytest.raises(UnavailableError, match="cannot find my licence file"):
        bus.start()


def test_stop_and_destroy_are_idempotent_and_leave_no_thread(make_bus, pool):
    before = threading.enumerate()
    bus = make_bus(pool("echo_worker.py"))
    for _ in range(2):
        bus.stop()
        bus.destroy()
    assert threading.enumerate() == before


async def test_bus_is_usable_inside_a_running_loop(pool):
    with StdioBus(BusConfig(pools=[pool("echo_worker.py", id="echo")])) as bus:
        assert bus.request("echo", {"n": 1}, pool="echo")["params"] == {"n": 1}
