"""What users of stdio servers complain about most, one test each: none of it happens here.

Each plays the situation with a server that is unforgiving about it. More of every kind is in the other
files: deaths in test_worker_death.py, ends of hosts in test_lifecycle.py, sizes in test_messages.py.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from stdiobus import PoolConfig, TransportError, UnavailableError

pytestmark = [pytest.mark.parametrize("backend", ["native", "subprocess"]), pytest.mark.slow]
PATIENCE = 30


def call(tool: str, **arguments: Any) -> dict:
    return {"name": tool, "arguments": arguments}


def text(result: dict) -> str:
    return result["content"][0]["text"]


@pytest.fixture
def strict(pool) -> PoolConfig:
    """An MCP server that exits at what it should not be sent; its tool `seen` tells its pid."""
    return pool("mcp_strict_worker.py", "--on-violation", "exit", id="server", protocol="mcp")


async def seen(bus: Any) -> dict:
    return (await bus.request("tools/call", call("seen"), pool="server"))["structuredContent"]


async def hold(bus: Any) -> asyncio.Future:
    """A call that the server keeps."""
    stream = bus.stream_request("tools/call", call("hold"), pool="server")
    await asyncio.wait_for(stream.__anext__(), PATIENCE)  # its progress: the server has it
    return asyncio.ensure_future(stream.__anext__())


async def test_no_restart_after_a_crash(make_bus, strict):
    bus = await make_bus(strict)
    for restarts in (1, 2):
        pid = (await seen(bus))["pid"]
        held = await hold(bus)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(TransportError):
            await held
        assert (await seen(bus))["pid"] != pid  # which has had its handshake, or it would exit
        assert bus.get_workers()[0].restarts == restarts


async def test_calls_that_hang_when_the_process_died(make_bus, strict):
    bus = await make_bus(strict)
    held = [await hold(bus) for _ in range(20)]
    os.kill((await seen(bus))["pid"], signal.SIGKILL)
    started = time.monotonic()
    ended = await asyncio.wait_for(asyncio.gather(*held, return_exceptions=True), PATIENCE)
    assert time.monotonic() - started < 2, "long before any deadline"
    assert all(isinstance(error, TransportError) for error in ended)


# A host that tells the pids of its server and of the shell around it, and waits for its end.
HOST = """
import sys, time
from stdiobus import BusConfig, PoolConfig, StdioBus

# As npx does: the server is the child of what is run.
script = 'python=$1; shift; "$python" "$@"; exit'
pool = PoolConfig(id="server", command="sh", args=["-c", script, "sh", *sys.argv[2:]], protocol="mcp")
bus = StdioBus(BusConfig([pool]), backend=sys.argv[1])
bus.start()
answer = bus.request("tools/call", {"name": "seen"}, pool="server")
print(answer["structuredContent"]["pid"], bus.get_workers()[0].pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_orphans_left_behind(backend, strict, gone, ending):
    command = [sys.executable, "-c", HOST, backend, strict.command, *strict.args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as host:
        pids = [int(pid) for pid in host.stdout.readline().split()]
        host.send_signal(ending)
        host.communicate()
    assert len(set(pids)) == 2
    assert all(gone(pid, PATIENCE) for pid in pids)


async def test_n_hosts_times_m_servers_of_memory(make_bus, strict):
    bus = await make_bus(strict, replace(strict, id="other"))

    async def host(pool: str) -> int:
        async with await bus.open_client(pool) as client:
            start = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
            for number, method, params in [(0, "initialize", start), (1, "tools/call", call("seen"))]:
                await client.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
                answer = await asyncio.wait_for(client.receive(), PATIENCE)
            return answer["result"]["structuredContent"]["pid"]

    pids = await asyncio.gather(*(host(pool) for pool in ("server", "other") for _ in range(20)))
    assert set(pids) == {worker.pid for worker in bus.get_workers()}
    assert bus.get_worker_count() == 2, "20 hosts, 2 servers, 2 processes"


@pytest.fixture(scope="module")
def mcp() -> Any:
    """The package of that name; here, because it takes seconds to load."""
    library = pytest.importorskip("mcp", exc_type=ImportError)
    importlib.import_module("stdiobus.adapters.mcp")
    return library


@pytest.mark.busy_loop
async def test_cancel_scope_errors_when_closing_from_another_task(make_bus, strict, mcp):
    from stdiobus.adapters.mcp import stdiobus_client

    bus = await make_bus(strict)
    transport = stdiobus_client(bus, "server")

    async def enter() -> tuple:
        return await transport.__aenter__()

    async with mcp.ClientSession(*await asyncio.create_task(enter())) as session:
        await session.initialize()
        begun = asyncio.Event()

        async def progress(*_: Any) -> None:
            begun.set()

        held = asyncio.create_task(session.call_tool("hold", {}, progress_callback=progress))
        await asyncio.wait_for(begun.wait(), PATIENCE)
        await asyncio.create_task(transport.__aexit__(None, None, None))
        with pytest.raises(mcp.MCPError, match="closed"):
            await asyncio.wait_for(held, PATIENCE)
    assert await seen(bus), "and the pool serves on"


async def test_a_process_spawned_per_call(make_bus, strict):
    bus = await make_bus(replace(strict, instances=2))
    pids = {(await seen(bus))["pid"] for _ in range(50)}
    assert pids <= {worker.pid for worker in bus.get_workers()}
    assert bus.get_worker_count() == 2


async def test_answers_delivered_to_the_wrong_client(make_bus, strict):
    bus = await make_bus(replace(strict, instances=2))

    async def client(name: str) -> None:
        async with await bus.open_client("server") as own:
            for number in range(20):
                params = call("echo", text=f"{name} {number}")
                await own.send({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
            answers = [await asyncio.wait_for(own.receive(), PATIENCE) for _ in range(20)]
            assert {answer["id"]: text(answer["result"]) for answer in answers} == {
                number: f"{name} {number}" for number in range(20)
            }

    await asyncio.gather(*(client(f"client {number}") for number in range(20)))


async def test_a_second_initialize_that_crashes_the_server(make_bus, strict):
    bus = await make_bus(strict)
    before = await seen(bus)
    params = {"protocolVersion": "2025-06-18", "capabilities": {}}
    for _ in range(2):
        own = await bus.request("initialize", params, pool="server")
        assert own["serverInfo"]["name"] == "strict"
        await bus.notify("notifications/initialized", pool="server")
    assert await seen(bus) == before


async def test_slow_first_start_killed_by_the_call_timeout(make_bus, strict):
    slow = replace(strict, command="sh", args=["-c", 'sleep 1; exec "$0" "$@"', strict.command, *strict.args])
    bus = await make_bus(slow, timeout_ms=500)
    assert (await seen(bus))["violations"] == []
    assert bus.get_stats().worker_restarts == 0


async def test_connection_closed_with_no_reason(make_bus, pool):
    bad = pool("misbehaving_worker.py", "exit", "3", id="server", protocol="mcp")
    bus = await make_bus(bad, limits={"max_restarts": 0}, start=False)
    with pytest.raises(UnavailableError) as caught:
        await bus.start()
    for words in ("'server'", "exited with status 3", "cannot find my licence file"):
        assert words in str(caught.value)


async def test_deadlock_when_stderr_or_a_64_kib_line_fills_a_pipe(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "flood", "1", id="server"))
    # More than a pipe holds, on all three at once: neither side has read what the other is writing.
    texts = [str(number) * (1 << 20) for number in range(8)]
    calls = [bus.request("echo", {"text": each}, pool="server") for each in texts]
    answers = await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)
    same = [answer["text"] for answer in answers] == texts
    assert same


async def test_log_noise_on_stdout_that_breaks_the_stream(make_bus, pool, caplog):
    caplog.set_level(logging.WARNING)
    bus = await make_bus(pool("misbehaving_worker.py", "noise", id="server"))
    calls = (bus.request("echo", {"n": n}, pool="server") for n in range(20))
    assert await asyncio.gather(*calls) == [{"n": n} for n in range(20)]
    assert bus.get_stats().worker_restarts == 0
    [report, *_] = [each.getMessage() for each in caplog.records if "Listening on stdio" in each.getMessage()]
    assert "server" in report, "and the log shows what it was"


async def test_cancel_and_progress_lost_in_proxies(make_bus, strict):
    bus = await make_bus(strict)

    async def client(name: str) -> None:
        async with await bus.open_client("server") as own:

            async def call_tool(params: dict) -> None:
                meta = {"_meta": {"progressToken": name}}
                request = {"id": 7, "method": "tools/call", "params": {**params, **meta}}
                await own.send({"jsonrpc": "2.0", **request})

            await call_tool(call("count", n=3))
            *progress, answer = [await asyncio.wait_for(own.receive(), PATIENCE) for _ in range(4)]
            assert [(each["params"]["progressToken"], each["params"]["progress"]) for each in progress] == [
                (name, 1), (name, 2), (name, 3),
            ]  # fmt: skip
            assert answer["id"] == 7
            await call_tool(call("hold"))
            await asyncio.wait_for(own.receive(), PATIENCE)
            cancel = {"method": "notifications/cancelled", "params": {"requestId": 7}}
            await own.send({"jsonrpc": "2.0", **cancel})
            assert (await asyncio.wait_for(own.receive(), PATIENCE))["id"] == 7

    await asyncio.gather(*(client(f"client {number}") for number in range(5)))
    cancelled = [params["requestId"] for params in (await seen(bus))["cancelled"]]
    assert len(set(cancelled)) == 5, "each by the id that the server knows"


async def test_too_little_or_too_much_environment_inherited(make_bus, monkeypatch):
    monkeypatch.setenv("OF_THE_HOST", "1")
    monkeypatch.setenv("SECRET", "2")
    program = (
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    answer = {'jsonrpc': '2.0', 'id': json.loads(line)['id'], 'result': dict(os.environ)}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    everything = PoolConfig(
        id="everything", command=sys.executable, args=["-c", program], protocol="jsonrpc",
        env={"OWN": "3", "SECRET": None},
    )  # fmt: skip
    nothing = replace(everything, id="nothing", env={"OWN": "4"}, inherit_env=False)
    bus = await make_bus(everything, nothing)
    environment = await bus.request("env", pool="everything")
    wanted = {**os.environ, "OWN": "3"}
    del wanted["SECRET"]
    assert {name: environment.get(name) for name in wanted} == wanted
    assert "SECRET" not in environment
    bare = await bus.request("env", pool="nothing")
    assert bare.pop("OWN") == "4"
    assert set(bare) <= {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"}, "but for what Python sets itself"
