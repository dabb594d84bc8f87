"""Workers that die, cannot be started or do not want to end: who is told what, and what is left."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from stdiobus import PoolConfig, StdioBusError, TransportError, UnavailableError

HELD = {"after": 1000}  # the echo worker keeps such a request


async def hold(bus, count):
    """Sends `count` requests that the worker `echo` has read and keeps; also gives its pid."""
    held = [asyncio.ensure_future(bus.request(f"held/{n}", HELD, pool="echo")) for n in range(count)]
    await asyncio.sleep(0)  # each task has sent its request
    pid = (await bus.request("echo", pool="echo"))["pid"]  # one worker, in order: it has read them
    return held, pid


# ---- death with requests in flight -----------------------------------------------------------


async def test_killed_worker_fails_each_request_in_flight_within_100_ms_and_says_why(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    held, pid = await hold(bus, 10)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    errors = await asyncio.gather(*held, return_exceptions=True)
    assert time.monotonic() - killed < 0.1
    for error in errors:
        assert isinstance(error, TransportError)
        assert re.search(r"\becho\b", str(error)), "names the pool"
        assert re.search(r"worker 1\b", str(error)), "names the worker"
        assert re.search(r"SIGKILL|signal 9", str(error)), "names the signal"
        assert "echo_worker: holding held/9" in str(error), "carries the stderr tail"
        assert error.details["pool"] == "echo"
        assert error.details["worker"] == 1
        assert error.details["signal"] == signal.SIGKILL
        assert "echo_worker: holding held/9" in error.details["stderr"]


async def test_other_workers_and_pools_do_not_notice_a_death(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py", instances=2), pool("echo_worker.py", id="other"))
    first = await asyncio.gather(*(bus.request("e", pool="echo") for _ in range(2)))
    pids = [result["pid"] for result in first]
    assert len(set(pids)) == 2
    os.kill(pids[0], signal.SIGKILL)
    requests = [bus.request("e", {"n": n}, pool=("echo", "other")[n % 2]) for n in range(100)]
    results = await asyncio.gather(*requests, return_exceptions=True)
    # Only what had been written to the dead worker before its death was seen may have failed.
    assert all(isinstance(r, TransportError) or r["pid"] != pids[0] for r in results)
    assert all(isinstance(r, dict) for r in results[1::2])
    assert (await bus.request("e", pool="echo"))["pid"] != pids[0]


async def test_handshake_is_made_again_after_a_restart(make_bus, pool):
    bus = await make_bus(pool("mcp_strict_worker.py", "--on-violation", "exit", protocol="mcp"))
    seen = {"name": "seen", "arguments": {}}
    first = (await bus.request("tools/call", seen, pool="mcp_strict"))["structuredContent"]["pid"]
    os.kill(first, signal.SIGKILL)
    # The kill may be noticed before or after this request is sent; only one answer is a failure.
    await asyncio.gather(bus.request("ping", pool="mcp_strict"), return_exceptions=True)
    after = (await bus.request("tools/call", seen, pool="mcp_strict"))["structuredContent"]
    assert after["pid"] != first
    assert after["violations"] == []


async def test_death_is_noticed_although_a_grandchild_holds_the_pipes(make_bus, pool, gone):
    bus = await make_bus(pool("misbehaving_worker.py", "orphan"))
    grandchild = await bus.request("a", pool="misbehaving")
    noticed = asyncio.get_running_loop().create_future()
    bus.on_worker_event(lambda event: noticed.done() or noticed.set_result(event))
    assert not gone(grandchild, 0)
    os.kill(bus.get_workers()[0].pid, signal.SIGKILL)
    event = await asyncio.wait_for(noticed, 1)
    assert (event.kind, event.returncode) == ("restarting", -signal.SIGKILL)
    assert gone(grandchild, 1)
    assert await bus.request("a", pool="misbehaving") != grandchild


async def test_worker_that_closes_its_stdout_counts_as_dead(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "closed"))
    with pytest.raises(TransportError):
        await bus.request("a", pool="misbehaving", timeout_ms=3000)


# ---- workers that cannot be started or kept ----------------------------------------------------


async def test_command_that_does_not_exist_is_an_error_with_its_name_and_reason(make_bus):
    bus = await make_bus(PoolConfig(id="absent", command="no-such-program-anywhere"), start=False)
    with pytest.raises(UnavailableError) as caught:
        await bus.start()
    for word in ("absent", "no-such-program-anywhere", "No such file or directory"):
        assert word in str(caught.value)


async def test_file_that_may_not_be_executed_is_an_error_with_its_name_and_reason(make_bus, tmp_path):
    (tmp_path / "data.txt").write_text("not a program")
    bus = await make_bus(PoolConfig(id="data", command=str(tmp_path / "data.txt")), start=False)
    with pytest.raises(UnavailableError) as caught:
        await bus.start()
    for word in ("data", str(tmp_path / "data.txt"), "Permission denied"):
        assert word in str(caught.value)


async def test_server_that_exits_at_once_fails_the_start_with_its_stderr(make_bus, pool):
    bad = pool("misbehaving_worker.py", "exit", "3", protocol="mcp")
    bus = await make_bus(bad, limits={"max_restarts": 1}, start=False)
    with pytest.raises(UnavailableError) as caught:
        await bus.start()
    for word in ("misbehaving", "3", "cannot find my licence file"):
        assert word in str(caught.value)


async def test_plain_worker_that_exits_at_once_ends_as_an_unavailable_pool(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "exit"), limits={"max_restarts": 1}, start=False)

    async def use():
        await bus.start()  # succeeds when the start is seen before the exit
        while True:
            try:
                await bus.request("a", pool="misbehaving")
            except TransportError:  # it had reached the worker
                continue

    with pytest.raises(UnavailableError, match="cannot find my licence file"):
        await use()


async def test_pool_whose_worker_crashes_too_often_is_unavailable_and_others_are_not(make_bus, pool):
    bus = await make_bus(
        pool("misbehaving_worker.py", "crash"), pool("echo_worker.py"), limits={"max_restarts": 1}
    )
    for _ in range(2):
        with pytest.raises(TransportError) as died:
            await bus.request("a", pool="misbehaving")
        assert died.value.details["exit_code"] == 9
    with pytest.raises(UnavailableError) as caught:
        await bus.request("a", pool="misbehaving")
    assert "about to crash" in str(caught.value)
    assert (await bus.request("echo", {"n": 1}, pool="echo"))["params"] == {"n": 1}


async def test_server_that_never_answers_the_handshake_fails_the_start(make_bus):
    # A shell is there long before the second is over, on a busy machine too.
    script = "read line; echo I read and say nothing >&2; while read line; do :; done"
    mute = PoolConfig(id="mute", command="sh", args=["-c", script], protocol="mcp", startup_timeout_sec=1)
    bus = await make_bus(mute, limits={"max_restarts": 0}, start=False)
    with pytest.raises(UnavailableError) as caught:
        await bus.start()
    assert "startup_timeout_sec" in str(caught.value)
    assert "I read and say nothing" in str(caught.value), "carries the stderr tail"


# ---- nothing is left -------------------------------------------------------------------------


async def test_stop_ends_a_worker_that_ignores_sigterm_and_a_closed_stdin(make_bus, pool, gone):
    bus = await make_bus(pool("misbehaving_worker.py", "stubborn"))
    pid = await bus.request("a", pool="misbehaving")
    await bus.stop(1)
    assert gone(pid, 0)


async def test_stop_ends_the_children_of_workers_too(make_bus, pool, gone):
    bus = await make_bus(pool("misbehaving_worker.py", "orphan"))
    grandchild = await bus.request("a", pool="misbehaving")
    await bus.stop(1)
    assert gone(grandchild, 5)


async def test_stop_fails_what_is_pending_and_answers_what_is_done(make_bus, pool, gone):
    bus = await make_bus(pool("echo_worker.py"))
    held, pid = await hold(bus, 3)
    await bus.stop(1)
    errors = await asyncio.gather(*held, return_exceptions=True)
    assert [type(error) for error in errors] == [TransportError] * 3
    assert gone(pid, 0)
    assert not bus.is_running()
    with pytest.raises(StdioBusError):
        await bus.request("echo", pool="echo")


async def test_destroy_without_stop_leaves_no_process(make_bus, pool, gone):
    bus = await make_bus(pool("echo_worker.py", instances=2))
    pids = [worker.pid for worker in bus.get_workers()]
    bus.destroy()
    assert all(gone(pid, 1) for pid in pids)


ENDINGS = {
    "returning": "await bus.stop()",
    "forgetting": "del bus; import gc; gc.collect(); print('forgotten', flush=True); await asyncio.sleep(60)",
    "raising": "raise RuntimeError('on purpose')",
    "exiting": "sys.exit(0)",
    "exiting-hard": "os._exit(0)",
    "killed": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("backend_name", ["native", "subprocess"])
def test_no_worker_outlives_its_bus_however_that_ends(ending, backend_name, pool, gone):
    worker = asdict(pool("echo_worker.py", instances=2))
    program = f"""
import asyncio, os, sys
from stdiobus import AsyncStdioBus, BusConfig, PoolConfig

async def main():
    pool = PoolConfig(**{worker!r})
    bus = AsyncStdioBus(BusConfig(pools=[pool]), backend={backend_name!r})
    await bus.start()
    await asyncio.gather(*(bus.request("e", pool="echo") for _ in range(4)))
    print(*(worker.pid for worker in bus.get_workers()), flush=True)
    {ENDINGS[ending]}

asyncio.run(main())
"""
    host = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        pids = [int(pid) for pid in host.stdout.readline().split()]
        assert len(set(pids)) == 2, host.stderr.read()
        if ending == "forgetting":
            assert host.stdout.readline() == "forgotten\n"
            assert all(gone(pid, 5) for pid in pids)
    finally:
        if ending == "forgetting":
            host.kill()
        host.communicate()
    assert all(gone(pid, 5) for pid in pids)
