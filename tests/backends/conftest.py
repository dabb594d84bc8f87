"""The fake program as an executable, and a sink that remembers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from stdiobus import BusConfig, PoolConfig
from tests.interpreters import PYTHON

FAKE = Path(__file__).with_name("fake_stdio_bus.py")


class RecordingSink:
    """Remembers everything, and lets a test wait for it."""

    def __init__(self) -> None:
        self.messages: list[dict] = []
        self.records: list[tuple] = []
        self.events: list = []
        self.failures: list[Exception] = []
        self._changed = asyncio.Event()

    def batch(self, data, records):
        start = 0
        for record in records:
            self.messages.append(json.loads(data[start : start + record[0]]))
            assert data[start + record[0] : start + record[0] + 1] == b"\n"
            start += record[0] + 1
            self.records.append(record)
        assert start == len(data)
        self._changed.set()

    def worker_event(self, event):
        self.events.append(event)
        self._changed.set()

    def failed(self, error):
        self.failures.append(error)
        self._changed.set()

    async def until(self, condition):
        """Waits until `condition()`; fails after ten seconds."""

        async def wait():
            while not condition():
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), 10)


@pytest.fixture
async def sink():
    return RecordingSink()


@pytest.fixture
def program(tmp_path):
    """The path of an executable that runs the fake program."""
    path = tmp_path / "stdio_bus"
    path.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{FAKE}" "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def config():
    return BusConfig([PoolConfig("echo", "worker"), PoolConfig("other", "worker")])
