"""Requests per second over one compiled echo worker: hand-written asyncio, and the bus.

64 callers each send a request of about 100 bytes, wait for its answer and send the next. The
contestants run in turns on one event loop, each with a worker of its own, so whatever else
the machine does meets all alike; the figure of each is the median of its rounds.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import Any, Callable

from benchmarks.report import Row
from stdiobus import AsyncStdioBus, BusConfig, PoolConfig

IN_FLIGHT = 64
NATIVE_RATIO = 1.0
PARAMS = {"text": "a message of about one hundred bytes"}


class HandWritten:
    """The twenty lines that one writes first; no deadlines, no restarts, no errors."""

    async def start(self, command: str) -> None:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(command, stdin=pipe, stdout=pipe)
        self.pending: dict[int, asyncio.Future[Any]] = {}
        self.last_id = 0
        self.reader = asyncio.ensure_future(self.read())

    async def read(self) -> None:
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            self.pending.pop(message["id"]).set_result(message["result"])

    async def request(self, method: str, params: Any) -> Any:
        self.last_id += 1
        future = self.pending[self.last_id] = asyncio.get_running_loop().create_future()
        message = {"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        await self.process.stdin.drain()
        return await future

    async def stop(self) -> None:
        self.process.stdin.close()
        await self.process.wait()
        await self.reader


async def answers_per_second(request: Callable[..., Any], count: int) -> float:
    async def caller() -> None:
        for _ in range(count // IN_FLIGHT):
            await request("echo", PARAMS)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return count // IN_FLIGHT * IN_FLIGHT / (time.perf_counter() - started)


async def compare(worker: str, rounds: int, count: int) -> dict[str, float]:
    """Lets all contestants run in turns.

    Returns:
        For each its median of answers per second.
    """
    config = BusConfig(pools=[PoolConfig(id="echo", command=worker, protocol="jsonrpc")])
    hand_written = HandWritten()
    buses = {name: AsyncStdioBus(config, backend=name) for name in ("native", "subprocess")}
    await hand_written.start(worker)
    for bus in buses.values():
        await bus.start()
    contestants = {"asyncio": hand_written.request, **{name: bus.request for name, bus in buses.items()}}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for request in contestants.values():
        await answers_per_second(request, count // 4)  # warm up
    for _ in range(rounds):
        for name, request in contestants.items():
            rates[name].append(await answers_per_second(request, count))
    for bus in buses.values():
        await bus.stop()
        bus.destroy()
    await hand_written.stop()
    return {name: statistics.median(values) for name, values in rates.items()}


def rows(worker: str, rounds: int, count: int) -> list[Row]:
    """The figures of `compare` for the table."""
    rates = asyncio.run(compare(worker, rounds, count))
    floor = rates["asyncio"]
    return [
        Row("hand-written asyncio", floor, "answers/s"),
        Row("StdioBus, native", rates["native"], "answers/s", rates["native"] / floor, lowest=NATIVE_RATIO),
        Row("StdioBus, subprocess", rates["subprocess"], "answers/s", rates["subprocess"] / floor),
    ]
