"""The kernel inside this process, through ctypes.

Joins a `NativeBus` and an event loop: steps it, takes what its callbacks reported and
hands it to the sink.  How C is called is the business of ``stdiobus.native``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import struct
import threading
from collections.abc import Iterable
from typing import Any, Callable

from ..config import BusConfig, NativeOptions
from ..errors import InternalError, StdioBusError
from ..messages import BackendMode, BusStats, ListenMode, WorkerInfo
from ..native import bindings
from ..native.bus import NativeBus
from ..native.library import Library
from ..native.loop import Driver, drive
from .base import Backend, Sink

_log = logging.getLogger("stdiobus.kernel")

_LEVELS = {
    bindings.LOG_DEBUG: logging.DEBUG,
    bindings.LOG_INFO: logging.INFO,
    bindings.LOG_WARNING: logging.WARNING,
    bindings.LOG_ERROR: logging.ERROR,
}

_read_lines = struct.Struct(bindings.LINE_FORMAT).iter_unpack

_STOP_GRACE_SEC = 5.0
"""How long after its own deadline the kernel may take before it is destroyed."""


class NativeBackend(Backend):
    """See `Backend`.

    Args:
        library: The loaded library.
        options: Listener and stepping.
    """

    mode = BackendMode.NATIVE

    def __init__(self, library: Library, options: NativeOptions) -> None:
        self._library = library
        self._options = options
        self._held: _Held | None = None
        self._sink: Sink | None = None
        self._stopping: asyncio.Future[None] | None = None

    async def start(self, config: BusConfig, sink: Sink) -> None:
        """See `Backend.start`."""
        loop = asyncio.get_running_loop()
        bus = NativeBus(self._library, config.to_json(), self._options, _kernel_level())
        self._sink = sink
        self._held = _Held(bus, loop)
        bus.start()
        self._deliver_soon()
        self._held.driver = drive(
            loop,
            bus.poll_fd(),
            self._step,
            interval=self._options.poll_interval_ms / 1000,
            force_timer=self._options.force_timer,
        )

    def send(self, data: bytes, client: int = 0) -> None:
        """See `Backend.send`."""
        self._bus.feed(data, client)
        self._deliver_soon()

    async def stop(self, timeout_sec: float) -> None:
        """See `Backend.stop`."""
        if self._held is None or not self._bus.alive:
            return
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
            self._bus.stop(math.ceil(timeout_sec))
            self._deliver_soon()
            self._check_stopped()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._stopping), timeout_sec + _STOP_GRACE_SEC)
        self._deliver()
        self.destroy()

    def destroy(self) -> None:
        """See `Backend.destroy`."""
        self._sink = None
        if self._held is not None:
            self._held.release()
        self._end_stopping()

    def finalizer(self) -> Callable[[], Any]:
        """See `Backend.finalizer`."""
        assert self._held is not None, "the backend was not started"
        return self._held.release_from_anywhere

    def stats(self) -> BusStats:
        """See `Backend.stats`."""
        return self._bus.stats()

    def workers(self) -> list[WorkerInfo]:
        """See `Backend.workers`."""
        return self._bus.workers()

    def worker_count(self) -> int:
        """See `Backend.worker_count`."""
        return self._bus.worker_count()

    def client_count(self) -> int:
        """See `Backend.client_count`."""
        return self._bus.client_count()

    @property
    def listen_mode(self) -> ListenMode:
        """See `Backend.listen_mode`."""
        return self._options.listen_mode

    @property
    def _bus(self) -> NativeBus:
        assert self._held is not None, "the backend was not started"
        return self._held.bus

    def _step(self) -> None:
        bus = self._bus
        try:
            bus.step()
        except StdioBusError as error:
            self._deliver()
            self._fail(error)
            return
        self._deliver()
        if self._stopping is not None:
            self._check_stopped()

    def _deliver_soon(self) -> None:
        """For what callbacks reported during a call of ours; the sink is told from the loop."""
        if self._bus.inbox:
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        # The sink may destroy this backend at any entry: then the rest is not wanted.
        inbox = self._bus.inbox
        entries = inbox[:]
        inbox.clear()
        for entry in entries:
            kind = entry[0]
            if kind == "batch":
                if self._sink is not None:
                    self._sink.batch(entry[1], _records(entry[2]))
            elif kind == "event":
                if self._sink is not None:
                    self._sink.worker_event(entry[1])
            elif kind == "log":
                _log.log(_LEVELS.get(entry[1], logging.ERROR), "%s", entry[2])
            elif kind == "error":
                _log.error("%s (code %d)", entry[2], entry[1])
            else:
                self._callback_failed(entry[1])

    def _callback_failed(self, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error  # KeyboardInterrupt, SystemExit: the loop's owner must see it
        failure = InternalError(f"a message was lost between the kernel and Python: {error!r}")
        failure.__cause__ = error
        self._fail(failure)

    def _fail(self, error: StdioBusError) -> None:
        sink = self._sink
        self.destroy()
        if sink is not None:
            sink.failed(error)

    def _check_stopped(self) -> None:
        if self._bus.stopped():
            self._end_stopping()

    def _end_stopping(self) -> None:
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)


class _Held:
    """What must be freed even if the backend is garbage; refers to none of its users."""

    def __init__(self, bus: NativeBus, loop: asyncio.AbstractEventLoop) -> None:
        self.bus = bus
        self.driver: Driver | None = None
        self._loop = loop
        self._thread = threading.get_ident()
        self._pid = os.getpid()

    def release(self) -> None:
        """Stops the stepping and destroys the bus; on the loop's thread only."""
        if os.getpid() != self._pid:
            return  # a forked child: loop and kernel share their descriptors with the parent
        if self.driver is not None:
            self.driver.stop()
            self.driver = None
        self.bus.destroy()

    def release_from_anywhere(self) -> None:
        """As `release`, marshalled to the loop's thread where that still runs elsewhere."""
        if threading.get_ident() != self._thread and self._loop.is_running():
            with contextlib.suppress(RuntimeError):  # closed in between: fall through
                self._loop.call_soon_threadsafe(self.release)
                return
        self.release()


def _records(lines: bytes) -> Iterable[tuple[int, int, int, int]]:
    return _read_lines(lines)


def _kernel_level() -> int:
    effective = _log.getEffectiveLevel()
    return next((ours for ours, theirs in _LEVELS.items() if effective <= theirs), bindings.LOG_ERROR)
