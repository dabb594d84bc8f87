"""What holds for every test: guards against leaks and against blocking, and shared workers.

The guards compare the process before and after each test, fixtures included: a test that leaves
a descriptor, a child or any descendant behind fails, and so does one in which a callback held an
event loop for too long, or asyncio had an error to report that nobody else was told.
(Warnings are errors by pyproject.toml, those of resources and "exception ignored" included.)
test_guards.py sees the guards fail. What only integration tests need is in integration/conftest.py.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import echo_worker
from tests.interpreters import PYTHON

# Seconds. Development mode computes twice as long for the same, and as long again where coverage is
# measured; the collector of PyPy alone stops a process of this size for 200 to 300 ms, and beside other
# work on the machine, as in .ci/run, for up to a second.
LONGEST_CALLBACK = 0.2 * (2 if sys.flags.dev_mode else 1) * (2 if "coverage" in sys.modules else 1)
if sys.implementation.name != "cpython":
    LONGEST_CALLBACK = 1.4
TIME_TO_DIE = 2.0  # seconds that a killed descendant may still be seen

# Every descendant inherits this variable, so it is found even when its parent is gone.
MARK = f"STDIOBUS_TEST_RUN={os.getpid()}"
os.environ.update([MARK.split("=")])

# A shell starts what it puts into the background deaf to Ctrl-C, and every descendant would be.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

before_test = pytest.StashKey[dict]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: much work, or a long wait")
    config.addinivalue_line("markers", "busy_loop: others than us compute or wait on the loop of the test")
    watch_callbacks()
    logging.getLogger("asyncio").addHandler(Complaints(logging.ERROR))
    # Or else the first asyncio test finds a loop made for it in passing, which nobody closes.
    asyncio.set_event_loop(None)


# ---- what is not there ----------------------------------------------------------------------

# How a test says that a server, an agent or a library is missing where it runs.
ABSENT = ("could not import", "not installed", "STDIOBUS_TEST_")


def demand(report: Any) -> Any:
    """Where everything is said to be there (STDIOBUS_TEST_COMPLETE), a test that misses it fails."""
    if report.skipped and os.environ.get("STDIOBUS_TEST_COMPLETE") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if any(words in reason for words in ABSENT):
            report.outcome, report.longrepr = "failed", f"STDIOBUS_TEST_COMPLETE is set, but: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return demand((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    return demand((yield))


# ---- descriptors and processes ------------------------------------------------------------


def open_descriptors() -> dict[int, str]:
    """The open descriptors of this process and what each refers to; empty without /proc."""
    found = {}
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor that listed the folder
            continue
    return found


strangers: set[int] = set()  # processes that were looked at: they need not be again


def descendants() -> dict[int, str]:
    """Children, and all processes that carry the mark, with their command lines."""
    found = {}
    names = os.listdir("/proc") if os.path.isdir("/proc/self") else ()
    running = {int(name) for name in names if name.isdigit()}
    strangers.intersection_update(running)
    for pid in running - strangers - {os.getpid()}:
        folder = Path("/proc", str(pid))
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() or MARK.encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[pid] = command.strip() or "(zombie)"
            else:
                strangers.add(pid)
        except ProcessLookupError:  # a thread of Linux itself, or gone
            strangers.add(pid)
        except (FileNotFoundError, PermissionError):  # gone, or not ours
            continue
    return found


def open_process(pid: int) -> int:
    """A descriptor that is readable when the process has ended."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    # Linux has this one number on all machines; PyPy and old CPythons do not name it.
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(434, pid, 0)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "pidfd_open")
    return descriptor


def wait_for_exit(pid: int, timeout: float) -> bool:
    """Whether the process, a child or not, has ended within `timeout` seconds."""
    try:
        descriptor = open_process(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)


def finish_programs(deadline: float) -> None:
    """Waits for the thread that sees programs of destroyed buses through."""
    program = sys.modules.get("stdiobus.backends.program")
    while program is not None and program._seeing_to_it.locked() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    item.stash[before_test] = {"descriptors": open_descriptors(), "descendants": descendants()}
    slow_callbacks.clear()
    complaints.clear()
    return (yield)


def pytest_collection_finish() -> None:
    """Keep what lives as long as the process out of the collector's way: it stopped callbacks for 400 ms."""
    if sys.implementation.name == "cpython":
        gc.collect()
        gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    result = yield
    before = item.stash[before_test]
    deadline = time.monotonic() + TIME_TO_DIE
    finish_programs(deadline)
    for pid in descendants().keys() - before["descendants"].keys():
        wait_for_exit(pid, max(0.0, deadline - time.monotonic()))
    left = {pid: command for pid, command in descendants().items() if pid not in before["descendants"]}
    for pid in left:
        os.kill(pid, signal.SIGKILL)  # so that a failed test harms no other
    leaked = dict(open_descriptors().items() - before["descriptors"].items())
    assert not left, f"the test left processes behind: {left}"
    assert not leaked, f"the test left descriptors open: {leaked}"
    assert not complaints, f"asyncio complains: {complaints}"
    excused = "MainThread" if item.get_closest_marker("busy_loop") is not None else None
    blocked = [what for thread, what, of_package in slow_callbacks if of_package or thread != excused]
    assert not blocked, f"callbacks blocked their event loop: {blocked}"
    return result


# ---- callbacks that block their loop ------------------------------------------------------

# The thread, what it was busy with, and whether that is a function of the package.
slow_callbacks: list[tuple[str, str, bool]] = []


def watch_callbacks() -> None:
    """Times every callback of every asyncio loop, in all threads; notes the ones that block.

    A callback blocks when it computes for too long, or waits. Time in which a busy machine ran
    something else instead is not its own, as far as the machine tells.
    """
    original = asyncio.Handle._run
    queued = -1  # a file that tells how long the main thread could run and was not let
    if os.path.exists("/proc/thread-self/schedstat"):
        queued = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    main_thread = threading.get_ident()

    def effort() -> tuple[float, float, float, int]:
        """The time; the seconds that this thread has computed and has not been let; how often it waited."""
        now = time.perf_counter()
        if not hasattr(resource, "RUSAGE_THREAD"):  # macOS: there every moment counts
            return now, now, 0.0, 0
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        hindered = 0.0
        if queued >= 0 and threading.get_ident() == main_thread:
            hindered = int(os.pread(queued, 64, 0).split()[1]) / 1e9
        return now, usage.ru_utime + usage.ru_stime, hindered, usage.ru_nvcsw

    def timed(handle: asyncio.Handle) -> None:
        before = effort()
        original(handle)
        elapsed, computed, hindered, waits = (now - then for now, then in zip(effort(), before))
        if elapsed > LONGEST_CALLBACK and (
            computed > LONGEST_CALLBACK or (waits and elapsed - computed - hindered > LONGEST_CALLBACK)
        ):
            what = f"{elapsed * 1000:.0f} ms in {handle!r}"
            # A step of a task, of whatever library or test, is a callback of asyncio's own.
            of_package = str(getattr(handle._callback, "__module__", "")).startswith("stdiobus.")
            slow_callbacks.append((threading.current_thread().name, what, of_package))

    asyncio.Handle._run = timed  # type: ignore[method-assign]


# ---- time ----------------------------------------------------------------------------------


@pytest.fixture
def turn() -> Callable[[], Awaitable[None]]:
    """`await turn()`: lets everything that is ready run, descriptors of the loop included."""

    async def turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    return turns


# ---- errors that have no one to go to -------------------------------------------------------

complaints: list[str] = []


class Complaints(logging.Handler):
    """Notes what asyncio logs as an error: exceptions never retrieved, in callbacks, and so on."""

    def emit(self, record: logging.LogRecord) -> None:
        complaints.append(self.format(record))


@pytest.fixture(scope="session", autouse=True)
def last_garbage() -> Iterator[None]:
    """What only the collector would find, is found while a test can still fail for it."""
    yield
    for _ in range(3):  # once is not enough for PyPy
        gc.collect()


# ---- workers ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def compiled_echo_worker() -> str:
    """The path of `workers/echo_worker.c`, compiled."""
    try:
        return str(echo_worker.build())
    except echo_worker.NoCompilerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def gone() -> Callable[[int, float], bool]:
    """`gone(pid, seconds)`: whether a process has ended within that time."""
    return wait_for_exit


# ---- a container engine -------------------------------------------------------------------


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of an executable that plays docker (`fake_engine.py`) with the image `image`."""
    home = tmp_path / "engine"
    home.mkdir()
    (home / "images").write_text("image\n")
    engine = home / "docker"
    script = Path(__file__).with_name("fake_engine.py")
    engine.write_text(f'#!/bin/sh\nFAKE_ENGINE="{home}" exec "{PYTHON}" -SE "{script}" "$@"\n')
    engine.chmod(0o755)
    monkeypatch.delenv("FAKE_ENGINE_MODE", raising=False)
    return engine
