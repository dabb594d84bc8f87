"""Streamed replies: each stream whole and in order, none mixed with another, each ended once."""

from __future__ import annotations

import asyncio

import pytest

from stdiobus import OverflowPolicy, RemoteError, StreamEvent, StreamEventType, TimeoutError, TransportError

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
