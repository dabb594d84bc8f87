"""Fixtures of the command line: configurations, commands as processes and in this one, a running bus."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stdiobus.cli import app
from stdiobus.cli.configuration import ConfigFile
from stdiobus.cli.connection import Connection, find_address
from stdiobus.cli.status import NoBusError

WORKERS = Path(__file__).parents[1] / "workers"
PATIENCE = 60  # seconds for what takes about one
COMMAND = [sys.executable, "-m", "stdiobus"]


class Outcome(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A process of the command takes long to start under PyPy, and does there what it does anywhere."""
    for item in items:
        if Path(__file__).parent in item.path.parents and {"start", "process"} & {*item.fixturenames}:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STDIOBUS_BACKEND", "STDIO_BUS_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def worker() -> Callable[..., dict]:
    """`worker("echo_worker.py", "--option", id="echo", ...)`: a pool of a document."""

    def make(script: str, *args: str, **fields: Any) -> dict:
        arguments = ["-u", str(WORKERS / script), *args]
        return {"id": "a", "command": sys.executable, "args": arguments, "protocol": "jsonrpc", **fields}

    return make


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """`config(pool, pool, ..., token=...)`: the path of a configuration."""

    def write(*pools: dict, **fields: Any) -> str:
        path = tmp_path / "bus.json"
        path.write_text(json.dumps({"pools": pools, **fields}))
        return str(path)

    return write


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`command("call", ...)`: a command in this process."""

    def run(*arguments: str) -> Outcome:
        status = app.run(arguments)
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `command` believe that it writes to a terminal, one that is wide and has no colours."""
    monkeypatch.setattr("stdiobus.cli.output.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(scope="session")
def process() -> Callable[..., Outcome]:
    """`process("call", ..., input=...)`: a command as a process of its own."""

    def run(*arguments: str, **popen: Any) -> Outcome:
        done = subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, timeout=PATIENCE, **popen
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen]]:
    """`start("run", ...)`: a command that goes on, with pipes; ended after the test, or after a while."""
    running: list[subprocess.Popen] = []
    timers: list[threading.Timer] = []

    def begin(*arguments: str, **popen: Any) -> subprocess.Popen:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen([*COMMAND, *arguments], text=True, bufsize=1, **{**pipes, **popen}))
        timers.append(threading.Timer(PATIENCE, running[-1].kill))  # so that nobody waits for ever for a line
        timers[-1].start()
        return running[-1]

    yield begin
    for timer in timers:
        timer.cancel()
        timer.join()
    for each in running:
        with each:
            each.kill()


@pytest.fixture
def serve(start: Callable[..., subprocess.Popen], tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """`serve(path, ...)`: `stdiobus run path --listen`, once every worker is ready."""

    def begin(path: str, *options: str) -> subprocess.Popen:
        with (tmp_path / "log").open("wb") as log:
            bus = start("run", path, "--listen", *options, stdin=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not ready(path):
            assert bus.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.02)
        return bus

    return begin


def ready(path: str) -> bool:
    file = ConfigFile(path)
    try:
        connection = Connection(find_address(file, None, None), file.token)
    except NoBusError:
        return False
    try:
        workers = connection.request("stdio_bus/stats")["workers"]
        return all(each["state"] == "ready" for each in workers)
    finally:
        connection.close()
