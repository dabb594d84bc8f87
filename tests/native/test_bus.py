"""The wrapper of one kernel bus, without asyncio: what callbacks report, when it may be freed."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest

from stdiobus import BusConfig, InvalidArgumentError, InvalidStateError, NativeOptions, PoolConfig
from stdiobus.native import bindings
from stdiobus.native.bus import NativeBus

ECHO = """
import sys
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line.replace(b'"params"', b'"result"').replace(b'"method":"echo",', b''))
    sys.stdout.buffer.flush()
"""


@pytest.fixture
def make(loaded):
    """`make(config)`: a bus; destroyed after the test."""
    made = []

    def bus(config=None):
        if config is None:
            config = BusConfig([PoolConfig("echo", sys.executable, ["-u", "-c", ECHO])]).to_json()
        made.append(NativeBus(loaded, config, NativeOptions(), bindings.LOG_DEBUG))
        return made[-1]

    yield bus
    for each in made:
        each.destroy()


def step_until(bus, condition):
    """Steps until something in the inbox satisfies `condition`; gives that entry."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for entry in bus.inbox:
            if condition(entry):
                return entry
        bus.step()
    raise AssertionError(f"not seen: {bus.inbox}")


def test_lines_there_and_back(make):
    bus = make()
    bus.start()
    assert bus.poll_fd() >= 0
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": n, "method": "echo", "params": {"n": n}}, separators=(",", ":"))
        for n in (1, 2)
    ]
    bus.feed("".join(line + "\n" for line in lines).encode())
    _, data, records = step_until(bus, lambda entry: entry[0] == "batch")
    assert data.endswith(b"\n")
    assert len(records) % bindings.LINE_SIZE == 0
    assert json.loads(data.split(b"\n")[0])["result"] == {"n": 1}


def test_buffer_grows_for_a_big_line_and_shrinks_again(make):
    bus = make()
    bus.start()
    text = "x" * (5 << 20)
    bus.feed(json.dumps({"jsonrpc": "2.0", "method": "n", "params": [text]}).encode() + b"\n")
    assert len(bus._buffer) < 1 << 20
    bus.feed(b'{"jsonrpc":"2.0","method":"n"}\n')


def test_worker_events_and_snapshots(make):
    bus = make()
    bus.start()
    _, event = step_until(bus, lambda entry: entry[0] == "event")
    assert (event.kind, event.pool, event.worker_id, event.returncode) == ("started", "echo", 1, None)
    [info] = bus.workers()
    assert (info.pool, info.worker_id, info.pid, info.state) == ("echo", 1, event.pid, "ready")
    assert (bus.worker_count(), bus.client_count()) == (1, 0)
    bus.feed(b'{"jsonrpc":"2.0","method":"n"}\n')
    assert bus.stats().messages_in == 1


def test_wrong_configuration(make):
    with pytest.raises(InvalidArgumentError, match="pools: must not be empty"):
        make('{"pools": []}')


def test_orderly_stop(make):
    bus = make()
    bus.start()
    bus.stop(5)
    deadline = time.monotonic() + 10
    while not bus.stopped():
        assert time.monotonic() < deadline
        bus.step()


def test_destroyed_bus_answers_without_the_kernel(make):
    bus = make()
    bus.start()
    bus.feed(b'{"jsonrpc":"2.0","method":"n"}\n')
    [info] = bus.workers()
    bus.destroy()
    bus.destroy()
    with pytest.raises(ProcessLookupError):
        os.kill(info.pid, 0)
    assert (bus.alive, bus.workers(), bus.worker_count(), bus.poll_fd()) == (False, [], 0, -1)
    assert bus.stats().messages_in == 1
    assert bus.stopped()
    for call in (bus.start, bus.step, lambda: bus.feed(b"{}\n")):
        with pytest.raises(InvalidStateError):
            call()


def test_destroy_within_a_call_waits_for_its_end(make):
    bus = make()
    bus.start()
    real = bus._functions.stdio_bus_step

    def step(pointer, timeout):
        bus.destroy()  # as the garbage collector would, from a callback
        assert bus.alive
        return real(pointer, timeout)

    bus._call(step, 0)
    assert not bus.alive


def test_exception_in_a_callback_is_kept(make, monkeypatch):
    from stdiobus.native import bus as module

    monkeypatch.setattr(module, "_worker_event", lambda event: 1 / 0)
    bus = make()
    bus.start()
    _, error = step_until(bus, lambda entry: entry[0] == "raise")
    assert isinstance(error, ZeroDivisionError)
