"""The kernel by itself: memory and time at scale, and its listener against bare pipes.

Here: compiling and running the C programs beside this file, and what their figures must be.
Not here: the measuring, which scale.c and pipeline.c do; the Python package (throughput.py).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import echo_worker
import kernel_tests
import targets
from benchmarks.report import Row

WORKER_BYTES = 16 * 1024
SESSION_BYTES = 256
SCALE_RATIO = 1.3
LISTENER_RATIO = 0.5

_PATIENCE_SEC = 10
_HEAP = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "realloc", "free")]


def build(name: str, *more: str) -> Path:
    """Compile a program of this folder.

    Raises:
        kernel_tests.KernelTestError: It does not compile.
    """
    source, program = targets.ROOT / f"benchmarks/{name}.c", targets.CACHE / f"bench-{name}"
    built = program.with_name(f"{program.name}.{os.getpid()}")  # moved into place whole
    targets.CACHE.mkdir(exist_ok=True)
    flags = [*targets.LANGUAGE_FLAGS, *targets.WARNING_FLAGS, "-O2"]
    kernel_tests.build([*kernel_tests.plain_compiler(), *flags, str(source), *more, "-o", str(built)])
    built.replace(program)
    return program


def figures(command: list[str], runs: int = 1) -> dict[str, list[float]]:
    """Run a program that prints lines of a name and a figure, and collect the figures of each name.

    Raises:
        subprocess.CalledProcessError: It failed; what it had to say is on stderr.
    """
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        for line in done.stdout.splitlines():
            name, figure = line.split()
            found.setdefault(name, []).append(float(figure))
    return found


def scale(rounds: int, runs: int = 1) -> list[Row]:
    """500 workers and 100,000 sessions, against 1 and 1.

    A message costs what the process with the bus spends of the processor on it. The system alone needs
    1.2 to 1.4 times as much for one of 500 processes, as the same traffic without a bus shows: the limit
    is SCALE_RATIO, or that where it is more. How long an answer takes is shown without a limit: most of
    it is the system's switching between processes.

    Args:
        rounds: How often the two buses take turns.
        runs: How often all of it is done: on which processors the system puts the workers, it
            decides for a whole run, and that matters more than anything else here.

    Returns:
        Nothing where there is no archive, or where linkers do not wrap functions (macOS).
    """
    target = targets.host()
    if target is None or target.os != "linux":
        return []
    program = build("scale", target.archive, *_HEAP)
    found = figures([str(program), str(rounds), "1000", str(echo_worker.build())], runs)
    bare = _compared(found, "bare: CPU of a message", "bare_{}_cpu")
    allowed = round(max(SCALE_RATIO, bare[1].ratio or 0), 2)
    return [
        Row("memory of an idle worker", found["worker"][0], "bytes", highest=WORKER_BYTES),
        Row("memory of a session", found["session"][0], "bytes", highest=SESSION_BYTES),
        *bare,
        *_compared(found, "CPU of a message", "{}_cpu", allowed),
        *_compared(found, "bare: time to an answer", "bare_{}_wall"),
        *_compared(found, "time to an answer", "{}_wall"),
    ]


def _compared(
    found: dict[str, list[float]], what: str, name: str, highest: Optional[float] = None
) -> tuple[Row, Row]:
    one, many = found[name.format("one")], found[name.format("many")]
    ratio = statistics.median(m / o for m, o in zip(many, one))  # of turns that met the same load
    return (
        Row(f"{what}, 1 and 1", _microseconds(one), "us"),
        Row(f"{what}, 500 and 100,000", _microseconds(many), "us", ratio, highest=highest),
    )


def _microseconds(nanoseconds: list[float]) -> float:
    return statistics.median(nanoseconds) / 1000


def listener(rounds: int, count: int) -> list[Row]:
    """A client with 64 requests in flight: one connection to a bus, against pipes to the worker.

    What has a limit runs on one processor, with a worker that writes each answer by itself, as servers do: so
    work is compared with work. Without a limit are shown the same on all processors, and a worker
    that gathers its answers: there the bare pair is without an equal, because no third process has to run,
    and what can be reached shows a relay that only copies.
    """
    program, worker = build("pipeline"), str(echo_worker.build())
    contests = [
        ("Unix", "unix", "--each", True, LISTENER_RATIO),
        ("TCP", "tcp", "--each", True, LISTENER_RATIO),
        ("all processors", "unix", "--each", False, None),
        ("answers gathered", "unix", "--gather", True, None),
    ]
    rows = []
    for what, kind, argument, alone, limit in contests:
        with one_processor(alone), running_bus(kind, [worker, argument]) as address:
            each = count if alone else count // 4  # the processors wake each other: it takes its time
            found = figures([str(program), str(rounds), str(each), kind, address, worker, argument])
        pipes, relay, bus = (statistics.median(found[name]) for name in ("pipes", "relay", "bus"))
        rows.append(Row(f"{what}: bare pipes", pipes, "answers/s"))
        rows.append(Row(f"{what}: a relay that only copies", relay, "answers/s", relay / pipes))
        rows.append(Row(f"{what}: the listener", bus, "answers/s", bus / pipes, lowest=limit))
    return rows


@contextmanager
def one_processor(wanted: bool) -> Iterator[None]:
    """What is started meanwhile shares one processor, where the system lets us choose."""
    if not wanted or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def running_bus(kind: str, worker: list[str]) -> Iterator[str]:
    """The program stdio_bus, listening; yields the path or port to connect to."""
    with tempfile.TemporaryDirectory() as folder:
        config, path = Path(folder, "config.json"), Path(folder, "s")
        pool = {"id": "echo", "command": worker[0], "args": worker[1:], "protocol": "jsonrpc"}
        config.write_text(json.dumps({"pools": [pool]}), encoding="utf-8")
        where = ["--unix", str(path)] if kind == "unix" else ["--tcp", "127.0.0.1:0"]
        command = [str(targets.ROOT / targets.LAUNCHER), "--config", str(config), *where]
        bus = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            yield _path(bus, path) if kind == "unix" else _port(bus)
        finally:
            bus.terminate()
            bus.communicate()


def _path(bus: subprocess.Popen[str], path: Path) -> str:
    deadline = time.monotonic() + _PATIENCE_SEC
    while not path.exists():
        if bus.poll() is not None or time.monotonic() > deadline:
            raise kernel_tests.KernelTestError("the bus does not listen")
        time.sleep(0.01)
    return str(path)


def _port(bus: subprocess.Popen[str]) -> str:
    assert bus.stderr is not None  # it is a pipe
    for line in bus.stderr:
        if " listening on port " in line:
            return line.split()[-1]
    raise kernel_tests.KernelTestError("the bus does not listen")
