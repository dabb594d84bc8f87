"""The command `stdiobus` with real servers, and with a real client library as the host of its shim."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Callable

import pytest

from stdiobus import PoolConfig
from stdiobus.cli.configuration import ConfigFile
from stdiobus.cli.connection import Connection, find_address
from stdiobus.cli.status import NoBusError

COMMAND = [sys.executable, "-m", "stdiobus"]
PATIENCE = 60


@pytest.fixture
def hosts_file(tmp_path: Path) -> Callable[..., str]:
    """`hosts_file(pool, pool, ...)`: the path of an `mcpServers` file with the servers of these pools."""

    def write(*pools: PoolConfig) -> str:
        path = tmp_path / "mcp.json"
        servers = {pool.id: {"command": pool.command, "args": list(pool.args)} for pool in pools}
        path.write_text(json.dumps({"mcpServers": servers}))
        return str(path)

    return write


def run(*arguments: str) -> Any:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_tools_of_a_python_server(hosts_file, time_server):
    assert [tool["name"] for tool in run("tools", hosts_file(time_server), "time")] == [
        "get_current_time",
        "convert_time",
    ]


def test_call_to_a_typescript_server(hosts_file, everything):
    params = {"name": "get-sum", "arguments": {"a": 2, "b": 3}}
    result = run("call", hosts_file(everything), "everything", "tools/call", json.dumps(params))
    assert result["content"][0]["text"] == "The sum of 2 and 3 is 5."


def test_tools_of_a_stateless_server(hosts_file, pool):
    pytest.importorskip("mcp", exc_type=ImportError)
    path = hosts_file(pool("mcp_worker.py"))
    listed = run("tools", path, "mcp", "--protocol", "mcp-stateless")
    assert {"count", "pid"} <= {tool["name"] for tool in listed}


# ---- the shim


@pytest.fixture
def running() -> Iterator[Callable[[str], dict]]:
    """`running(path)`: starts a bus for hosts; its numbers once every worker is ready."""
    started: list[subprocess.Popen] = []

    def look(path: str) -> dict:
        connection = Connection(find_address(ConfigFile(path), None, None), None)
        try:
            return connection.request("stdio_bus/stats")
        finally:
            connection.close()

    def serve(path: str) -> dict:
        if not started:
            command = [*COMMAND, "run", path, "--listen", "--log-level", "error"]
            started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        deadline = time.monotonic() + PATIENCE
        while True:
            assert started[0].poll() is None, "the bus has ended"
            assert time.monotonic() < deadline, "the servers do not start"
            try:
                status = look(path)
            except NoBusError:
                status = {"workers": [{"state": "none"}]}
            if all(worker["state"] == "ready" for worker in status["workers"]):
                return status
            time.sleep(0.05)

    yield serve
    for bus in started:
        bus.terminate()
        assert bus.wait(PATIENCE) == 0


@pytest.mark.busy_loop
async def test_two_hosts_with_two_servers_need_two_processes(hosts_file, pool, time_server, running):
    mcp = pytest.importorskip("mcp", exc_type=ImportError)
    from mcp.client.stdio import StdioServerParameters, stdio_client

    path = hosts_file(pool("mcp_worker.py"), time_server)
    before = running(path)
    log = open(os.devnull, "w")  # noqa: SIM115, ASYNC230 - closed by the stack below

    async def host(stack: AsyncExitStack, name: str) -> Any:
        parameters = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "shim", path, name])
        return await stack.enter_async_context(mcp.Client(stdio_client(parameters, errlog=log)))

    async def count(client: Any, number: int) -> list:
        """A call with the SDK's own ids and tokens, the same ones for each host."""
        seen = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            seen.append(message)

        arguments = {"n": 5, "name": str(number)}
        result = await client.call_tool("count", arguments, progress_callback=progress)
        assert result.content[0].text == str(number)
        return sorted(seen)

    async with AsyncExitStack() as stack:
        stack.enter_context(log)
        clients = [await host(stack, "mcp") for _ in range(2)]
        clocks = [await host(stack, "time") for _ in range(2)]
        progress = await asyncio.gather(*(count(client, number) for number, client in enumerate(clients * 5)))
        assert progress == [[f"{number}/{step}" for step in range(5)] for number in range(10)]
        pids = {(await client.call_tool("pid", {})).content[0].text for client in clients}
        listed = [[tool.name for tool in (await clock.list_tools()).tools] for clock in clocks]
        assert listed == [["get_current_time", "convert_time"]] * 2
        after = running(path)
    assert pids == {str(before["workers"][0]["pid"])}
    assert after["clients"] == 5, "four shims and this test"
    assert [worker["pid"] for worker in after["workers"]] == [worker["pid"] for worker in before["workers"]]
