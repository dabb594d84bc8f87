"""The subprocess backend over a fake program: lines, status, every way to end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time

import pytest

from stdiobus import AsyncStdioBus, InternalError, InvalidArgumentError, TransportError, UnavailableError
from stdiobus.backends.program import Binary, local
from stdiobus.backends.subprocess import SubprocessBackend
from stdiobus.config import SubprocessOptions


@pytest.fixture
def make(program):
    """`make(mode, **options)`: a backend that is not started; destroyed after the test."""
    made = []

    def backend(mode="", **options):
        env = {"FAKE_MODE": mode, **options.pop("env", {})}
        options = SubprocessOptions(env=env, **options)
        made.append(SubprocessBackend(local(Binary(program, "program of the test"), options)))
        return made[-1]

    yield backend
    for each in made:
        each.destroy()


def request(number, method="echo", params=None):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


async def test_lines_go_there_and_back(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    backend.send(request(1, params=["\u2028"]) + request(2) + request(3))
    backend.send(request(4))
    await sink.until(lambda: len(sink.messages) == 4)
    assert [message["id"] for message in sink.messages] == [1, 2, 3, 4]
    assert sink.messages[0]["result"]["params"] == ["\u2028"]
    assert [record[1:] for record in sink.records] == [(1, 0, 0)] * 4
    await backend.stop(5)


async def test_status_is_mirrored_and_never_delivered(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    assert [(info.pool, info.worker_id, info.pid, info.state) for info in backend.workers()] == [
        ("echo", 1, 4711, "ready"),
        ("other", 2, 4711, "ready"),
    ]
    assert (backend.worker_count(), backend.client_count(), backend.stats().worker_restarts) == (2, 0, 0)
    await sink.until(lambda: len(sink.events) == 2)
    assert sink.messages == []
    await backend.stop(5)
    assert (backend.workers(), backend.worker_count(), backend.client_count()) == ([], 0, 0)


async def test_worker_events_are_told_in_order_and_seen_in_the_status(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    backend.send(request(1, "crash"))
    await sink.until(lambda: sink.messages)
    restarting, started = sink.events[-2:]
    assert (restarting.kind, restarting.returncode, restarting.reason) == ("restarting", -9, "it crashed")
    assert (restarting.stderr_tail, restarting.pool, restarting.worker_id) == ("oops", "echo", 1)
    assert (started.kind, started.pid, started.returncode) == ("started", 4712, None)
    assert backend.stats().worker_restarts == 1
    assert (backend.workers()[0].restarts, backend.workers()[0].pid) == (1, 4712)
    await backend.stop(5)


async def test_words_of_a_worker_are_not_taken_for_the_programs(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    backend.send(request(1, "quote"))
    await sink.until(lambda: len(sink.messages) == 2)
    assert sink.messages[0]["method"] == "note"
    await backend.stop(5)


async def test_five_mebibytes_and_single_bytes(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    text = "x" * (5 << 20)
    backend.send(request(1, params=[text]))
    assert backend.backlog > 0
    backend.send(request(2, "drip"))
    await sink.until(lambda: len(sink.messages) == 2)
    same = sink.messages[0]["result"]["params"] == [text]
    assert same
    assert sink.messages[1]["result"] == "drop"
    assert backend.backlog == 0
    await backend.stop(5)


async def test_program_that_does_not_read_blocks_nobody_and_is_ended(make, sink, config):
    backend = make(drain_timeout_sec=0.05)
    await backend.start(config, sink)
    backend.send(request(1, "deaf"))
    backend.send(request(2, params=["x" * (1 << 20)]))
    assert backend.backlog > 1 << 19
    started = time.monotonic()
    await backend.stop(30)
    assert time.monotonic() - started < 5


async def test_big_configuration_does_not_block_the_start(make, sink):
    from stdiobus import BusConfig, PoolConfig

    config = BusConfig([PoolConfig("echo", "worker", args=["x" * (1 << 20)])])
    backend = make()
    await backend.start(config, sink)
    await backend.stop(5)


async def test_environment_of_the_program(make, sink, config, monkeypatch):
    monkeypatch.setenv("FAKE_REMOVED", "1")
    monkeypatch.setenv("FAKE_KEPT", "2")
    backend = make(env={"FAKE_ADDED": "3", "FAKE_REMOVED": None})
    await backend.start(config, sink)
    backend.send(request(1, "environment", ["FAKE_ADDED", "FAKE_KEPT", "FAKE_REMOVED"]))
    await sink.until(lambda: sink.messages)
    seen = sink.messages[0]["result"]["params"]
    assert seen == {"FAKE_ADDED": "3", "FAKE_KEPT": "2", "FAKE_REMOVED": None}
    await backend.stop(5)


async def test_its_log_is_ours(make, sink, config, caplog):
    caplog.set_level(logging.DEBUG, "stdiobus")
    backend = make()
    await backend.start(config, sink)
    backend.send(request(1))
    await sink.until(lambda: sink.messages)
    await backend.stop(5)
    assert ("stdiobus.kernel", logging.WARNING, "here we go") in caplog.record_tuples
    assert ("stdiobus.kernel", logging.WARNING, "not a log line") in caplog.record_tuples


# ---- starts that fail ------------------------------------------------------------------------


async def test_wrong_configuration(make, sink, config):
    with pytest.raises(InvalidArgumentError, match=r"exit code 3(.|\n)*pools\[0\].id: must not be empty"):
        await make("config").start(config, sink)


async def test_program_that_says_nothing(make, sink, config):
    backend = make("silent", start_timeout_sec=0.5)
    with pytest.raises(UnavailableError, match=r"did not report within 0.5 s(.|\n)*thinking"):
        await backend.start(config, sink)


async def test_program_whose_first_line_is_cut_off(make, sink, config):
    with pytest.raises(InternalError, match="wrote a line that this version does not know: JSONDecodeError"):
        await make("garble").start(config, sink)
    assert sink.failures == []


async def test_program_that_cannot_be_executed(sink, config, tmp_path):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    backend = SubprocessBackend(local(Binary(str(tmp_path / "text"), "test"), SubprocessOptions()))
    with pytest.raises(UnavailableError, match=r"text \(test\) cannot be executed: Exec format error"):
        await backend.start(config, sink)
    backend.destroy()


# ---- ends ------------------------------------------------------------------------------------


async def test_death_of_the_program_is_one_failure_with_its_stderr(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    backend.send(request(1))
    backend.send(request(2, "die"))
    await sink.until(lambda: sink.failures)
    [error] = sink.failures
    assert isinstance(error, TransportError)
    assert "exit code 9" in str(error)
    assert "out of luck" in str(error)
    assert [message["id"] for message in sink.messages] == [1]
    backend.send(request(3))
    assert backend.workers() == []


async def test_line_without_tags_is_a_failure(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    backend.send(request(1, "garble"))
    await sink.until(lambda: sink.failures)
    assert isinstance(sink.failures[0], InternalError)


async def test_stop_and_destroy_are_idempotent(make, sink, config):
    backend = make()
    await backend.stop(1)
    backend.destroy()
    backend = make()
    await backend.start(config, sink)
    await backend.stop(5)
    await backend.stop(5)
    backend.destroy()
    backend.finalizer()()
    assert sink.failures == []


async def test_end_that_the_program_resists_is_forced(make, sink, config):
    backend = make("stubborn", drain_timeout_sec=0.05)
    await backend.start(config, sink)
    pid = backend._held.program.pid
    await backend.stop(30)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_destroy_does_not_wait_for_a_program_that_resists(make, sink, config):
    backend = make("stubborn")
    await backend.start(config, sink)
    pid = backend._held.program.pid
    started = time.monotonic()
    backend.destroy()
    assert time.monotonic() - started < 2
    os.kill(pid, 0)
    while backend._held.program.poll() is None:  # seen through by a thread
        await asyncio.sleep(0.01)
        assert time.monotonic() - started < 20
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_end_that_lost_its_loop_is_seen_through_at_exit(program):
    script = f"""
import asyncio
from stdiobus import BusConfig, PoolConfig
from stdiobus.backends.program import Binary, local
from stdiobus.backends.subprocess import SubprocessBackend
from stdiobus.config import SubprocessOptions

async def main():
    options = SubprocessOptions(env={{"FAKE_MODE": "stubborn"}})
    backend = SubprocessBackend(local(Binary({program!r}, "test"), options))
    await backend.start(BusConfig([PoolConfig("echo", "worker")]), None)
    print(backend._held.program.pid)
    backend.destroy()

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(ended.stdout), 0)


async def test_finalizer_ends_the_program(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    finalizer, pid = backend.finalizer(), backend._held.program.pid
    finalizer()
    finalizer()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_finalizer_works_from_another_thread(make, sink, config):
    backend = make()
    await backend.start(config, sink)
    pid = backend._held.program.pid
    await asyncio.get_running_loop().run_in_executor(None, backend.finalizer())
    await asyncio.sleep(0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_whole_bus_over_the_fake_program(program, config):
    options = SubprocessOptions(binary_path=program)
    async with AsyncStdioBus(config, backend="subprocess", subprocess=options) as bus:
        assert bus.get_backend_type() == "subprocess"
        results = await asyncio.gather(*(bus.request("echo", {"n": n}) for n in range(100)))
        assert [result["params"]["n"] for result in results] == list(range(100))
        dying = asyncio.ensure_future(bus.request("die"))
        with pytest.raises(TransportError, match="out of luck"):
            await dying
        assert not bus.is_running()
