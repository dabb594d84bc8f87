"""A scripted backend in place of the kernel: what was sent is seen, what arrives is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import pytest_asyncio

from stdiobus import (
    AsyncStdioBus,
    BackendMode,
    BusConfig,
    BusStats,
    LimitsConfig,
    PoolConfig,
    WorkerEvent,
    WorkerInfo,
)
from stdiobus.backends.base import Backend
from stdiobus.client import aio

CONFIG = BusConfig(
    pools=[
        PoolConfig("own", "w"),
        PoolConfig("plain", "w", protocol="jsonrpc"),
        PoolConfig("mcp", "w", protocol="mcp"),
    ]
)


class ScriptedBackend(Backend):
    """Records what a client does; a test plays the kernel with `deliver`, `event`, `fail`."""

    mode = BackendMode.NATIVE

    def __init__(self, *, ready: bool = True) -> None:
        self.ready = ready
        self.sent: list[bytes] = []
        self.sent_by: dict[int, list[bytes]] = {}
        self.calls: list[str] = []
        self.finalized: list[bool] = []
        self.waiting = 0
        self.start_error: Exception | None = None
        self.send_error: Exception | None = None
        self.stop_waits_for: asyncio.Future[None] | None = None
        self.sink: Any = None

    @property
    def backlog(self) -> int:
        return self.waiting

    async def start(self, config, sink):
        self.calls.append("start")
        self.sink = sink
        if self.start_error is not None:
            raise self.start_error
        if self.ready:
            for number, pool in enumerate(config.pools, 1):
                asyncio.get_running_loop().call_soon(self.event, pool.id, number, "started")

    def send(self, data, client=0):
        if client:
            self.sent_by.setdefault(client, []).append(data)
            return
        if self.send_error is not None:
            raise self.send_error
        self.sent.append(data)

    async def stop(self, timeout_sec):
        self.calls.append(f"stop {timeout_sec:g}")
        if self.stop_waits_for is not None:
            await self.stop_waits_for

    def destroy(self):
        self.calls.append("destroy")

    def finalizer(self):
        return lambda finalized=self.finalized: finalized.append(True)

    def stats(self):
        return BusStats(messages_in=len(self.messages))

    def workers(self):
        return [WorkerInfo("own", 1, 4711, "ready", 0, 0, 5, 6, 7)]

    def worker_count(self):
        return 3

    def client_count(self):
        return 0

    # ---- the kernel's part

    @property
    def messages(self) -> list[dict]:
        """Everything that was sent, decoded."""
        return [json.loads(line) for line in b"".join(self.sent).split(b"\n")[:-1]]

    def deliver(self, *messages: dict, worker: int = 1) -> None:
        lines = [json.dumps(message, separators=(",", ":")).encode() for message in messages]
        records = [(len(line), worker, 0, 0) for line in lines]
        self.sink.batch(b"".join(line + b"\n" for line in lines), iter(records))

    def event(self, pool: str, worker: int, kind: str, **fields: Any) -> None:
        self.sink.worker_event(WorkerEvent(pool, worker, kind, 4711, **fields))

    def fail(self, error: Exception) -> None:
        self.sink.failed(error)


@pytest.fixture
def backend(monkeypatch):
    """The backend that the next bus gets."""
    scripted = ScriptedBackend()

    async def choose(*_):
        return scripted

    monkeypatch.setattr(aio, "choose", choose)
    return scripted


@pytest_asyncio.fixture
async def bus(backend):
    """A running bus over `backend`, with the pools own, plain and mcp."""
    async with AsyncStdioBus(CONFIG) as running:
        yield running


@pytest_asyncio.fixture
async def small_bus(backend):
    """As `bus`, with 1024 bytes of queue."""
    config = BusConfig(CONFIG.pools, LimitsConfig(max_output_queue=1024))
    async with AsyncStdioBus(config) as running:
        yield running


@pytest.fixture
def config():
    return CONFIG
