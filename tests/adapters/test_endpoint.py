"""The endpoint of the adapters over a client of ours, and adapters without their libraries."""

from __future__ import annotations

import importlib
import sys

import pytest

from stdiobus import InvalidStateError, TransportError
from stdiobus.adapters.endpoint import Endpoint
from stdiobus.client.logical import LogicalClient


@pytest.fixture
def client():
    return LogicalClient("files", 4, 1000, lambda number, line: None, lambda number: None)


async def test_what_is_under_way_when_the_bus_ends_is_answered_with_the_reason(client):
    endpoint = Endpoint(client)
    for number in (1, "two", 3):
        await endpoint.send({"jsonrpc": "2.0", "id": number, "method": "m"})
    await endpoint.send({"jsonrpc": "2.0", "method": "notification"})
    await endpoint.send({"jsonrpc": "2.0", "id": 9, "result": "an answer of the client's"})
    client.offer(b'{"jsonrpc":"2.0","id":"two","method":"a question, whose id is the server\'s"}')
    client.offer(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    client.ended(TransportError("the bus was destroyed", {"worker": 2}))
    assert (await endpoint.receive())["method"].startswith("a question")
    assert await endpoint.receive() == {"jsonrpc": "2.0", "id": 1, "result": {}}
    for number in ("two", 3):
        answer = await endpoint.receive()
        assert answer["id"] == number
        assert answer["error"]["message"] == "the bus was destroyed"
        assert answer["error"]["data"] == {"source": "stdio_bus", "pool": "files", "worker": 2}
    assert await endpoint.receive() is None
    with pytest.raises(TransportError):
        await endpoint.send({"jsonrpc": "2.0", "id": 4, "method": "m"})


async def test_what_is_under_way_when_it_is_closed_is_its_own_business(client):
    endpoint = Endpoint(client)
    await endpoint.send({"jsonrpc": "2.0", "id": 1, "method": "m"})
    await endpoint.close()
    assert await endpoint.receive() is None
    with pytest.raises(InvalidStateError, match="closed"):
        await endpoint.send({"jsonrpc": "2.0", "id": 2, "method": "m"})


@pytest.mark.parametrize("extra", ["mcp", "fastmcp", "acp"])
def test_without_the_library_an_adapter_says_what_to_install(extra, monkeypatch):
    for name in [*sys.modules]:
        if name.split(".")[0] in ("mcp", "mcp_types", "fastmcp", "acp"):
            monkeypatch.setitem(sys.modules, name, None)
    for name in ("mcp", "fastmcp", "acp"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"stdiobus.adapters.{name}", raising=False)
    with pytest.raises(ImportError, match=rf'pip install "stdiobus\[{extra}\]"') as raised:
        importlib.import_module(f"stdiobus.adapters.{extra}")
    assert f"stdiobus.adapters.{extra} needs the package" in str(raised.value)
