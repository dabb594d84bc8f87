"""The synchronous client over a scripted backend: threads, ends, iterators."""

from __future__ import annotations

import gc
import inspect
import json
import queue
import threading

import pytest

from stdiobus import AsyncStdioBus, InvalidStateError, RemoteError, StdioBus, TimeoutError, TransportError
from stdiobus.client import private_loop


@pytest.fixture
def echo(backend):
    """`backend` answering each request at once: error for "fail"; for "hold" it sets `held` only."""
    record = backend.send

    def send(data):
        record(data)
        loop = backend.sink.loop
        for line in data.split(b"\n")[:-1]:
            message = json.loads(line)
            method = message.get("method", "hold")
            if method == "hold":
                backend.held.set()
            if "id" not in message or method == "hold":
                continue
            number = message["id"]
            outcome = {"result": {"params": message.get("params")}}
            if message["method"] == "fail":
                outcome = {"error": {"code": 1, "message": "no"}}
            update = {"update": {"content": {"text": "word"}}}
            if message["method"] == "stream":
                chunk = {"method": "session/update", "sessionId": message["sessionId"], "params": update}
                loop.call_soon(backend.deliver, chunk, chunk)
            if message["method"] == "emit":
                loop.call_soon(backend.deliver, {"method": "tick", "params": {"n": 1}})
            loop.call_soon(backend.deliver, {"id": number, **outcome})

    backend.held = threading.Event()
    backend.send = send
    return backend


@pytest.fixture
def sync_bus(echo, config):
    with StdioBus(config) as bus:
        yield bus


def test_every_method_of_the_asyncio_client_is_there_with_the_same_arguments():
    def arguments(kind, name):
        member = inspect.getattr_static(kind, name)
        if isinstance(member, property):
            return "property"
        return [
            (each.name, each.kind, each.default) for each in inspect.signature(member).parameters.values()
        ]

    names = [name for name in vars(AsyncStdioBus) if not name.startswith("_")]
    assert len(names) > 20
    for name in ["__init__", *names]:
        assert arguments(StdioBus, name) == arguments(AsyncStdioBus, name), name


def test_calls(sync_bus, echo):
    assert sync_bus.request("m", {"a": 1}) == {"params": {"a": 1}}
    sync_bus.notify("n")
    assert sync_bus.send('{"method": "raw"}')
    assert sync_bus.is_running()
    assert sync_bus.get_worker_count() == 3
    assert [message["method"] for message in echo.messages] == ["m", "n", "raw"]
    with pytest.raises(RemoteError):
        sync_bus.request("fail")
    with pytest.raises(TimeoutError):
        sync_bus.request("hold", timeout_ms=10)


def test_stream_is_an_iterator(sync_bus, echo):
    stream = sync_bus.stream_request("stream")
    assert [event.data for event in stream] == ["word", "word", {"params": None}]
    assert list(stream) == []
    for _ in sync_bus.stream_request("stream"):
        break
    left = sync_bus.stream_request("hold")
    left.close()
    left.close()
    sync_bus.request("m")
    assert [m["params"]["id"] for m in echo.messages if m["method"] == "stdio_bus/cancel"] == [3]


def test_subscription_is_an_iterator_that_outlives_the_bus(sync_bus):
    subscription, other = sync_bus.subscribe(), sync_bus.subscribe_notifications(max_queue=5)
    sync_bus.request("emit")
    sync_bus.unsubscribe(other)
    sync_bus.unsubscribe(other)
    sync_bus.stop()
    assert [message["method"] for message in subscription] == ["tick"]
    assert [message["method"] for message in other] == ["tick"]
    assert (subscription.dropped, subscription.closed, subscription.pool) == (0, True, None)


def test_callbacks_run_on_the_private_thread_and_may_not_call_the_bus(sync_bus):
    outcomes = []

    @sync_bus.on_notification
    def told(_):
        outcomes.append(threading.current_thread().name)
        try:
            sync_bus.request("m")
        except InvalidStateError as error:
            outcomes.append(str(error))

    sync_bus.request("emit")
    assert outcomes[0] == "stdiobus"
    assert "would wait for itself" in outcomes[1]


@pytest.mark.parametrize("end", ["stop", "destroy"])
def test_end_releases_a_thread_that_waits(sync_bus, echo, end):
    caught = []

    def wait():
        try:
            sync_bus.request("hold")
        except TransportError as error:
            caught.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    assert echo.held.wait(20)
    getattr(sync_bus, end)()
    thread.join(5)
    assert caught
    assert caught[0].startswith("hold: the bus was")


def test_ends_are_idempotent_and_leave_no_thread(echo, config):
    before = threading.enumerate()
    bus = StdioBus(config)
    bus.start()
    bus.start()
    for _ in range(2):
        bus.stop(1)
        bus.destroy()
    assert threading.enumerate() == before
    with pytest.raises(InvalidStateError, match="stopped"):
        bus.request("m")
    with pytest.raises(InvalidStateError, match="stopped"):
        bus.start()


def test_bus_that_was_never_started(echo, config):
    bus = StdioBus(config)
    with pytest.raises(InvalidStateError, match="call start"):
        bus.request("m")
    with pytest.raises(InvalidStateError, match="call start"):
        next(bus.subscribe())
    bus.stop()
    bus.destroy()


def test_failed_start_leaves_no_thread(backend, config):
    before = threading.enumerate()
    backend.start_error = TransportError("no")
    bus = StdioBus(config)
    with pytest.raises(TransportError):
        bus.start()
    assert threading.enumerate() == before


def test_garbage_bus_ends_its_thread_and_backend(echo, config):
    before = threading.enumerate()
    bus = StdioBus(config)
    bus.start()
    del bus
    gc.collect()
    assert threading.enumerate() == before
    assert "destroy" in echo.calls


def test_interrupted_call_is_cancelled(sync_bus, echo, monkeypatch):
    def interrupted(call):
        monkeypatch.undo()
        assert echo.held.wait(20)
        raise KeyboardInterrupt

    monkeypatch.setattr(private_loop._Call, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sync_bus.request("hold")
    sync_bus.request("m")
    assert any(message["method"] == "stdio_bus/cancel" for message in echo.messages)


def test_interrupt_before_a_call_is_on_its_way_leaves_nothing(sync_bus, echo, monkeypatch):
    def interrupted(*_):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(sync_bus._loop._thread._loop, "call_soon_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sync_bus.request("hold")
    gc.collect()  # a coroutine that was made and never awaited would be reported here
    assert sync_bus.request("m") == {"params": None}
    assert [message["method"] for message in echo.messages] == ["m"]


def test_call_that_comes_after_the_last_turn_of_the_loop_is_refused(sync_bus, monkeypatch):
    thread, caught, on_its_way = sync_bus._loop._thread, [], threading.Event()
    loop = thread._loop
    close, schedule = loop.close, loop.call_soon_threadsafe

    def call():
        try:
            thread.run(sync_bus._bus.request, "m")
        except InvalidStateError as error:
            caught.append(str(error))

    def schedule_and_tell(callback, *args):
        schedule(callback, *args)
        on_its_way.set()

    def close_after_a_late_call():
        monkeypatch.setattr(loop, "call_soon_threadsafe", schedule_and_tell)
        caller.start()
        on_its_way.wait(10)
        close()

    caller = threading.Thread(target=call, daemon=True)
    monkeypatch.setattr(loop, "close", close_after_a_late_call)
    sync_bus.stop()
    caller.join(10)
    call()  # and one that finds the loop closed
    assert [("stopped" in message) for message in caught] == [True, True]


async def test_bus_works_inside_a_running_loop(echo, config):
    with StdioBus(config) as bus:
        assert bus.request("m") == {"params": None}


def test_what_is_registered_is_called_on_the_private_thread(sync_bus, echo):
    calls = queue.Queue()

    def note(what):
        return lambda *arguments: calls.put((what, threading.current_thread().name, *arguments))

    sync_bus.on_message(note("message"))
    sync_bus.on_notification(note("notification"))
    sync_bus.on_worker_event(note("event"))
    sync_bus._loop.call(lambda: (echo.event("own", 9, "ready"), echo.deliver({"method": "tick"})))
    three = [calls.get(timeout=20) for _ in range(3)]
    called = {what: (thread, argument) for what, thread, argument in three}
    assert called.keys() == {"message", "notification", "event"}
    assert {thread for thread, _ in called.values()} == {"stdiobus"}
    assert called["event"][1].worker_id == 9
    assert json.loads(called["message"][1]) == json.loads(called["notification"][1]) == {"method": "tick"}


def test_handler_may_be_registered_by_decoration(sync_bus, echo):
    calls = queue.Queue()

    @sync_bus.on_request("ask")
    def answer(params, _):
        calls.put((params, threading.current_thread().name))

    sync_bus._loop.call(lambda: echo.deliver({"id": "w1", "method": "ask", "params": [1]}))
    params, thread = calls.get(timeout=20)
    assert params == [1]
    assert thread not in ("stdiobus", threading.current_thread().name)


def test_unsubscribed_subscription_ends(sync_bus):
    subscription = sync_bus.subscribe()
    sync_bus.unsubscribe(subscription)
    assert list(subscription) == []
