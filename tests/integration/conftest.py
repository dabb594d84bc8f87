"""Fixtures of the integration tests: real buses over every backend, real and test workers.

`make_bus` repeats a test for each backend of BACKENDS; what a test demands of a bus is the
same for all of them. Pools are made by `pool`, from the scripts in `tests/workers/`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Callable

import pytest
import pytest_asyncio

from stdiobus import AsyncStdioBus, BusConfig, LimitsConfig, NativeOptions, PoolConfig

try:
    import uvloop
except ImportError:
    uvloop = None
else:
    uvloop.new_event_loop().close()  # it opens a pipe once per process, which the guard would see

ROOT = Path(__file__).parents[2]
WORKERS = ROOT / "tests" / "workers"

# "native" watches the kernel's descriptor, "native-timer" steps it by a timer; the rows of uvloop
# run on a loop of that kind.
BACKENDS: dict[str, dict[str, Any]] = {
    "native": {"backend": "native"},
    "native-uvloop": {"backend": "native"},
    "native-timer": {"backend": "native", "native": NativeOptions(force_timer=True)},
    "subprocess": {"backend": "subprocess"},
}


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def pool() -> Callable[..., PoolConfig]:
    """`pool("echo_worker.py", "--option", id="echo", ...)`: a pool of one of our Python workers."""

    def make(script: str, *args: str, **fields: Any) -> PoolConfig:
        fields = {"id": Path(script).stem.replace("_worker", ""), "protocol": "jsonrpc", **fields}
        return PoolConfig(command=sys.executable, args=["-u", str(WORKERS / script), *args], **fields)

    return make


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def loop_of_the_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the loop of a test uvloop's where its backend asks for that."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is None or not str(callspec.params.get("backend")).endswith("-uvloop"):
        return
    if uvloop is None:
        pytest.skip("uvloop is not installed")
    # The runner of asyncio, which pytest-asyncio takes in all its versions, makes its loop with it.
    monkeypatch.setattr(asyncio.events, "new_event_loop", uvloop.new_event_loop)


@pytest_asyncio.fixture
async def make_bus(backend: str) -> AsyncIterator[Callable[..., Any]]:
    """`await make_bus(pool, pool, ..., limits={...})`: a started bus, stopped after the test."""
    buses = []

    async def make(*pools: PoolConfig, limits: Any = None, start: bool = True) -> AsyncStdioBus:
        config = BusConfig(pools=list(pools), limits=LimitsConfig(**limits or {}))
        bus = AsyncStdioBus(config, **BACKENDS[backend])
        buses.append(bus)
        if start:
            await bus.start()
        return bus

    yield make
    for bus in buses:
        await bus.stop(5)
        bus.destroy()


@pytest.fixture(scope="session")
def eventually() -> Callable[..., Any]:
    """`await eventually(condition)`: for numbers that a backend may report up to 100 ms late."""

    async def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 2
        while not condition():
            assert time.monotonic() < deadline, "within 2 s"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def everything() -> PoolConfig:
    """The TypeScript server `@modelcontextprotocol/server-everything`, as pool `everything`."""
    folder = os.environ.get("STDIOBUS_TEST_NODE_MODULES")
    if not folder:
        pytest.skip("STDIOBUS_TEST_NODE_MODULES is not set: no TypeScript server")
    script = Path(folder, "@modelcontextprotocol", "server-everything", "dist", "index.js")
    return PoolConfig(id="everything", command="node", args=[str(script), "stdio"], protocol="mcp")


@pytest.fixture(scope="session")
def time_server() -> PoolConfig:
    """The Python server `mcp-server-time`, as pool `time`."""
    if importlib.util.find_spec("mcp_server_time") is None:
        pytest.skip("mcp-server-time is not installed")
    return PoolConfig(id="time", command=sys.executable, args=["-m", "mcp_server_time"], protocol="mcp")
