"""Fixtures of the integration tests: real buses over every backend, real and test workers.

`make_bus` repeats a test for each backend of BACKENDS; what a test demands of a bus is the
same for all of them. Pools are made by `pool`, from the scripts in `tests/workers/`.
`serve` runs the program `stdio_bus` for clients that connect, and what it costs can be looked at.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import select
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
import pytest_asyncio

from stdiobus import (
    AsyncStdioBus,
    BusConfig,
    DockerOptions,
    LimitsConfig,
    NativeOptions,
    PoolConfig,
    StdioBus,
)
from tests.integration.threaded import ThreadedBus, Threads
from tests.interpreters import PYTHON

try:
    import uvloop
except ImportError:
    uvloop = None
else:
    uvloop.new_event_loop().close()  # it opens a pipe once per process, which the guard would see

ROOT = Path(__file__).parents[2]
WORKERS = ROOT / "tests" / "workers"

# "native" watches the kernel's descriptor, "native-timer" steps it by a timer; the row of uvloop
# runs on a loop of that kind, and in the row "sync" the bus is a `StdioBus`, called from threads.
BACKENDS: dict[str, dict[str, Any]] = {
    "native": {"backend": "native"},
    "native-uvloop": {"backend": "native"},
    "native-timer": {"backend": "native", "native": NativeOptions(force_timer=True)},
    "subprocess": {"backend": "subprocess"},
    "sync": {"backend": "native"},
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
        return PoolConfig(command=PYTHON, args=["-u", str(WORKERS / script), *args], **fields)

    return make


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "asyncio_only(reason): by its nature not for a `StdioBus`")


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    marker = request.node.get_closest_marker("asyncio_only")
    if request.param == "sync" and marker is not None:
        pytest.skip(f"not for StdioBus: {marker.args[0]}")
    if request.param == "sync":
        request.node.add_marker("busy_loop")  # what is called there may block it
    return request.param


@pytest.fixture
def backend_arguments(backend: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What makes a bus use the backend."""
    if backend != "docker":
        return BACKENDS[backend]
    engine = request.getfixturevalue("fake_engine")
    return {**BACKENDS[backend], "docker": DockerOptions("image", engine_path=str(engine))}


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
async def make_bus(backend: str, backend_arguments: dict[str, Any]) -> AsyncIterator[Callable[..., Any]]:
    """`await make_bus(pool, pool, ..., limits={...}, strict=...)`: a started bus, stopped after the test."""
    buses = []

    with Threads() as threads:

        async def make(
            *pools: PoolConfig, limits: Any = None, start: bool = True, **more: Any
        ) -> AsyncStdioBus:
            config = BusConfig(pools=list(pools), limits=LimitsConfig(**limits or {}))
            if backend == "sync":
                bus: Any = ThreadedBus(StdioBus(config, **backend_arguments, **more), threads)
            else:
                bus = AsyncStdioBus(config, **backend_arguments, **more)
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
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "within 20 s"
            await asyncio.sleep(0.01)

    return wait


# ---- the program and its clients ----------------------------------------------------------------

PATIENCE = 20  # seconds for what happens at once on a machine that is not busy


class Caller:
    """One connection to a bus, with blocking calls: JSON messages out and in."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.lines = self.socket.makefile("rb")

    def request(self, number: Any, method: str = "m", **fields: Any) -> None:
        text = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, **fields})
        self.socket.sendall(text.encode() + b"\n")

    def receive(self) -> Any:
        """The next message; None at the end of the connection, in order or not."""
        try:
            line = self.lines.readline()
        except ConnectionResetError:  # closed with bytes of ours unread
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def call(self, number: Any, method: str = "m", **fields: Any) -> Any:
        """The answer to a request that is the only one under way here."""
        self.request(number, method, **fields)
        answer = self.receive()
        assert answer is not None, "the connection has ended"
        assert answer["id"] == number
        return answer

    def latency(self, rounds: int = 51) -> float:
        """The median time of a request to a worker and back, in seconds."""
        times = []
        for number in range(rounds):
            started = time.perf_counter()
            assert "result" in self.call(number)
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    def ended(self, seconds: float = PATIENCE) -> bool:
        """Whether the other end closes the connection in that time; reads nothing."""
        poll = select.poll()
        poll.register(self.socket, 0)  # a hang-up is always reported
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


class Served:
    """A running `stdio_bus --unix`, its clients, and what it costs."""

    def __init__(self, folder: Path, document: dict, *options: str, shell: str = "", **popen: Any) -> None:
        self.path, self.log_path = folder / "bus.sock", folder / "log.txt"
        (folder / "config.json").write_text(json.dumps(document))
        program = popen.pop("program", ROOT / "kernel" / "dist" / "stdio_bus")
        command = [str(program), "--config", str(folder / "config.json"), "--unix", str(self.path), *options]
        if shell:  # commands that come before it in its process
            command = ["sh", "-c", f'{shell}; exec "$@"', "sh", *command]
        self.callers: list[Caller] = []
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, "stderr": log, **popen})

    def connect(self) -> Caller:
        """A client; the first one waits until the program listens."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.callers.append(Caller(self.path))
                return self.callers[-1]
            except (FileNotFoundError, ConnectionRefusedError):
                assert self.process.poll() is None, f"the program has ended: {self.log()}"
                assert time.monotonic() < deadline, "the program does not listen"
                time.sleep(0.01)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def memory(self, which: str = "VmHWM") -> int:
        """Resident bytes: the peak so far, or "VmRSS" for now."""
        status = Path("/proc", str(self.process.pid), "status").read_text()
        return int(re.search(rf"{which}:\s+(\d+) kB", status).group(1)) * 1024

    def cpu_time(self) -> float:
        """Seconds that it has computed."""
        fields = Path("/proc", str(self.process.pid), "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        for caller in self.callers:
            caller.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def serve(tmp_path) -> Iterator[Callable[..., Served]]:
    """`serve(document, *options, folder=...)`: the program with a configuration, on a Unix socket."""
    running = []

    def start(document: dict, *options: str, folder: Path = tmp_path, **fields: Any) -> Served:
        running.append(Served(folder, document, *options, **fields))
        return running[-1]

    yield start
    for each in running:
        each.end()


@pytest.fixture(scope="session")
def node() -> Callable[..., PoolConfig]:
    """`node("package/dist/index.js", "argument", id="x", ...)`: a pool of a program from npm."""
    folder = os.environ.get("STDIOBUS_TEST_NODE_MODULES")
    if not folder:
        pytest.skip("STDIOBUS_TEST_NODE_MODULES is not set: no programs from npm")

    def make(script: str, *args: str, **fields: Any) -> PoolConfig:
        path = Path(folder, script)
        if not path.exists():
            pytest.skip(f"{script} is not in STDIOBUS_TEST_NODE_MODULES")
        return PoolConfig(command="node", args=[str(path), *args], **fields)

    return make


@pytest.fixture(scope="session")
def everything(node: Callable[..., PoolConfig]) -> PoolConfig:
    """The TypeScript server `server-everything`, as pool `everything`."""
    script = "@modelcontextprotocol/server-everything/dist/index.js"
    return node(script, "stdio", id="everything", protocol="mcp")


@pytest.fixture(scope="session")
def time_server() -> PoolConfig:
    """The Python server `mcp-server-time`, as pool `time`."""
    if importlib.util.find_spec("mcp_server_time") is None:
        pytest.skip("mcp-server-time is not installed")
    return PoolConfig(id="time", command=sys.executable, args=["-m", "mcp_server_time"], protocol="mcp")
