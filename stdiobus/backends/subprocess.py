"""The kernel as a child process: the ``stdio_bus`` program over pipes.

Speaks the program's tagged line format and mirrors the status it reports, so that this
backend offers what the native one does.  The process itself is in ``program.py``, the
pipes in ``pipes.py``.

The first line to the program is the configuration.  Then, tagged lines: ``<client> <json>``
to the program, ``<client> <worker> <json>`` from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections import deque
from dataclasses import replace
from typing import Any, Callable

from ..config import BusConfig
from ..errors import (
    InternalError,
    InvalidArgumentError,
    StdioBusError,
    TransportError,
    UnavailableError,
)
from ..messages import BackendMode, BusStats, WorkerEvent, WorkerInfo, returncode
from .base import Backend, Sink
from .pipes import PipeReader, PipeWriter
from .program import LEVELS, POLL_SEC, Launch, Program, poll_until

_log = logging.getLogger("stdiobus.kernel")


_OWN = (
    b'{"jsonrpc":"2.0","method":"stdio_bus/status"',
    b'{"jsonrpc":"2.0","method":"stdio_bus/worker_event"',
)
"""How the program's own messages begin; it lets no worker send messages of these methods."""

_STATES = {"started": "ready", "restarting": "backoff", "failed": "failed", "stopped": "stopped"}
"""The state of a worker after each kind of event."""

_ALIVE = ("starting", "ready", "stopping")
"""The states of a worker that is there: a process runs, or it lives in this one."""

_NEW_WORKER = {"in_flight": 0, "restarts": 0, "uptime_ms": 0, "bytes_in": 0, "bytes_out": 0}
"""The numbers of a worker of which no status has told yet."""

_EXIT_ERRORS: dict[int, type[StdioBusError]] = {3: InvalidArgumentError, 4: UnavailableError}
"""The program's exit codes: 3 wrong configuration, 4 nothing could be started."""


class SubprocessBackend(Backend):
    """See `Backend`.

    Args:
        launch: The program, and how long it may take.
    """

    mode = BackendMode.SUBPROCESS

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._sink: Sink | None = None
        self._held: _Held | None = None
        self._parts: list[bytes] = []
        self._stderr: deque[str] = deque(maxlen=launch.stderr_buffer_lines)
        self._stderr_rest = b""
        self._status: dict[str, Any] = {}
        self._crashed: set[int] = set()
        self._restarts: dict[int, int] = {}
        self._reported: asyncio.Future[None] | None = None
        self._exited: asyncio.Future[int] | None = None
        self._stopping = False

    @property
    def backlog(self) -> int:
        """See `Backend.backlog`."""
        return self._held.writer.backlog if self._held is not None else 0

    async def start(self, config: BusConfig, sink: Sink) -> None:
        """See `Backend.start`."""
        loop = asyncio.get_running_loop()
        self._sink = sink
        self._reported = loop.create_future()
        self._exited = loop.create_future()
        program = Program(self._launch)
        stdin, stdout, stderr = program.take_pipes()
        self._held = _Held(
            program,
            PipeWriter(loop, stdin),
            PipeReader(loop, stdout, self._on_stdout, self._reap),
            PipeReader(loop, stderr, self._on_stderr, _ignore),
            loop,
        )
        self._held.writer.write(config.to_json().encode() + b"\n")
        outcomes: set[asyncio.Future[Any]] = {self._reported, self._exited}
        done, _ = await asyncio.wait(
            outcomes,
            timeout=self._launch.start_timeout_sec,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._reported in done:
            self._reported.result()  # or what was wrong with it
        if self._exited in done:
            raise self._exit_error(self._exited.result(), "could not start")
        if not done:
            raise UnavailableError(
                f"{self._launch.name} did not report within {self._launch.start_timeout_sec:g} s that it "
                f"runs; {self._launch.remedy}{self._tail()}",
                {"path": self._launch.command[0], "stderr": self._stderr_text()},
            )

    def send(self, data: bytes, client: int = 0) -> None:
        """See `Backend.send`."""
        assert self._held is not None, "the backend was not started"
        # Lines are JSON, so the only newlines are the ones between them.
        tag = b"%d " % client
        self._held.writer.write(tag + data[:-1].replace(b"\n", b"\n" + tag) + b"\n")

    async def stop(self, timeout_sec: float) -> None:
        """See `Backend.stop`."""
        if self._held is None or self._exited is None:
            return
        self._stopping = True
        self._held.writer.close_after_flush()
        await asyncio.wait({self._exited}, timeout=min(timeout_sec, self._launch.drain_timeout_sec))
        self._held.program.end_by_force()
        await poll_until(self._held.program.advance)
        self._held.stdout.drain()
        self.destroy()

    def destroy(self) -> None:
        """See `Backend.destroy`."""
        self._sink = None
        if self._held is not None:
            self._held.release()
        if self._exited is not None and not self._exited.done():
            self._exited.set_result(0)

    def finalizer(self) -> Callable[[], Any]:
        """See `Backend.finalizer`."""
        assert self._held is not None, "the backend was not started"
        return self._held.release_from_anywhere

    def stats(self) -> BusStats:
        """See `Backend.stats`; at most 100 ms old."""
        stats = BusStats(**self._status.get("stats", {}))
        return replace(stats, worker_restarts=max(stats.worker_restarts, sum(self._restarts.values())))

    def workers(self) -> list[WorkerInfo]:
        """See `Backend.workers`; at most 100 ms old."""
        if not self._running():
            return []
        return [self._worker_info(entry) for entry in self._status.get("workers", [])]

    def worker_count(self) -> int:
        """See `Backend.worker_count`; at most 100 ms old."""
        return sum(1 for worker in self.workers() if worker.state in _ALIVE)

    def client_count(self) -> int:
        """See `Backend.client_count`; at most 100 ms old."""
        return int(self._status.get("clients", 0)) if self._running() else 0

    def _running(self) -> bool:
        return self._exited is not None and not self._exited.done()

    # ---- Lines from the program

    def _on_stdout(self, block: bytes) -> None:
        cut = block.rfind(b"\n")
        if cut < 0:
            # A long line: its parts are joined once, when its end is there.
            self._parts.append(block)
            return
        self._parts.append(block[:cut])
        lines = b"".join(self._parts).split(b"\n")
        self._parts = [block[cut + 1 :]]
        try:
            self._on_lines(lines)
        except (KeyError, TypeError, ValueError) as error:
            self._fail(
                InternalError(f"{self._launch.name} wrote a line that this version does not know: {error!r}")
            )

    def _on_lines(self, lines: list[bytes]) -> None:
        bodies: list[bytes] = []
        records: list[tuple[int, int, int, int]] = []
        for line in lines:
            client, worker, body = line.split(b" ", 2)
            if body.startswith(_OWN):
                self._deliver(bodies, records)
                bodies, records = [], []
                self._on_own(json.loads(body))
                continue
            bodies.append(body)
            records.append((len(body), int(worker), int(client), 0))
        self._deliver(bodies, records)

    def _deliver(self, bodies: list[bytes], records: list[tuple[int, int, int, int]]) -> None:
        if bodies and self._sink is not None:
            bodies.append(b"")
            self._sink.batch(b"\n".join(bodies), records)

    def _on_own(self, message: dict[str, Any]) -> None:
        params = message["params"]
        if message["method"] == "stdio_bus/status":
            self._status = params
            if self._reported is not None and not self._reported.done():
                self._reported.set_result(None)
            return
        event = _worker_event(params)
        self._note(event)
        if self._sink is not None:
            self._sink.worker_event(event)

    def _note(self, event: WorkerEvent) -> None:
        """Keeps the mirrored status no older than the last worker event."""
        worker = event.worker_id
        if event.kind == "restarting":
            self._crashed.add(worker)
        elif event.kind == "started" and worker in self._crashed:
            self._crashed.discard(worker)
            self._restarts[worker] = self._restarts.get(worker, 0) + 1
        workers = self._status.setdefault("workers", [])
        entry = next((entry for entry in workers if entry["id"] == worker), None)
        if entry is None:
            if event.kind != "started":
                return
            entry = {"pool": event.pool, "id": worker, **_NEW_WORKER}
            workers.append(entry)
        if event.kind == "stopped" and not self._stopping:
            workers.remove(entry)  # retired: the next status does not have it
            return
        entry["state"] = _STATES[event.kind]
        entry["pid"] = event.pid if event.kind == "started" else 0

    def _worker_info(self, entry: dict[str, Any]) -> WorkerInfo:
        number = entry["id"]
        info = WorkerInfo(worker_id=number, **{name: entry[name] for name in entry if name != "id"})
        return replace(info, restarts=max(info.restarts, self._restarts.get(number, 0)))

    def _on_stderr(self, block: bytes) -> None:
        lines = (self._stderr_rest + block).split(b"\n")
        self._stderr_rest = lines.pop()
        for line in lines:
            text = line.decode(errors="replace")
            self._stderr.append(text)
            _log_line(text)

    # ---- Its end

    def _reap(self) -> None:
        """Runs after the end of its stdout, which comes a moment before its exit."""
        if self._held is None or self._exited is None or self._exited.done():
            return
        code = self._held.program.poll()
        if code is None:
            asyncio.get_running_loop().call_later(POLL_SEC, self._reap)
            return
        self._held.stderr.drain()
        self._exited.set_result(code)
        if not self._stopping and self._reported is not None and self._reported.done():
            self._fail(self._exit_error(code, "ended unexpectedly"))

    def _exit_error(self, code: int, what: str) -> StdioBusError:
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        kind = TransportError if what != "could not start" else _EXIT_ERRORS.get(code, UnavailableError)
        return kind(
            f"{self._launch.name} {what}: {how}{self._tail()}",
            {"path": self._launch.command[0], "returncode": code, "stderr": self._stderr_text()},
        )

    def _fail(self, error: StdioBusError) -> None:
        sink, reported = self._sink, self._reported
        self.destroy()
        if reported is not None and not reported.done():
            reported.set_exception(error)
            reported.exception()  # `start` raises it, unless it was cancelled
        elif sink is not None:
            sink.failed(error)

    def _stderr_text(self) -> str:
        rest = self._stderr_rest.decode(errors="replace")
        return "\n".join([*self._stderr, rest] if rest else self._stderr)

    def _tail(self) -> str:
        text = self._stderr_text()
        return "\nlast lines of its stderr:\n  " + text.replace("\n", "\n  ") if text else ""


class _Held:
    """What must be freed even if the backend is garbage; refers to none of its users."""

    def __init__(
        self,
        program: Program,
        writer: PipeWriter,
        stdout: PipeReader,
        stderr: PipeReader,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.program = program
        self.writer = writer
        self.stdout = stdout
        self.stderr = stderr
        self._loop = loop
        self._thread = threading.get_ident()
        self._pid = os.getpid()

    def release(self) -> None:
        """Closes the pipes and ends the program; on the loop's thread only."""
        if os.getpid() != self._pid:
            return  # a forked child: the loop shares its descriptors with the parent
        self.program.end_by_force()
        for pipe in (self.writer, self.stdout, self.stderr):
            pipe.close()
        self.program.finish(wait=not self._loop.is_running())

    def release_from_anywhere(self) -> None:
        """As `release`, marshalled to the loop's thread where that still runs elsewhere."""
        if threading.get_ident() != self._thread and self._loop.is_running():
            with contextlib.suppress(RuntimeError):  # closed in between: fall through
                self._loop.call_soon_threadsafe(self.release)
                return
        self.release()


def _worker_event(params: dict[str, Any]) -> WorkerEvent:
    return WorkerEvent(
        pool=params["pool"],
        worker_id=params["worker"],
        kind=params["kind"],
        pid=params["pid"],
        returncode=returncode(params["exit_code"], params["signal"]),
        stderr_tail=params["stderr"],
        reason=params["reason"],
    )


def _log_line(text: str) -> None:
    """Logs a line of the program's stderr: ``stdio_bus: LEVEL: message``, or anything."""
    parts = text.split(": ", 2)
    if len(parts) == 3 and parts[0] == "stdio_bus" and parts[1].lower() in LEVELS:
        _log.log(LEVELS[parts[1].lower()], "%s", parts[2])
    else:
        _log.warning("%s", text)


def _ignore() -> None:
    """The end of its stderr says nothing that the end of its stdout does not."""
