"""One kernel bus behind ctypes: calls, callbacks and what they report.

The wrapper knows C, not asyncio and not messages.  All calls on one `NativeBus` come from
one thread.  C callbacks only copy what they are given into `NativeBus.inbox`: no other
Python code runs inside a C call, so nothing can be raised there and get lost, and nothing
can call back into the kernel at a forbidden moment.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from ..config import NativeOptions
from ..errors import (
    InternalError,
    InvalidArgumentError,
    InvalidStateError,
    StdioBusError,
    UnavailableError,
)
from ..messages import BusStats, ListenMode, WorkerEvent, WorkerInfo, returncode
from . import bindings
from .library import Library

_LISTEN = {ListenMode.NONE: 0, ListenMode.TCP: 1, ListenMode.UNIX: 2}

_ERRORS: dict[int, type[StdioBusError]] = {
    bindings.ERR_CONFIG: InvalidArgumentError,
    bindings.ERR_EINVAL: InvalidArgumentError,
    bindings.ERR_WORKER: UnavailableError,
    bindings.ERR_STATE: InvalidStateError,
}

_BUFFER_SIZE = 64 * 1024
_BUFFER_KEPT = 4 * 1024 * 1024


class NativeBus:
    """A ``stdio_bus_t``.

    Args:
        library: The loaded library.
        config_json: The configuration.
        options: The listener.
        log_level: Lowest level (``LOG_*``) that is logged.

    Attributes:
        inbox: What callbacks reported, oldest first; whoever made the call empties it.
            Entries: ``("batch", data, records)`` with the bytes of both arrays,
            ``("event", WorkerEvent)``, ``("log", level, text)``, ``("error", code, text)``,
            ``("raise", exception)`` for an exception that a signal handler or the
            garbage collector raised while a callback ran.

    Raises:
        InvalidArgumentError: The configuration is wrong.
    """

    def __init__(self, library: Library, config_json: str, options: NativeOptions, log_level: int) -> None:
        self.inbox: list[tuple[Any, ...]] = []
        self._functions = library.functions
        self._busy = False
        self._doomed = False
        self._pid = os.getpid()
        self._last_stats = BusStats()
        self._resize(_BUFFER_SIZE)
        # ctypes frees a callback when its Python object goes: these live as long as the bus.
        self._callbacks = _callbacks(self.inbox)
        on_error, on_log, on_batch, on_worker_event = self._callbacks
        c_options = bindings.Options(
            config_json=config_json.encode(),
            listener=bindings.Listener(
                mode=_LISTEN[options.listen_mode],
                tcp_host=options.tcp_host.encode(),
                tcp_port=options.tcp_port,
                unix_path=options.unix_path.encode() if options.unix_path is not None else None,
            ),
            on_error=on_error,
            on_log=on_log,
            log_level=log_level,
        )
        self._bus: int | None = self._functions.stdio_bus_create(ctypes.byref(c_options))
        if not self._bus:
            raise self._creation_error()
        self._functions.stdio_bus_set_on_batch(self._bus, on_batch)
        self._functions.stdio_bus_set_on_worker_event(self._bus, on_worker_event)

    @property
    def alive(self) -> bool:
        """Whether it was not destroyed yet."""
        return self._bus is not None

    def start(self) -> None:
        """Starts workers and listener.

        Raises:
            StdioBusError: By the kernel's code; nothing runs then.
        """
        code = self._call(self._functions.stdio_bus_start)
        if code < 0:
            raise self._error("start", code)

    def step(self) -> None:
        """Does what is due, without waiting.

        Raises:
            InternalError: The kernel failed.
        """
        code = self._call(self._functions.stdio_bus_step, 0)
        if code < 0:
            raise self._error("step", code)

    def feed(self, data: bytes, client: int = bindings.HOST_CLIENT) -> None:
        """Hands whole lines of one client to the kernel.

        Raises:
            InvalidStateError: It does not run.
            InternalError: It has no such client.
        """
        size = len(data)
        if size > len(self._buffer):
            self._resize(size)
        # The way over one long-lived buffer is the fast one on every interpreter: PyPy
        # converts a bytes argument byte by byte.
        self._buffer[:size] = data
        code = self._call(self._functions.stdio_bus_feed, client, self._address, size)
        if size > _BUFFER_KEPT:
            self._resize(_BUFFER_SIZE)
        if code < 0:
            raise self._error("feed", code)

    def stop(self, timeout_sec: int) -> None:
        """Begins an orderly stop; keep stepping until `stopped`."""
        code = self._call(self._functions.stdio_bus_stop, timeout_sec)
        if code < 0:
            raise self._error("stop", code)

    def stopped(self) -> bool:
        """Whether the stop is complete."""
        return self._bus is None or self._functions.stdio_bus_get_state(self._bus) == bindings.STATE_STOPPED

    def destroy(self) -> None:
        """Kills what is left and frees it.  Idempotent; does nothing in a forked child."""
        if self._busy:
            # The garbage collector ran inside a callback and found the owner dead.
            self._doomed = True
            return
        if self._bus is None or os.getpid() != self._pid:
            return
        self._last_stats = self.stats()
        bus, self._bus = self._bus, None
        self._functions.stdio_bus_destroy(bus)

    def poll_fd(self) -> int:
        """The descriptor that is readable whenever `step` has work, or -1."""
        return int(self._functions.stdio_bus_get_poll_fd(self._bus)) if self._bus is not None else -1

    def stats(self) -> BusStats:
        """The counters; after `destroy` those at its time."""
        if self._bus is None:
            return self._last_stats
        stats = bindings.Stats()
        self._functions.stdio_bus_get_stats(self._bus, ctypes.byref(stats))
        return BusStats(**{name: getattr(stats, name) for name, _ in bindings.Stats._fields_})

    def worker_count(self) -> int:
        """Running workers."""
        return int(self._functions.stdio_bus_worker_count(self._bus)) if self._bus is not None else 0

    def client_count(self) -> int:
        """Connected external clients."""
        return int(self._functions.stdio_bus_client_count(self._bus)) if self._bus is not None else 0

    def workers(self) -> list[WorkerInfo]:
        """A snapshot of every worker; empty after `destroy`."""
        if self._bus is None:
            return []
        count = max(0, self._functions.stdio_bus_get_workers(self._bus, None, 0))
        array = (bindings.Worker * count)()
        self._functions.stdio_bus_get_workers(self._bus, array, count)
        return [self._worker_info(entry) for entry in array]

    def _resize(self, size: int) -> None:
        self._buffer = bytearray(size)
        # The exported view pins the buffer: while it lives, the address stays good.
        self._view = ctypes.c_char.from_buffer(self._buffer)
        self._address = ctypes.addressof(self._view)

    def _worker_info(self, entry: Any) -> WorkerInfo:
        return WorkerInfo(
            pool=_text(entry.pool),
            worker_id=entry.id,
            pid=entry.pid,
            state=_text(self._functions.stdio_bus_worker_state_name(entry.state)),
            in_flight=entry.in_flight,
            restarts=entry.restarts,
            uptime_ms=entry.uptime_ms,
            bytes_in=entry.bytes_in,
            bytes_out=entry.bytes_out,
        )

    def _call(self, function: Any, *arguments: Any) -> int:
        if self._bus is None:
            return bindings.ERR_STATE
        self._busy = True
        try:
            return function(self._bus, *arguments)  # type: ignore[no-any-return]
        finally:
            self._busy = False
            if self._doomed:
                self.destroy()

    def _creation_error(self) -> StdioBusError:
        code, text = self._last_error(bindings.ERR_CONFIG, "the kernel gives no reason")
        return _ERRORS.get(code, InternalError)(text, {"kernel_code": code})

    def _error(self, what: str, code: int) -> StdioBusError:
        _, text = self._last_error(code, "the kernel gives no reason")
        return _ERRORS.get(code, InternalError)(
            f"the kernel could not {what} (code {code}): {text}", {"kernel_code": code}
        )

    def _last_error(self, code: int, text: str) -> tuple[int, str]:
        for entry in self.inbox:
            if entry[0] == "error":
                code, text = entry[1], entry[2]
        return code, text


def _callbacks(inbox: list[tuple[Any, ...]]) -> tuple[Any, Any, Any, Any]:
    """The C callbacks; they refer to ``inbox`` alone, so that a bus can be garbage."""

    def guarded(prototype: Any, report: Any) -> Any:
        def call(*arguments: Any) -> None:
            try:
                inbox.append(report(*arguments))
            except BaseException as error:  # ctypes would print it and go on
                inbox.append(("raise", error))

        return prototype(call)

    def error(_bus: int, code: int, message: bytes, _user: int) -> tuple[Any, ...]:
        return ("error", code, _text(message))

    def log(_bus: int, level: int, message: bytes, _user: int) -> tuple[Any, ...]:
        return ("log", level, _text(message))

    def batch(_bus: int, data: int, size: int, lines: int, count: int, _user: int) -> tuple[Any, ...]:
        return (
            "batch",
            ctypes.string_at(data, size),
            ctypes.string_at(lines, count * bindings.LINE_SIZE),
        )

    def worker_event(_bus: int, pointer: Any, _user: int) -> tuple[Any, ...]:
        return ("event", _worker_event(pointer.contents))

    return (
        guarded(bindings.OnText, error),
        guarded(bindings.OnText, log),
        guarded(bindings.OnBatch, batch),
        guarded(bindings.OnWorkerEvent, worker_event),
    )


def _worker_event(event: Any) -> WorkerEvent:
    return WorkerEvent(
        pool=_text(event.pool),
        worker_id=event.worker_id,
        kind=_text(event.kind),
        pid=event.pid,
        returncode=returncode(event.exit_code, event.signal),
        stderr_tail=_text(event.stderr_tail),
        reason=_text(event.reason),
    )


def _text(value: bytes | None) -> str:
    return value.decode(errors="replace") if value else ""
