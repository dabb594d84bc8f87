"""Hosts that end as hosts do: each leaves no child, does not hang and says nothing on stderr.

Each scenario is a Python process of its own, in development mode and with warnings as errors, so
that what is noticed only by a garbage collector or at interpreter exit is seen too. The guard of
`tests/conftest.py` finds what such a process leaves behind.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest

from stdiobus import PoolConfig

PATIENCE = 15

PROLOGUE = """
import asyncio, contextlib, gc, json, os, signal, sys, threading, time, warnings
from stdiobus import AsyncStdioBus, BusConfig, InvalidStateError, PoolConfig, StdioBus, TransportError

BACKEND = sys.argv[1]
POOLS = [PoolConfig(**fields) for fields in json.loads(sys.argv[2])]

def make(kind=AsyncStdioBus):
    return kind(BusConfig(pools=POOLS), backend=BACKEND)

def gone(pids):
    deadline = time.monotonic() + 20
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                assert time.monotonic() < deadline, "a worker lives on"
                time.sleep(0.005)

def pids(bus):
    found = [worker.pid for worker in bus.get_workers()]
    assert len(found) == 2 and all(found), found
    return found

# Stops the program of a bus, so that nothing but being killed ends it; gives it and its workers.
def hang(bus):
    import stdiobus.backends.program
    stdiobus.backends.program.FORCED_END_SEC = 0.2
    program = getattr(bus, "_bus", bus)._life.dispatcher.backend._held.program.pid
    os.kill(program, signal.SIGSTOP)
    return [program, *pids(bus)]

async def use(bus):
    assert await asyncio.gather(*(bus.request("e", {"n": n}, pool="echo") for n in range(9))) == [
        {"n": n} for n in range(9)
    ]
"""

# What each prints is all that it may print; the last line is printed at its end.
ASYNC = {
    "bus becomes garbage": """
async def main():
    bus = make()
    await bus.start()
    await use(bus)
    workers = pids(bus)
    subscription = bus.subscribe()
    del bus
    gc.collect()
    await asyncio.to_thread(gone, workers)
    print("ended")
asyncio.run(main())
""",
    "garbage is collected in another thread": """
async def main():
    bus = make()
    await bus.start()
    await use(bus)
    workers = pids(bus)
    cycle = [bus]
    cycle.append(cycle)
    gc.disable()
    del bus, cycle
    await asyncio.to_thread(gc.collect)
    await asyncio.to_thread(gone, workers)
    print("ended")
asyncio.run(main())
""",
    "exit without stop": """
async def main():
    global bus
    bus = make()
    await bus.start()
    await use(bus)
    print("ended")
asyncio.run(main())
""",
    "exit with everything under way": """
async def consume(each):
    async for _ in each:
        pass
async def main():
    global bus, rest
    bus = make()
    await bus.start()
    await bus.add_worker("own", lambda *_: asyncio.sleep(60))
    rest = [bus.stream_request("mute", timeout_ms=50000), bus.subscribe()]
    rest += [asyncio.ensure_future(consume(each)) for each in (bus.stream_request("mute"), bus.subscribe())]
    rest += [asyncio.ensure_future(bus.request(each)) for each in ("mute", "own")]
    await use(bus)
    print("ended")
asyncio.run(main())
""",
    "sys.exit in a task": """
async def main():
    async with make() as bus:
        await use(bus)
        print("ended")
        sys.exit(0)
asyncio.run(main())
""",
    "exception in async with": """
async def main():
    global workers
    async with make() as bus:
        workers = pids(bus)
        waiting = asyncio.ensure_future(bus.request("mute"))
        await asyncio.sleep(0)
        try:
            raise ZeroDivisionError
        finally:
            waiting.cancel()
try:
    asyncio.run(main())
except ZeroDivisionError:
    gone(workers)
    print("ended")
""",
    "asyncio.run twice": """
async def first():
    global bus
    bus = make()
    await bus.start()
    await use(bus)
async def second():
    async def send():
        bus.send("{}")
    async def stream():
        bus.stream_request("e")
    for call in (bus.request("e"), bus.notify("e"), send(), stream()):
        try:
            await call
        except InvalidStateError as error:
            assert "closed" in str(error)
        else:
            raise AssertionError("no error")
    workers = pids(bus)
    await bus.stop()
    gone(workers)
    async with make() as other:
        await use(other)
    print("ended")
asyncio.run(first())
asyncio.run(second())
""",
    "loop is closed early": """
loop = asyncio.new_event_loop()
bus = make()
loop.run_until_complete(bus.start())
loop.run_until_complete(use(bus))
stream = bus.stream_request("mute")
loop.close()
workers = pids(bus)
del stream
bus.destroy()
gone(workers)
print("ended")
""",
    "two buses in one loop": """
async def main():
    async with make() as one, make() as two:
        await asyncio.gather(use(one), use(two))
        assert not set(pids(one)) & set(pids(two))
        await one.stop()
        await use(two)
    print("ended")
asyncio.run(main())
""",
    "a bus per thread": """
async def main():
    async with make() as bus:
        await use(bus)
        together.wait()
        await use(bus)
together = threading.Barrier(4)
threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("ended")
""",
    "a daemon thread runs the bus at exit": """
async def main():
    global bus
    bus = make()
    await bus.start()
    await use(bus)
    ready.set()
    await asyncio.sleep(60)
ready = threading.Event()
threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
assert ready.wait(20)
print("ended")
""",
    "fork": """
async def main():
    async with make() as bus:
        await use(bus)
        child = os.fork()
        if child == 0:
            for call in (bus.request("e"), bus.start(), bus.stop(), bus.notify("e")):
                try:
                    await call
                except InvalidStateError as error:
                    assert "fork" in str(error)
                else:
                    os._exit(1)
            del bus
            gc.collect()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        await use(bus)
    print("ended")
asyncio.run(main())
""",
    "bus becomes garbage in a forked child": """
loop = asyncio.new_event_loop()
bus = make()
loop.run_until_complete(bus.start())
child = os.fork()
if child == 0:
    del bus
    gc.collect()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
loop.run_until_complete(use(bus))
loop.run_until_complete(bus.stop())
loop.close()
print("ended")
""",
}

SYNC = {
    "bus becomes garbage": """
bus = make(StdioBus)
bus.start()
bus.request("e")
workers = pids(bus)
del bus
gc.collect()
gone(workers)
assert threading.active_count() == 1
print("ended")
""",
    "exit without stop": """
bus = make(StdioBus)
bus.start()
assert bus.request("e", {"n": 1}) == {"n": 1}
print("ended")
""",
    "exit with everything under way": """
bus = make(StdioBus)
bus.start()
bus.add_worker("own", lambda *_: {})
stream, subscription = bus.stream_request("mute"), bus.subscribe()
def wait(call):
    try:
        call()
    except (TransportError, StopIteration):
        pass
for call in (lambda: bus.request("mute"), lambda: next(stream), lambda: next(subscription)):
    threading.Thread(target=wait, args=(call,), daemon=True).start()
assert bus.request("own") == {}
print("ended")
""",
    "exception in with": """
try:
    with make(StdioBus) as bus:
        workers = pids(bus)
        raise ZeroDivisionError
except ZeroDivisionError:
    gone(workers)
    print("ended")
""",
    "fork": """
with make(StdioBus) as bus:
    bus.request("e")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there is a second thread
        child = os.fork()
    if child == 0:
        for call in (lambda: bus.request("e"), bus.start, lambda: bus.send("{}"), bus.stop):
            try:
                call()
            except InvalidStateError as error:
                assert "fork" in str(error)
            else:
                os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert bus.request("e", {"n": 1}) == {"n": 1}
print("ended")
""",
    "a forked child exits as usual": """
bus = make(StdioBus)
bus.start()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert bus.request("e", {"n": 1}) == {"n": 1}
bus.stop()
print("ended")
""",
    "inside a running loop": """
async def main():
    with make(StdioBus) as bus:
        assert bus.request("e", {"n": 1}) == {"n": 1}
    async with make() as bus:
        await use(bus)
    print("ended")
asyncio.run(main())
""",
}

SCENARIOS = {f"async: {name}": text for name, text in ASYNC.items()}
SCENARIOS.update({f"sync: {name}": text for name, text in SYNC.items()})


@pytest.fixture
def pools(compiled_echo_worker):
    """Two processes, one of which answers nobody, and a pool of this process."""
    return [
        PoolConfig(id="echo", command=compiled_echo_worker, protocol="jsonrpc"),
        PoolConfig(id="mute", command="sh", args=["-c", "while read line; do :; done"], protocol="jsonrpc"),
        PoolConfig(id="own", embedded=True),
    ]


def end_of_host(program, backend_name, pools, *arguments):
    """Runs a program to its end."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROLOGUE + program]
    command += [backend_name, json.dumps([asdict(each) for each in pools]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def run_host(program, backend_name, pools, *arguments):
    """Runs a program to its end, which is to be a good one; gives what it printed."""
    host = end_of_host(program, backend_name, pools, *arguments)
    # That a callback took long tells of the machine, not of us; conftest.py guards that better.
    said = [line for line in host.stderr.splitlines() if not re.match("Executing <.* took ", line)]
    assert (said, host.returncode) == ([], 0)
    return host.stdout


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("backend_name", ["native", "subprocess"])
def test_host_leaves_nothing_and_says_nothing(scenario, backend_name, pools):
    assert run_host(SCENARIOS[scenario], backend_name, pools) == "ended\n"


# ---- a program that hangs ----------------------------------------------------------------------

HANGING = {
    "async: its loop is closed, the host lives on": """
async def main():
    bus = make()
    await bus.start()
    await use(bus)
    processes = hang(bus)
    bus.destroy()
    return processes
gone(asyncio.run(main()))
print("ended")
""",
    "async: bus becomes garbage": """
async def main():
    bus = make()
    await bus.start()
    await use(bus)
    processes = hang(bus)
    del bus
    gc.collect()
    return processes
gone(asyncio.run(main()))
print("ended")
""",
    "async: exit without stop": """
async def main():
    global bus
    bus = make()
    await bus.start()
    await use(bus)
    hang(bus)
    print("ended")
asyncio.run(main())
""",
    "async: two buses": """
async def main():
    buses = make(), make()
    processes = []
    for bus in buses:
        await bus.start()
        processes += hang(bus)
        bus.destroy()
    return processes
gone(asyncio.run(main()))
print("ended")
""",
    "sync: destroy, the host lives on": """
bus = make(StdioBus)
bus.start()
processes = hang(bus)
bus.destroy()
gone(processes)
print("ended")
""",
    "sync: destroy, then exit": """
bus = make(StdioBus)
bus.start()
hang(bus)
bus.destroy()
print("ended")
""",
    "sync: bus becomes garbage": """
bus = make(StdioBus)
bus.start()
processes = hang(bus)
del bus
gc.collect()
gone(processes)
assert threading.active_count() == 1
print("ended")
""",
    "sync: exit without stop": """
bus = make(StdioBus)
bus.start()
hang(bus)
print("ended")
""",
    "fork while it is ended": """
bus = make(StdioBus)
bus.start()
processes = hang(bus)
bus.destroy()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # that there is a second thread
    child = os.fork()
if child == 0:
    bus = make(StdioBus)
    bus.start()
    ours = hang(bus)
    bus.destroy()
    gone(ours)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
gone(processes)
print("ended")
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", HANGING)
def test_program_that_hangs_is_gone_soon_whatever_becomes_of_its_loop(scenario, pools):
    """Killed when its time is up, and its workers with it; a host that exits waits for that."""
    assert run_host(HANGING[scenario], "subprocess", pools) == "ended\n"


# ---- Ctrl-C ----------------------------------------------------------------------------------

# A worker that interrupts its host, and then has to be ended.
INTERRUPTING = {
    "start": ("mcp", "read line; kill -INT $HOST; while read line; do :; done"),
    "request": ("jsonrpc", "read line; kill -INT $HOST; while read line; do :; done"),
    "stream": ("jsonrpc", "read line; kill -INT $HOST; while read line; do :; done"),
    "stop": ("jsonrpc", "trap '' TERM; while read line; do :; done; kill -INT $HOST; exec sleep 1000"),
}

INTERRUPTED = {
    "async": """
async def main():
    async with AsyncStdioBus(BusConfig(pools=POOLS), backend=BACKEND) as bus:
        if PHASE == "request":
            await bus.request("m")
        if PHASE == "stream":
            async for event in bus.stream_request("m"):
                pass
def host():
    asyncio.run(main())
""",
    "sync": """
def host():
    with StdioBus(BusConfig(pools=POOLS), backend=BACKEND) as bus:
        if PHASE == "request":
            bus.request("m")
        if PHASE == "stream":
            for event in bus.stream_request("m"):
                pass
""",
}

CATCH = """
PHASE = sys.argv[3]
POOLS[0].env["HOST"] = str(os.getpid())
try:
    host()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("phase", INTERRUPTING)
@pytest.mark.parametrize("kind", INTERRUPTED)
@pytest.mark.parametrize("backend_name", ["native", "subprocess"])
def test_ctrl_c_ends_a_host_quietly(kind, phase, backend_name):
    protocol, script = INTERRUPTING[phase]
    worker = PoolConfig(id="p", command="sh", args=["-c", script], protocol=protocol)
    for attempt in range(3):
        try:
            said = run_host(INTERRUPTED[kind] + CATCH, backend_name, [worker], phase)
            break
        except subprocess.TimeoutExpired as expired:
            # An interrupt that hits Python amid a weak reference's callback is dropped by Python itself.
            if attempt == 2 or b"Exception ignored in" not in (expired.stderr or b""):
                raise
    assert said == "interrupted\n"


# ---- a host that is killed -------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("backend_name", ["native", "subprocess"])
def test_killed_host_leaves_nothing_though_requests_are_out(backend_name, number):
    """At once: nobody is left who waits for the answer. The guard gives what is left 2 s."""
    script = f"read line; kill -{int(number)} $HOST; while read line; do :; done"
    worker = PoolConfig(id="p", command="sh", args=["-c", script], protocol="jsonrpc")
    host = end_of_host(INTERRUPTED["async"] + CATCH, backend_name, [worker], "request")
    assert (host.returncode, host.stdout) == (-number, "")
