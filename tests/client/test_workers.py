"""The table of workers and waiting for it to change."""

from __future__ import annotations

import asyncio

import pytest

from stdiobus import TransportError, UnavailableError, WorkerEvent
from stdiobus.client.workers import Workers


@pytest.fixture
def workers():
    return Workers()


def event(workers, kind, number=1, pool="p", **fields):
    workers.observe(WorkerEvent(pool=pool, worker_id=number, kind=kind, pid=9, **fields))


def test_table_follows_the_events(workers):
    event(workers, "started", 1)
    event(workers, "started", 2, "q")
    event(workers, "restarting", 1)
    event(workers, "restarting", 3)
    assert (workers.of("p"), workers.of("q"), workers.ready) == ({1, 3}, {2}, {2: "q"})
    event(workers, "stopped", 2, "q")
    event(workers, "failed", 3)
    assert (workers.present, workers.ready) == ({1: "p"}, {})


async def test_waiting_ends_when_the_condition_holds(workers, turn):
    await workers.until("p", lambda: True)
    waiting = asyncio.ensure_future(workers.until("p", lambda: len(workers.of("p")) == 2))
    await turn()
    event(workers, "started", 1)
    event(workers, "started", 2, "q")
    await turn()
    assert not waiting.done()
    event(workers, "started", 3)
    await waiting


async def test_waiting_ends_with_the_reason_of_a_failure(workers, turn):
    waiting = asyncio.ensure_future(workers.until("p", lambda: False))
    other = asyncio.ensure_future(workers.until("q", lambda: False))
    await turn()
    event(workers, "failed", 1, reason="it has no legs", stderr_tail="ouch")
    with pytest.raises(UnavailableError, match=r"it has no legs(.|\n)*ouch"):
        await waiting
    assert not other.done()
    workers.close(TransportError("over"))
    with pytest.raises(TransportError, match="over"):
        await other
