"""Streams over a scripted backend: whole, in order, ended exactly once."""

from __future__ import annotations

import asyncio
import gc

import pytest

from stdiobus import (
    RemoteError,
    ResourceExhaustedError,
    StdioBusError,
    StreamEvent,
    StreamEventType,
    TimeoutError,
    TransportError,
)

BUSY = {"code": -32084, "message": "others", "data": {"source": "stdio_bus", "reason": "overloaded"}}


def chunk(text, number=1, bus=None):
    params = {"update": {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}}
    return {"method": "session/update", "requestId": number, "params": params}


async def drain(stream):
    """The data of the events before the error, and that error."""
    events = []
    try:
        async for event in stream:
            events.append(event.data)
    except StdioBusError as error:
        assert [event async for event in stream] == []
        return events, error
    pytest.fail("the stream ended without an error")


def cancelled(backend):
    return [m["params"]["id"] for m in backend.messages if m["method"] == "stdio_bus/cancel"]


async def test_chunks_then_exactly_one_result(bus, backend, turn):
    stream = bus.stream_request("m", {"a": 1})
    await turn()
    backend.deliver(chunk("a"), chunk("b"))
    assert await stream.__anext__() == StreamEvent(StreamEventType.CHUNK, "a")
    backend.deliver({"id": 1, "result": {"n": 2}})
    assert [event async for event in stream] == [
        StreamEvent(StreamEventType.CHUNK, "b"),
        StreamEvent(StreamEventType.RESULT, {"n": 2}),
    ]
    assert [event async for event in stream] == []
    await stream.aclose()
    assert cancelled(backend) == []


async def test_chunk_wakes_a_waiting_consumer(bus, backend, turn):
    stream = bus.stream_request("m")
    waiting = asyncio.ensure_future(stream.__anext__())
    await turn()
    assert not waiting.done()
    backend.deliver(chunk("a"))
    assert (await waiting).data == "a"
    await stream.aclose()


async def test_many_streams_do_not_mix(bus, backend, turn):
    streams = [bus.stream_request("m", {"n": n}) for n in range(10)]
    await turn()
    sessions = [message["sessionId"] for message in backend.messages]
    for step in range(3):
        backend.deliver(
            *(
                {**chunk(f"{n}.{step}", None), "sessionId": sid}
                for n, sid in reversed(list(enumerate(sessions)))
            )
        )
    backend.deliver(*({"id": n, "result": n} for n in range(1, 11)))
    for n, stream in enumerate(streams):
        assert [event.data async for event in stream] == [f"{n}.0", f"{n}.1", f"{n}.2", n + 1]


async def test_error_comes_after_the_chunks_exactly_once(bus, backend, turn):
    stream = bus.stream_request("m")
    await turn()
    backend.deliver(chunk("a"), {"id": 1, "error": {"code": 1, "message": "no"}})
    events, error = await drain(stream)
    assert events == ["a"]
    assert isinstance(error, RemoteError)


async def test_deadline_comes_after_the_chunks(bus, backend, turn):
    stream = bus.stream_request("m", timeout_ms=20)
    await turn()
    backend.deliver(chunk("a"))
    events, error = await drain(stream)
    assert (events, type(error)) == (["a"], TimeoutError)
    await turn()
    assert cancelled(backend) == [1]


async def test_stop_comes_after_the_chunks(bus, backend, turn):
    stream = bus.stream_request("m")
    await turn()
    backend.deliver(chunk("a"))
    await bus.stop()
    events, error = await drain(stream)
    assert (events, type(error)) == (["a"], TransportError)


@pytest.mark.parametrize("leave", ["break", "aclose", "forget"])
async def test_leaving_early_cancels_the_request(bus, backend, turn, leave):
    stream = bus.stream_request("m")
    await turn()
    backend.deliver(chunk("a"), chunk("b"))
    if leave == "break":
        async for _ in stream:
            break
    if leave == "aclose":
        await stream.aclose()
        await stream.aclose()
        assert [event async for event in stream] == []
    del stream
    gc.collect()
    await turn()
    assert cancelled(backend) == [1]


async def test_cancelled_consumer_cancels_the_request(bus, backend, turn):
    stream = bus.stream_request("m")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(stream.__anext__(), 0.01)
    await turn()
    assert cancelled(backend) == [1]
    assert [event async for event in stream] == []


async def test_slow_consumer_ends_with_an_error_and_not_in_silence(small_bus, backend, turn):
    stream = small_bus.stream_request("m")
    await turn()
    backend.deliver(*(chunk("x" * 200) for _ in range(3)))
    await turn()
    [held] = [each for each in backend.messages if each["method"] == "stdio_bus/pause"]
    backend.deliver({"id": held["id"], "error": BUSY})
    await turn()
    backend.deliver(*(chunk("x" * 200) for _ in range(7)), {"id": 1, "result": 1})
    events, error = await drain(stream)
    assert 3 <= len(events) < 10
    assert isinstance(error, ResourceExhaustedError)


async def test_slow_consumer_alone_on_its_worker_loses_nothing(small_bus, backend, turn):
    stream = small_bus.stream_request("m")
    await turn()
    backend.deliver(*(chunk("x" * 200) for _ in range(3)))
    await turn()
    [held] = [each for each in backend.messages if each["method"] == "stdio_bus/pause"]
    backend.deliver({"id": held["id"], "result": {}})
    await turn()
    backend.deliver(*(chunk("x" * 200) for _ in range(7)))
    for _ in range(10):
        assert (await stream.__anext__()).data == "x" * 200
    await turn()
    assert backend.messages[-1]["method"] == "stdio_bus/resume"
    backend.deliver({"id": 1, "result": 1})
    assert (await stream.__anext__()).result == 1


async def test_fast_consumer_gets_more_than_the_limit(small_bus, backend, turn):
    stream = small_bus.stream_request("m")
    await turn()
    for _ in range(20):
        backend.deliver(chunk("x" * 400))
        assert (await stream.__anext__()).data == "x" * 400
    await stream.aclose()


async def test_text_of_a_plain_request_is_bounded_too(small_bus, backend, turn):
    request = asyncio.ensure_future(small_bus.request("m"))
    await turn()
    backend.deliver(*(chunk("x" * 400) for _ in range(4)))
    with pytest.raises(ResourceExhaustedError, match="max_output_queue"):
        await request
    await turn()
    assert cancelled(backend) == [1]


async def test_stream_keeps_its_bus_alive(backend, config, turn):
    from stdiobus import AsyncStdioBus

    bus = AsyncStdioBus(config)
    await bus.start()
    stream = bus.stream_request("m")
    del bus
    gc.collect()
    await turn()
    assert backend.finalized == []
    backend.deliver({"id": 1, "result": 1})
    assert [event.data async for event in stream] == [1]
