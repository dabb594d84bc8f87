"""The examples of the README and of the design page, as they are written there, and those of `examples/`.

Of the former only the commands are ours: `npx` and `my-agent` on PATH are small scripts that run test
workers. (`examples/demo.py` is run by `scripts/demo`.)
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKERS = Path(__file__).parents[1] / "workers"
EXAMPLES = Path(__file__).parents[2] / "examples"


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


# ---- examples/ -----------------------------------------------------------------------------------


def run(example: str, *arguments: str, input: str = "") -> str:
    """What it prints."""
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    done = subprocess.run(command, input=input, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_toolbox_lists_the_tools_of_servers_that_start_and_calls_one(tmp_path, time_server):
    servers = {
        "time": {"command": sys.executable, "args": ["-m", "mcp_server_time"]},
        "bad": {"command": "no-such-program-anywhere"},
    }
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    listed = run("mcp_toolbox.py", str(path))
    assert "bad: not there: pool 'bad': no worker can be started" in listed
    assert "time/convert_time: " in listed
    arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    assert "21:00" in run("mcp_toolbox.py", str(path), "time/convert_time", json.dumps(arguments))


@pytest.mark.slow
def test_chat_asks_for_permission_and_goes_on(node):
    agent = node("@agentclientprotocol/sdk/dist/examples/agent.js", id="agent")
    said = run("acp_chat.py", agent.command, *agent.args, input="change it\n2\n\n")
    assert "I'll help you with that." in said
    assert "[Reading project files]" in said
    assert "The agent wants to: Modifying critical configuration file" in said
    assert "  2  Skip this change" in said
    assert "I'll skip the configuration update." in said


def test_fastmcp_clients_share_two_processes(time_server):
    pytest.importorskip("fastmcp", exc_type=ImportError)
    said = run("fastmcp_pool.py")
    assert "09:00 UTC is 18:00 in Tokyo" in said
    assert "10 clients, 2 processes" in said


def test_notebook_runs_cell_by_cell(time_server):
    said = run("notebook.py")
    assert "convert_time: source_timezone, time, target_timezone" in said
    assert "Asia/Tokyo 21:00" in said
    assert "refused with -32601" in said
    assert "another process: True" in said


@pytest.mark.busy_loop
def test_application_shares_one_bus_among_its_requests(time_server, monkeypatch):
    testclient = pytest.importorskip("fastapi.testclient", exc_type=ImportError)
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLES / "fastapi_app.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    with testclient.TestClient(example.app) as client:
        assert client.get("/tools/time").json() == ["get_current_time", "convert_time"]
        answer = client.post("/tools/time/convert_time", json=arguments)
        assert "21:00" in answer.json()["content"][0]["text"]
        lines = client.post("/stream/time/convert_time", json=arguments).text
        assert lines.startswith("result: ")
        assert client.get("/tools/other").status_code == 503
        assert client.get("/health").json().keys() == {"time/1", "time/2"}
