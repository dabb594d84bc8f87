"""Handles: a bus with arguments filled in."""

from __future__ import annotations

import pytest

from stdiobus import InvalidArgumentError, InvalidStateError


async def test_pool_handle_binds_its_pool(bus, backend, turn):
    handle = bus.pool("mcp")
    stream = handle.stream_request("s", session_id="x")
    await handle.notify("n", [1])
    await turn()
    sent = backend.messages
    assert [(each["method"], each["pool"]) for each in sent] == [("s", "mcp"), ("n", "mcp")]
    assert sent[0]["sessionId"] == "x"
    await stream.aclose()
    assert handle.subscribe(methods=["a"]).pool == "mcp"
    assert handle.session().pool == "mcp"
    assert [worker.pool for worker in handle.workers()] == ["mcp"] * len(handle.workers())


async def test_session_handle_carries_one_id(bus, backend, turn):
    async with bus.session(pool="own") as session:
        assert session.id.startswith(bus.client_session_id)
        await session.notify("a")
        await session.notify("b", pool="mcp")
        stream = session.stream_request("c")
        await turn()
        await stream.aclose()
    sent = backend.messages
    assert {each.get("sessionId") for each in sent[:3]} == {session.id}
    assert [each["pool"] for each in sent[:3]] == ["own", "mcp", "own"]
    with pytest.raises(InvalidStateError, match="is closed"):
        await session.notify("d")


def test_sessions_have_different_names_unless_given_one(bus):
    assert bus.session().id != bus.session().id
    with bus.session("mine") as session:
        assert session.id == "mine"


@pytest.mark.parametrize("wrong", ["", 7])
def test_bad_arguments(bus, wrong):
    with pytest.raises(InvalidArgumentError, match="session_id"):
        bus.session(wrong)
    with pytest.raises(InvalidArgumentError, match="there is no pool"):
        bus.pool("nope")
    with pytest.raises(InvalidArgumentError, match="there is no pool"):
        bus.session(pool="nope")
