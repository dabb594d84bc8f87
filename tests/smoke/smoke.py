"""The smoke suite: an installed wheel, and nothing but the interpreter's own library.

Here: load, start, request, stream, restart and stop over the backend that `auto` must choose,
then over the subprocess fallback; checks print a line each, the last line counts them, and the
exit status is 0 when none failed. Installing the wheel, and on which systems, is the business
of scripts/wheel_runs.py. Not here: what the bus does in every case; the other tests say that.

    python -I smoke.py BACKEND [--program PATH]
        BACKEND          what `auto` must choose: native or subprocess
        --program PATH   the `stdio_bus` of the fallback, by default the one in the package
    python -I smoke.py worker    what it runs as workers

Run it with an empty folder as the working directory. It must run on Python 3.9 and slowly: deadlines
are generous, because the processor may be an emulated one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import re
import sys
import sysconfig
import traceback
from collections.abc import Awaitable
from typing import Any, Callable

PATIENCE_SEC = 120.0


def worker() -> None:
    """Answers what it was asked; says its words one by one; ends when told to."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        params = request.get("params") or {}
        if "exit" in params:
            print("told to end", file=sys.stderr, flush=True)
            os._exit(params["exit"])
        address = {"jsonrpc": "2.0", "sessionId": request["sessionId"]}
        for word in params.get("say", ()):
            update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": word}}
            tell({**address, "method": "session/update", "params": {"update": update}})
        result = {"params": params, "pid": os.getpid(), "machine": platform.machine()}
        tell({**address, "id": request["id"], "result": result})


def tell(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for what the bus tells no event of: the end of another's child."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SEC
    while not condition():
        expect(asyncio.get_running_loop().time() < deadline, f"{what} within {PATIENCE_SEC:.0f} s")
        await asyncio.sleep(0.02)


class Counter:
    """Runs checks, prints how each went, and counts."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    async def run(self, name: str, check: Awaitable[None]) -> None:
        try:
            await asyncio.wait_for(check, PATIENCE_SEC)
        except Exception:
            self.failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}", flush=True)
        else:
            self.passed += 1
            print(f"ok     {name}", flush=True)


class Records(logging.Handler):
    """Keeps the messages of a log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def load(backend: str) -> None:
    """The package is the installed one, and carries what its wheel should."""
    import stdiobus
    from stdiobus.backends.program import resolve_binary
    from stdiobus.errors import UnavailableError
    from stdiobus.native import library

    home = os.path.dirname(os.path.realpath(stdiobus.__file__))
    installed = [os.path.realpath(path) for path in sys.path if "-packages" in path]
    expect(os.path.dirname(home) in installed, f"{home} is not in one of {installed}")
    expect(not os.listdir("."), f"{os.getcwd()} is not empty")
    program = resolve_binary(stdiobus.SubprocessOptions())
    expect(os.path.realpath(program.path).startswith(home), f"another program: {program}")
    try:
        loaded = library.load()
    except UnavailableError as error:
        expect(backend != "native", str(error))
        expect("no such file" in str(error), str(error))
    else:
        expect(backend == "native", f"{loaded.path} should not be there")
        expect(os.path.realpath(loaded.path).startswith(home), f"another library: {loaded.path}")
        expect(re.match(r"\d+\.\d+", loaded.version) is not None, loaded.version)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        expect(not sys._is_gil_enabled(), "loading the library has brought the GIL back")


class Bus:
    """One bus from start to stop, a check for each station."""

    def __init__(self, backend: str, **arguments: Any) -> None:
        from stdiobus import AsyncStdioBus, BusConfig, PoolConfig

        self.backend = backend
        worker = ["-I", __file__, "worker"]
        self.config = BusConfig(
            pools=[PoolConfig(id="smoke", command=sys.executable, args=worker, instances=2)]
        )
        self.bus = AsyncStdioBus(self.config, timeout_ms=PATIENCE_SEC * 1000, **arguments)

    async def start(self) -> None:
        log, records = logging.getLogger("stdiobus"), Records()
        log.addHandler(records)
        try:
            await self.bus.start()
        finally:
            log.removeHandler(records)
        expect(self.bus.get_backend_type() == self.backend, f"it runs on {self.bus.get_backend_type()}")
        # The fallback says why, in one line.
        expected = 0 if self.backend == "native" else 1
        expect(len(records.messages) == expected, f"the log says {records.messages}")
        for message in records.messages:
            expect("no such file" in message, message)

    async def request(self) -> None:
        sent = {"text": "Grüße, \U0001f30d\u2028", "number": 2**53, "list": [None, True, -0.5]}
        answer = await self.bus.request("work", sent)
        expect(answer["params"] == sent, f"the answer is {answer}")
        expect(answer["machine"] == platform.machine(), f"the worker's machine is {answer['machine']}")
        large = {"text": "x" * 1_000_000}
        expect((await self.bus.request("work", large))["params"] == large, "a megabyte has changed")
        answers = await asyncio.gather(*(self.bus.request("work", {"n": n}) for n in range(200)))
        expect([each["params"]["n"] for each in answers] == list(range(200)), "answers are mixed up")
        expect(len({each["pid"] for each in answers}) == 2, "not both workers have worked")

    async def stream(self) -> None:
        words = [f"word {n} " for n in range(20)]
        events = [event async for event in self.bus.stream_request("work", {"say": words})]
        expect([event.type for event in events] == ["chunk"] * 20 + ["result"], f"the events are {events}")
        expect([event.data for event in events[:-1]] == words, f"the chunks are {events}")

    async def restart(self) -> None:
        """After a crash, and when asked to."""
        from stdiobus.errors import TransportError

        try:
            await self.bus.request("work", {"exit": 7})
        except TransportError as error:
            expect("told to end" in str(error), str(error))
        else:
            raise AssertionError("a dead worker has answered")
        await until(lambda: self.bus.get_stats().worker_restarts >= 1, "no restart")
        await until(lambda: self.bus.get_worker_count() == 2, "not two workers")
        await self.bus.request("work")
        before = self.pids()
        await self.bus.pool("smoke").restart()
        expect(not before & self.pids(), f"a worker is left: {before}, {self.pids()}")
        await self.bus.request("work")

    async def stop(self) -> None:
        pids = self.pids()
        expect(len(pids) == 2, f"the workers are {pids}")
        await self.bus.stop()
        expect(not self.bus.is_running(), "it is running")
        await until(lambda: not any(map(alive, pids)), "a worker is left")

    def pids(self) -> set[int]:
        return {worker.pid for worker in self.bus.get_workers()}


def synchronous(bus: Bus) -> None:
    from stdiobus import StdioBus

    with StdioBus(bus.config, backend=bus.backend, timeout_ms=PATIENCE_SEC * 1000) as blocking:
        expect(blocking.request("work", {"n": 1})["params"] == {"n": 1}, "another answer")
        events = list(blocking.stream_request("work", {"say": ["a", "b"]}))
        expect([event.data for event in events[:-1]] == ["a", "b"], f"the events are {events}")


async def life(counter: Counter, name: str, bus: Bus) -> None:
    for check in (bus.start, bus.request, bus.stream, bus.restart, bus.stop):
        await counter.run(f"{name}: {check.__name__}", check())


async def run(backend: str, program: str) -> Counter:
    counter = Counter()
    await counter.run("load", asyncio.to_thread(load, backend))
    if backend == "native":
        bus = Bus(backend)
        await life(counter, backend, bus)
        await counter.run("native: the synchronous bus", asyncio.to_thread(synchronous, bus))
        # From now on the library is missing, as it is in the universal wheel.
        os.environ["STDIOBUS_LIBRARY"] = "/nonexistent/libstdio_bus"
    from stdiobus import SubprocessOptions

    bus = Bus("subprocess", subprocess=SubprocessOptions(binary_path=program))
    await life(counter, "fallback", bus)
    if not program:
        await counter.run("fallback: the synchronous bus", asyncio.to_thread(synchronous, bus))
    return counter


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("backend", choices=["native", "subprocess", "worker"])
    parser.add_argument("--program", default="")
    options = parser.parse_args()
    if options.backend == "worker":
        worker()
        return 0
    name = f"{platform.python_implementation()} {platform.python_version()}"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        name += ", free-threaded,"
    print(f"{name} on {platform.machine()}", flush=True)
    counter = asyncio.run(run(options.backend, options.program))
    print(f"{counter.passed} passed, {counter.failed} failed", flush=True)
    return 1 if counter.failed or not counter.passed else 0


if __name__ == "__main__":
    sys.exit(main())
