"""The native backend over a scripted bus: order of delivery, failures, ends."""

from __future__ import annotations

import asyncio
import os
import struct

import pytest

from stdiobus import InternalError, NativeOptions, WorkerEvent
from stdiobus.backends import native as module
from stdiobus.backends.native import NativeBackend
from stdiobus.native import bindings


class ScriptedBus:
    """Stands for a `NativeBus`: a pipe is its descriptor, `script` what steps do."""

    last: ScriptedBus

    def __init__(self, library, config_json, options, log_level):
        ScriptedBus.last = self
        self.inbox = []
        self.fed = []
        self.alive = True
        self.stop_complete = True
        self.script = []
        self._reading, self._writing = os.pipe()

    def poll_fd(self):
        return self._reading

    def ring(self, *entries):
        """Makes the next step report `entries`; an exception is raised by it."""
        self.script.extend(entries)
        os.write(self._writing, b"x")

    def start(self):
        self.inbox.append(("event", WorkerEvent("echo", 1, "started", 1)))

    def step(self):
        os.read(self._reading, 100)
        script, self.script = self.script, []
        for entry in script:
            if isinstance(entry, Exception):
                raise entry
            self.inbox.append(entry)

    def feed(self, data, client=0):
        self.fed.append(data)

    def stop(self, timeout_sec):
        self.stop_timeout = timeout_sec
        self.inbox.append(("event", WorkerEvent("echo", 1, "stopped", 1)))

    def stopped(self):
        return self.stop_complete

    def destroy(self):
        if self.alive:
            self.alive = False
            os.close(self._reading)
            os.close(self._writing)


@pytest.fixture
async def backend(monkeypatch, sink, config):
    monkeypatch.setattr(module, "NativeBus", ScriptedBus)
    made = NativeBackend(None, NativeOptions())
    await made.start(config, sink)
    yield made
    made.destroy()


@pytest.fixture
def bus(backend):
    return ScriptedBus.last


def batch(*lines, worker=1):
    records = b"".join(struct.pack(bindings.LINE_FORMAT, len(line), worker, 0, 0) for line in lines)
    return ("batch", b"".join(line + b"\n" for line in lines), records)


async def test_what_a_call_of_ours_reports_is_told_from_the_loop(backend, bus, sink):
    await sink.until(lambda: sink.events)
    bus.feed = lambda data, client: bus.inbox.append(batch(b"{}"))
    backend.send(b"{}\n")
    assert sink.messages == []
    await sink.until(lambda: sink.messages)
    await backend.stop(1)
    assert [event.kind for event in sink.events] == ["started", "stopped"]


async def test_batches_and_events_are_told_in_order(backend, bus, sink):
    bus.ring(
        batch(b'{"n":1}', b'{"n":2}'),
        ("event", WorkerEvent("echo", 1, "restarting", 1)),
        batch(b'{"n":3}', worker=2),
    )
    await sink.until(lambda: len(sink.messages) == 3)
    assert [message["n"] for message in sink.messages] == [1, 2, 3]
    assert sink.records == [(7, 1, 0, 0), (7, 1, 0, 0), (7, 2, 0, 0)]


async def test_sends_in_one_piece(backend, bus):
    backend.send(b"{}\n{}\n")
    assert bus.fed == [b"{}\n{}\n"]
    assert backend.backlog == 0


async def test_log_and_errors_of_the_kernel_are_logged(backend, bus, sink, caplog):
    bus.ring(("log", bindings.LOG_WARNING, "100% noise"), ("error", -1, "oops"), batch(b"{}"))
    await sink.until(lambda: sink.messages)
    assert [record.getMessage() for record in caplog.records] == ["100% noise", "oops (code -1)"]


async def test_failed_step_is_one_failure_after_what_it_reported(backend, bus, sink):
    bus.ring(batch(b"{}"), InternalError("broken"))
    await sink.until(lambda: sink.failures)
    assert len(sink.messages) == 1
    assert str(sink.failures[0]) == "broken"
    assert not bus.alive


async def test_exception_of_a_callback_is_a_failure(backend, bus, sink):
    bus.ring(("raise", ZeroDivisionError("x")))
    await sink.until(lambda: sink.failures)
    assert isinstance(sink.failures[0], InternalError)
    assert isinstance(sink.failures[0].__cause__, ZeroDivisionError)


async def test_stop_waits_for_the_kernel_and_delivers_meanwhile(backend, bus, sink):
    bus.stop_complete = False
    stopping = asyncio.ensure_future(backend.stop(1.5))
    again = asyncio.ensure_future(backend.stop(1.5))
    await asyncio.sleep(0)
    bus.ring(batch(b"{}"))
    await sink.until(lambda: sink.messages)
    assert not stopping.done()
    bus.stop_complete = True
    bus.ring()
    await asyncio.gather(stopping, again)
    assert bus.stop_timeout == 2
    assert not bus.alive
    await backend.stop(1)


async def test_kernel_that_does_not_stop_is_destroyed(backend, bus, monkeypatch):
    monkeypatch.setattr(module, "_STOP_GRACE_SEC", 0.01)
    bus.stop_complete = False
    await backend.stop(0)
    assert not bus.alive


async def test_nothing_is_told_after_destroy(backend, bus, sink, turn):
    bus.ring(batch(b"{}"))
    backend.destroy()
    backend.destroy()
    await turn()
    assert sink.messages == []


async def test_sink_that_destroys_is_told_nothing_more(backend, bus, sink, turn, monkeypatch, caplog):
    await sink.until(lambda: sink.events)  # it has started
    monkeypatch.setattr(sink, "worker_event", lambda event: backend.destroy())
    bus.ring(("event", WorkerEvent("echo", 1, "failed", 0)), batch(b"{}"))
    await turn()
    assert sink.messages == []
    assert caplog.records == []
    assert not bus.alive


async def test_finalizer_works_here_in_another_thread_and_twice(backend, bus):
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, backend.finalizer())
    await asyncio.sleep(0)
    assert not bus.alive
    backend.finalizer()()
    await loop.shutdown_default_executor()
