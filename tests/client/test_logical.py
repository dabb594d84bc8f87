"""Logical clients over a scripted backend."""

from __future__ import annotations

import asyncio
import json

import pytest

from stdiobus import InvalidArgumentError, InvalidStateError, ResourceExhaustedError, TransportError


def deliver(backend, *entries):
    """Lines in one batch: (client, message) each."""
    lines = [json.dumps(message).encode() for _, message in entries]
    records = [(len(line), 1, client, 0) for line, (client, _) in zip(lines, entries)]
    backend.sink.batch(b"".join(line + b"\n" for line in lines), iter(records))


@pytest.fixture
def opened(backend, turn):
    """`await opened(bus)`: a client with the number 4."""

    async def make(bus, number=4):
        opening = asyncio.ensure_future(bus.open_client("mcp"))
        await turn()
        asked = backend.messages[-1]
        assert (asked["method"], asked["params"]) == ("stdio_bus/open", {"pool": "mcp"})
        backend.deliver({"id": asked["id"], "result": {"client": number}})
        return await opening

    return make


async def test_messages_go_out_and_come_in_apart_from_those_of_the_bus(bus, backend, opened, turn):
    client = await opened(bus)
    assert (client.pool, client.client_id) == ("mcp", 4)
    request = asyncio.ensure_future(bus.request("m"))
    await turn()
    await client.send({"jsonrpc": "2.0", "id": 1, "method": "x"})
    assert backend.sent_by[4] == [b'{"jsonrpc":"2.0","id":1,"method":"x"}\n']
    number = backend.messages[-1]["id"]
    waiting = asyncio.ensure_future(client.receive())
    deliver(backend, (4, {"id": 1, "result": "its"}), (0, {"id": number, "result": "ours"}), (5, {"id": 1}))
    assert await waiting == {"id": 1, "result": "its"}
    assert await request == "ours"


async def test_closing_tells_the_bus_and_delivers_the_rest(bus, backend, opened, turn):
    async with await opened(bus) as client:
        deliver(backend, (4, {"method": "last"}))
    await client.close()
    deliver(backend, (4, {"method": "late"}))
    assert await client.receive() == {"method": "last"}
    assert await client.receive() is None
    with pytest.raises(InvalidStateError, match="is closed"):
        await client.send({})
    await turn()
    closed = [each["params"] for each in backend.messages if each["method"] == "stdio_bus/close"]
    assert closed == [{"client": 4}]


async def test_client_that_does_not_read_is_closed_with_an_error(small_bus, backend, opened):
    client = await opened(small_bus)
    for _ in range(3):
        deliver(backend, (4, {"text": "x" * 600}))
    assert await client.receive()
    with pytest.raises(ResourceExhaustedError, match="unread"):
        await client.receive()
    with pytest.raises(ResourceExhaustedError, match="unread"):
        await client.send({})


async def test_end_of_the_bus_ends_its_clients(bus, backend, opened):
    client = await opened(bus)
    waiting = asyncio.ensure_future(client.receive())
    await bus.stop()
    with pytest.raises(TransportError):
        await waiting


async def test_opening_that_is_given_up_is_undone(bus, backend, turn):
    opening = asyncio.ensure_future(bus.open_client("mcp"))
    await turn()
    opening.cancel()
    await turn()
    backend.deliver({"id": backend.messages[-1]["id"], "result": {"client": 4}})
    await turn()
    assert backend.messages[-1]["method"] == "stdio_bus/close"
    with pytest.raises(asyncio.CancelledError):
        await opening


async def test_bad_arguments(bus, opened):
    with pytest.raises(InvalidArgumentError, match="there is no pool"):
        await bus.open_client("nope")
    client = await opened(bus)
    with pytest.raises(InvalidArgumentError, match="message: not JSON data"):
        await client.send({"a": object()})
