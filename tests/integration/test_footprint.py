"""What the package costs: nothing at import beyond 20 ms, nothing while idle."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

IMPORT = """
import time
started = time.process_time()
import asyncio
between = time.process_time()
{}
print(between - started, time.process_time() - between)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "statement", ["import stdiobus", "from stdiobus import AsyncStdioBus, BusConfig, PoolConfig"]
)
def test_import_adds_less_than_20_ms_to_asyncio(statement, tmp_path):
    # Compiled files, wherever the machine keeps them or even forbids them.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds() -> list[float]:
        command = [sys.executable, "-c", IMPORT.format(statement)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [float(number) for number in run.stdout.split()]

    seconds()  # the compiled files are written
    # What else the machine does only adds: the least of many is the cost.
    asyncio_costs, ours = (min(times) for times in zip(*(seconds() for _ in range(15))))
    # A machine on which asyncio takes more than 40 ms is a slow one.
    assert ours < max(0.020, 0.5 * asyncio_costs)


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
def test_idle_buses_make_no_wakeups_in_five_seconds(compiled_echo_worker):
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        pytest.skip("no /proc, or one without children")
    hosts = {}
    try:
        for backend in ("native", "subprocess"):
            command = [sys.executable, "-c", IDLE, compiled_echo_worker, backend]
            host = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            hosts[backend] = host
            assert host.stdout.readline() == "idle\n"
        time.sleep(1)  # what may still come: the program reports its status up to 100 ms late
        before = {backend: voluntary_switches(host.pid) for backend, host in hosts.items()}
        time.sleep(5)
        after = {backend: voluntary_switches(host.pid) for backend, host in hosts.items()}
        assert after == before
    finally:
        for host in hosts.values():
            host.communicate("end\n")
    assert [host.returncode for host in hosts.values()] == [0, 0]
