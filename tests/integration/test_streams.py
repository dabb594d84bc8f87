"""Streamed replies: each stream whole and in order, none mixed with another, each ended once."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from stdiobus import (
    OverflowPolicy,
    PoolConfig,
    RemoteError,
    ResourceExhaustedError,
    StreamEvent,
    StreamEventType,
    TimeoutError,
    TransportError,
)
from tests.interpreters import PYTHON

PROMPT = "Never  mix\twhat\nbelongs to others "


@pytest.fixture
def streaming(pool):
    """A function that makes a pool `stream_echo` of the streaming echo worker."""

    def make(*args, **fields):
        return pool("stream_echo_worker.py", *args, protocol="stdiobus", **fields)

    return make


async def collect(stream):
    """The chunks joined, and how the stream ended: the result or the exception."""
    chunks = []
    try:
        async for event in stream:
            if event.type == StreamEventType.RESULT:
                return "".join(chunks), event.data
            chunks.append(event.data)
    except Exception as error:
        return "".join(chunks), error
    return "".join(chunks), None


async def test_reply_arrives_word_by_word_and_then_the_result(make_bus, streaming):
    bus = await make_bus(streaming())
    events = [event async for event in bus.stream_request("stream_echo", {"prompt": "one two three"})]
    assert events[:-1] == [StreamEvent(StreamEventType.CHUNK, word) for word in ("one ", "two ", "three")]
    assert events[-1].type == "result"
    assert events[-1].data == {"stopReason": "end_turn", "words": 3}


async def test_request_to_a_streaming_worker_returns_the_joined_text(make_bus, streaming):
    bus = await make_bus(streaming())
    result = await bus.request("stream_echo", {"prompt": PROMPT})
    assert result == {"stopReason": "end_turn", "words": 6, "text": PROMPT}


async def test_parallel_streams_interleaved_on_one_worker_do_not_mix(make_bus, streaming):
    bus = await make_bus(streaming("--together", "20"))
    prompts = [f"stream {n} " * n for n in range(1, 21)]
    streams = [bus.stream_request("stream_echo", {"prompt": prompt}) for prompt in prompts]
    replies = await asyncio.gather(*(collect(stream) for stream in streams))
    assert [text for text, _ in replies] == prompts
    assert [result["words"] for _, result in replies] == [2 * n for n in range(1, 21)]


async def test_error_of_the_worker_ends_the_stream_after_its_chunks(make_bus, streaming):
    bus = await make_bus(streaming())
    text, error = await collect(bus.stream_request("stream_echo", {"prompt": "a b c", "fail_after": 2}))
    assert text == "a b "
    assert isinstance(error, RemoteError)
    assert error.rpc_code == -32000


async def test_death_of_the_worker_ends_the_stream_after_its_chunks(make_bus, streaming):
    bus = await make_bus(streaming())
    text, error = await collect(bus.stream_request("stream_echo", {"prompt": "a b c", "exit_after": 2}))
    assert text == "a b "
    assert isinstance(error, TransportError)
    assert "asked to exit" in str(error)


async def test_kill_in_the_middle_of_fifty_streams_ends_each_once_after_its_chunks(make_bus, streaming):
    bus = await make_bus(streaming("--together", "50"))
    pid = bus.get_workers()[0].pid
    prompts = [f"stream {n} " * 1000 for n in range(50)]
    streams = [bus.stream_request("stream_echo", {"prompt": prompt}) for prompt in prompts]
    first = [(await stream.__anext__()).data for stream in streams]
    os.kill(pid, signal.SIGKILL)
    replies = await asyncio.gather(*(collect(stream) for stream in streams))
    for prompt, start, (rest, end), stream in zip(prompts, first, replies, streams):
        assert prompt.startswith(start + rest)
        assert len(rest) < len(prompt) - len(start)
        assert isinstance(end, TransportError)
        assert "SIGKILL" in str(end)
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
    streams = [bus.stream_request("stream_echo", {"prompt": f"new {n}"}) for n in range(50)]
    replies = await asyncio.gather(*(collect(stream) for stream in streams))
    assert [text for text, _ in replies] == [f"new {n}" for n in range(50)]


# Streams 64 chunks of the size that is asked for to each of two requests, in turns; the second half
# when it is told to.
UNEVEN = r"""
import json, sys
requests = [json.loads(sys.stdin.readline()) for _ in range(2)]
def send(request, **fields):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "sessionId": request["sessionId"], **fields}) + "\n")
for n in range(64):
    if n == 32:
        sys.stdout.flush()
        sys.stdin.readline()
    for request in requests:
        content = {"type": "text", "text": str(n).rjust(request["params"]["size"])}
        update = {"sessionUpdate": "agent_message_chunk", "content": content}
        send(request, method="session/update", params={"update": update})
for request in requests:
    send(request, id=request["id"], result={})
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.parametrize(("size", "fits"), [(8 << 10, True), (64 << 10, False)])
async def test_slow_consumer_does_not_hold_back_another_on_the_same_worker(make_bus, size, fits):
    worker = PoolConfig(id="uneven", command=PYTHON, args=["-c", UNEVEN])
    bus = await make_bus(worker, limits={"max_output_queue": 1 << 20})
    slow = bus.stream_request("uneven", {"size": size})
    fast = bus.stream_request("uneven", {"size": 2})
    # All of the fast one is read before the first chunk of the other.
    for n in range(32):
        assert (await fast.__anext__()).data == str(n).rjust(2)
    await bus.hello()  # in order: the worker cannot be held, and that is known here now
    await bus.notify("go", pool="uneven")
    text, end = await collect(fast)
    assert text == "".join(str(n).rjust(2) for n in range(32, 64))
    assert end == {}
    text, end = await collect(slow)
    whole = "".join(str(n).rjust(size) for n in range(64))
    if fits:
        assert (text == whole, end) == (True, {})
    else:
        assert (1 << 19) < len(text) < len(whole)
        assert whole.startswith(text)
        assert isinstance(end, ResourceExhaustedError)
        assert "max_output_queue" in str(end)


async def test_stop_of_the_bus_ends_the_stream(make_bus, streaming):
    bus = await make_bus(streaming("--together", "2"))  # waits for a second prompt
    stream = asyncio.ensure_future(collect(bus.stream_request("stream_echo", {"prompt": "a b"})))
    await asyncio.sleep(0)  # the request is on its way
    await bus.stop(0)
    text, error = await stream
    assert text == ""
    assert isinstance(error, TransportError)


async def test_deadline_ends_the_stream(make_bus, streaming):
    bus = await make_bus(streaming("--together", "2"))
    text, error = await collect(bus.stream_request("stream_echo", {"prompt": "a b"}, timeout_ms=50))
    assert text == ""
    assert isinstance(error, TimeoutError)


async def test_leaving_the_loop_early_cancels_the_request(make_bus, streaming):
    bus = await make_bus(streaming())
    stream = bus.stream_request("stream_echo", {"prompt": "word " * 1000})
    async for event in stream:
        assert event.data == "word "
        break
    await stream.aclose()
    assert (await bus.request("stream_echo", {"prompt": "next"}))["text"] == "next"


async def test_subscriptions_are_independent_and_end_when_closed(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"), pool("echo_worker.py", id="other"))
    everything = bus.subscribe("echo", overflow_policy=OverflowPolicy.DROP_OLDEST)
    latest = bus.subscribe("echo", overflow_policy=OverflowPolicy.DROP_OLDEST, max_queue=2)
    first = bus.subscribe("echo", overflow_policy=OverflowPolicy.DROP_NEWEST, max_queue=2)
    await bus.request("echo", {"emit": 5}, pool="echo")
    await bus.request("echo", {"emit": 3}, pool="other")
    expected = {everything: [0, 1, 2, 3, 4], latest: [3, 4], first: [0, 1]}
    for subscription, numbers in expected.items():
        bus.unsubscribe(subscription)
        bus.unsubscribe(subscription)
        assert [note["params"]["n"] async for note in subscription] == numbers
        assert subscription.dropped == 5 - len(numbers)


async def test_subscriptions_select_methods_and_a_slow_one_disturbs_nobody(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"), pool("echo_worker.py", id="other"))
    ticks = bus.subscribe(methods=["tick"])
    notified = bus.subscribe("echo", methods=["echo/notified"])
    slow = bus.subscribe("echo", max_queue=1)
    strict = bus.subscribe("echo", overflow_policy=OverflowPolicy.CLOSE, max_queue=10)
    counted, a_hundred_more = 0, asyncio.Event()

    async def count():
        nonlocal counted
        async for _ in ticks:
            counted += 1
            if counted % 100 == 0:
                a_hundred_more.set()

    counting = asyncio.ensure_future(count())
    await bus.notify("greet", pool="echo")
    for _ in range(20):  # more than the queue of `ticks` holds, were it not read
        await bus.request("echo", {"emit": 100}, pool="echo")
        await a_hundred_more.wait()
        a_hundred_more.clear()
    await bus.request("echo", {"emit": 5}, pool="other")
    for subscription in (ticks, notified, slow):
        bus.unsubscribe(subscription)
    await counting
    assert (counted, ticks.dropped) == (2005, 0)
    assert [note["method"] async for note in notified] == ["echo/notified"]
    assert [note["params"] async for note in slow] == [{"n": 99}]
    assert slow.dropped == 2000
    assert strict.closed
    assert [note["method"] async for note in strict] == ["echo/notified"] + ["tick"] * 9
    assert strict.dropped == 1
