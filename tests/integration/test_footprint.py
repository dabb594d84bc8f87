"""What the package costs: nothing at import beyond 20 ms, nothing while idle."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

IMPORT = """
import asyncio, time
started = time.perf_counter()
import stdiobus
print(time.perf_counter() - started)
"""

IDLE = """
import asyncio, sys
from stdiobus import AsyncStdioBus, BusConfig, PoolConfig

async def main():
    pool = PoolConfig(id="echo", command=sys.argv[1], instances=2, protocol="jsonrpc")
    async with AsyncStdioBus(BusConfig(pools=[pool]), backend=sys.argv[2]) as bus:
        await asyncio.gather(*(bus.request("e", {"n": n}, pool="echo") for n in range(100)))
        print("idle", flush=True)
        ended = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(0, ended.set_result, None)
        await ended
        asyncio.get_running_loop().remove_reader(0)

asyncio.run(main())
"""


def test_import_adds_less_than_20_ms_to_asyncio():
    def seconds() -> float:
        run = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
        return float(run.stdout)

    seconds()  # the compiled files are written
    assert statistics.median(seconds() for _ in range(9)) < 0.020


def test_import_loads_no_library():
    maps = "import stdiobus; print(open('/proc/self/maps').read())"
    if not os.path.exists("/proc/self/maps"):
        pytest.skip("no /proc")
    run = subprocess.run([sys.executable, "-c", maps], capture_output=True, text=True, check=True)
    assert "libstdio_bus" not in run.stdout
    assert "stdiobus" not in run.stdout


def voluntary_switches(pid: int) -> int:
    """Context switches of all threads of a process and its children that they asked for."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines())
        count += int(status["voluntary_ctxt_switches"])
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return count + sum(voluntary_switches(int(child)) for child in children.read_text().split())


@pytest.mark.slow
@pytest.mark.parametrize("backend_name", ["native", "subprocess"])
def test_idle_bus_makes_no_wakeups_in_five_seconds(backend_name, compiled_echo_worker):
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        pytest.skip("no /proc, or one without children")
    command = [sys.executable, "-c", IDLE, compiled_echo_worker, backend_name]
    host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert host.stdout.readline() == "idle\n"
        time.sleep(1)  # what may still come: the program reports its status up to 100 ms late
        before = voluntary_switches(host.pid)
        time.sleep(5)
        assert voluntary_switches(host.pid) == before
    finally:
        host.communicate("end\n")
    assert host.returncode == 0
