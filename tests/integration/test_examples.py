"""The examples of the README and of the design page, as they are written there.

Only the commands are ours: `npx` and `my-agent` on PATH are small scripts that run test workers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

WORKERS = Path(__file__).parents[1] / "workers"


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """`npx` and `my-agent`, first on PATH."""
    for name, script in (("npx", "mcp_strict_worker.py"), ("my-agent", "stream_echo_worker.py")):
        # The MCP server's package and folder, which npx would take, say nothing to the test worker.
        (tmp_path / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{WORKERS / script}"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(params=["auto", "native", "subprocess"])
def backend(request, monkeypatch):
    """The examples name no backend: auto is told by the environment what to take."""
    if request.param == "auto":
        monkeypatch.delenv("STDIOBUS_BACKEND", raising=False)
    else:
        monkeypatch.setenv("STDIOBUS_BACKEND", request.param)
    return request.param


async def test_first_example_asks_one_pool_and_streams_from_another(commands, backend, capsys):
    from stdiobus import AsyncStdioBus, BusConfig, PoolConfig, StreamEventType

    # fmt: off
    config = BusConfig(pools=[
        PoolConfig(id="files", command="npx", args=["-y", "@modelcontextprotocol/server-filesystem", "."],
                   protocol="mcp", instances=2),
        PoolConfig(id="agent", command="my-agent", protocol="acp"),
    ])
    async with AsyncStdioBus(config) as bus:
        tools = await bus.request("tools/list", pool="files")
        async for event in bus.stream_request("agent", {"prompt": "hi"}):   # first argument: pool id or method  # noqa: E501
            if event.type == StreamEventType.CHUNK:
                print(event.data, end="", flush=True)
            elif event.type == StreamEventType.RESULT:
                final = event.data
        # fmt: on
        if backend != "auto":
            assert bus.get_backend_type() == backend
    assert "echo" in [tool["name"] for tool in tools["tools"]]
    assert capsys.readouterr().out == "hi"
    assert final == {"stopReason": "end_turn", "words": 1}


async def test_second_example_reads_notifications_from_a_subscription(commands, backend):
    from stdiobus import AsyncStdioBus, BusConfig, OverflowPolicy, PoolConfig

    received = []

    def process(notification):
        received.append(notification["params"]["update"]["content"]["text"])
        if len(received) == 3:
            bus.unsubscribe(sub)

    config = BusConfig(pools=[PoolConfig(id="agent", command="my-agent")])
    async with AsyncStdioBus(config) as bus:
        sub = bus.subscribe("agent", overflow_policy=OverflowPolicy.DROP_OLDEST)
        await bus.request("agent", {"prompt": "three more words"})
        async for notification in sub:
            process(notification)
        bus.unsubscribe(sub)
    assert received == ["three ", "more ", "words"]


def test_third_example_builds_a_native_bus_with_a_listener():
    from stdiobus import BusConfig, ListenMode, NativeOptions, PoolConfig, StdioBusBuilder

    config = BusConfig(pools=[PoolConfig(id="agent", command="my-agent")])
    # fmt: off
    bus = (StdioBusBuilder().config(config).backend("native")
           .native_options(NativeOptions(listen_mode=ListenMode.TCP, tcp_port=9000)).build_sync())
    # fmt: on
    counts = bus.get_worker_count(), bus.get_client_count(), bus.get_listen_mode()
    bus.destroy()
    assert counts == (0, 0, ListenMode.TCP)


@pytest.mark.parametrize("chosen", ["subprocess"])
def test_listener_on_another_backend_is_refused_with_field_reason_and_remedy(chosen):
    from stdiobus import BusConfig, InvalidArgumentError, ListenMode, NativeOptions, PoolConfig, StdioBus

    config = BusConfig(pools=[PoolConfig(id="agent", command="my-agent")])
    with pytest.raises(InvalidArgumentError) as caught:
        StdioBus(config, backend=chosen, native=NativeOptions(listen_mode=ListenMode.TCP, tcp_port=9000))
    for word in ("listen_mode", chosen, "native"):
        assert word in str(caught.value)
