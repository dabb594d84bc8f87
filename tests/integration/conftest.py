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

from stdiobus import AsyncStdioBus, BusConfig, DockerOptions, LimitsConfig, NativeOptions, PoolConfig

ROOT = Path(__file__).parents[2]
WORKERS = ROOT / "tests" / "workers"

# "native" watches the kernel's descriptor, "native-timer" steps it by a timer.
BACKENDS: dict[str, dict[str, Any]] = {
    "native": {"backend": "native"},
    "native-timer": {"backend": "native", "native": NativeOptions(force_timer=True)},
    "subprocess": {"backend": "subprocess"},
    # Its engine is a fake, its program and its workers are real: see test_docker.py for the rest.
    "docker": {"backend": "docker"},
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


@pytest.fixture
def backend_arguments(backend: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What makes a bus use the backend."""
    if backend != "docker":
        return BACKENDS[backend]
    engine = request.getfixturevalue("fake_engine")
    return {**BACKENDS[backend], "docker": DockerOptions("image", engine_path=str(engine))}


@pytest_asyncio.fixture
async def make_bus(backend_arguments: dict[str, Any]) -> AsyncIterator[Callable[..., Any]]:
    """`await make_bus(pool, pool, ..., limits={...})`: a started bus, stopped after the test."""
    buses = []

    async def make(*pools: PoolConfig, limits: Any = None, start: bool = True) -> AsyncStdioBus:
        config = BusConfig(pools=list(pools), limits=LimitsConfig(**limits or {}))
        bus = AsyncStdioBus(config, **backend_arguments)
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
