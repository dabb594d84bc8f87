"""A tour of the bus: a pool of a real MCP server, a streamed reply, a killed worker.

Run by scripts/demo, which installs what is needed; on its own it needs `stdiobus` and
`mcp-server-time`. It checks what it shows: anything unexpected ends it with a traceback.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

from stdiobus import AsyncStdioBus, BusConfig, PoolConfig, StdioBusError, StreamEventType

STREAM_ECHO = Path(__file__).parents[1] / "tests" / "workers" / "stream_echo_worker.py"
PROMPT = "Lines go in, lines come out, and every question gets exactly one answer."


def check(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"demo: expected {what}")


async def convert(bus: AsyncStdioBus, hour: int) -> str:
    """Asks the time server what some full hour of UTC is in Tokyo."""
    arguments = {"source_timezone": "UTC", "time": f"{hour:02}:00", "target_timezone": "Asia/Tokyo"}
    answer = await bus.request("tools/call", {"name": "convert_time", "arguments": arguments}, pool="time")
    return json.loads(answer["content"][0]["text"])["target"]["datetime"][11:16]


async def show_tools(bus: AsyncStdioBus) -> None:
    tools = await bus.request("tools/list", pool="time")
    names = [tool["name"] for tool in tools["tools"]]
    print(f"\nTools of the pool 'time': {', '.join(names)}")
    check("convert_time" in names, f"a tool convert_time, not {names}")


async def show_parallel_calls(bus: AsyncStdioBus) -> float:
    """Twenty calls at once over two workers; gives the answers per second."""
    started = time.perf_counter()
    hours = await asyncio.gather(*(convert(bus, hour) for hour in range(20)))
    rate = len(hours) / (time.perf_counter() - started)
    expected = [f"{(hour + 9) % 24:02}:00" for hour in range(20)]
    check(hours == expected, f"{expected}, not {hours}")
    print(f"\n20 parallel conversions: 00:00..19:00 in UTC is {hours[0]}..{hours[-1]} in Tokyo")
    return rate


async def show_stream(bus: AsyncStdioBus) -> None:
    print("\nA reply, word by word:\n  ", end="")
    words = []
    async for event in bus.stream_request("echo", {"prompt": PROMPT}):
        if event.type == StreamEventType.CHUNK:
            words.append(event.data)
            print(event.data, end="", flush=True)
    print()
    word_by_word = "".join(words) == PROMPT and len(words) == len(PROMPT.split())
    check(word_by_word, f"the prompt word by word, not {words}")


async def show_crash(bus: AsyncStdioBus) -> None:
    workers = [worker for worker in bus.get_workers() if worker.pool == "time"]
    victim = workers[0]
    print(f"\nKilling worker {victim.worker_id} (pid {victim.pid}) with calls in flight ...")
    calls = [asyncio.ensure_future(convert(bus, hour)) for hour in range(20)]
    await asyncio.sleep(0)  # the calls are on their way
    os.kill(victim.pid, signal.SIGKILL)
    ended = await asyncio.gather(*calls, return_exceptions=True)
    errors = [each for each in ended if isinstance(each, StdioBusError)]
    print(f"  {len(ended) - len(errors)} of 20 calls answered, {len(errors)} failed at once, none lost")
    if errors:
        print(f"  the error: {str(errors[0]).splitlines()[0]}")
    only_ours = all(isinstance(each, (str, StdioBusError)) for each in ended)
    check(only_ours, f"answers and errors of the bus, not {ended}")
    hours = await asyncio.gather(*(convert(bus, hour) for hour in range(20)))
    print(f"  and the pool goes on: {len(hours)} of the next 20 calls answered")


async def wait_for_restart(bus: AsyncStdioBus) -> None:
    """Until all workers are ready again; the bus gives up on a worker long before we do."""
    deadline = time.monotonic() + 30
    while any(worker.state != "ready" for worker in bus.get_workers()) or not bus.get_stats().worker_restarts:
        check(time.monotonic() < deadline, "the killed worker to be ready again within 30 s")
        await asyncio.sleep(0.05)


async def main(backend: str) -> None:
    server = ["-m", "mcp_server_time"]
    config = BusConfig(
        pools=[
            PoolConfig(id="time", command=sys.executable, args=server, protocol="mcp", instances=2),
            PoolConfig(id="echo", command=sys.executable, args=[str(STREAM_ECHO), "--pause", "0.04"]),
        ]
    )
    print(f"======== stdiobus over the {backend} backend ========")
    started = time.perf_counter()
    async with AsyncStdioBus(config, backend=backend) as bus:
        ready = time.perf_counter() - started
        await show_tools(bus)
        await asyncio.gather(convert(bus, 0), convert(bus, 12))  # a server's first call is its slowest
        rate = await show_parallel_calls(bus)
        await show_stream(bus)
        await show_crash(bus)
        await wait_for_restart(bus)
        workers, stats = bus.get_workers(), bus.get_stats()
        print(
            f"\nbackend:            {bus.get_backend_type()}",
            f"workers:            {', '.join(f'{w.pool}/{w.worker_id} (pid {w.pid})' for w in workers)}",
            f"started in:         {ready:.2f} s",
            f"answers per second: {rate:.0f}",
            f"restarts:           {stats.worker_restarts}",
            f"messages:           {stats.messages_in} in, {stats.messages_out} out",
            sep="\n",
        )
        check(bus.get_backend_type() == backend, f"backend {backend}")
        check(stats.worker_restarts == 1, f"one restart, not {stats.worker_restarts}")
    print(flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("auto", "native", "subprocess"), default="auto")
    asyncio.run(main(parser.parse_args().backend))
