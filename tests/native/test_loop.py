"""Drivers: which one a loop gets, and that both step and stop."""

from __future__ import annotations

import asyncio
import os

import pytest

from stdiobus.native.loop import FdDriver, TimerDriver, drive


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    def add_reader(self, *args):
        raise NotImplementedError


async def test_descriptor_is_watched_and_nothing_else_steps(pipe, turn, monkeypatch):
    reading, writing = pipe
    stepped = asyncio.Event()
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as no_timers:
        no_timers.setattr(loop, "call_at", None)
        no_timers.setattr(loop, "call_later", None)
        driver = drive(loop, reading, stepped.set, interval=0.001)
        await turn()
    assert isinstance(driver, FdDriver)
    assert not stepped.is_set()
    os.write(writing, b"x")
    await asyncio.wait_for(stepped.wait(), 10)
    driver.stop()
    driver.stop()
    stepped.clear()
    await turn()  # the byte is still there to be seen
    assert not stepped.is_set()


@pytest.mark.parametrize(("fd", "force"), [(-1, False), (None, True)])
async def test_timer_steps_where_there_is_nothing_to_watch(pipe, fd, force):
    stepped = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    driver = drive(loop, pipe[0] if fd is None else fd, stepped.release, interval=0.001, force_timer=force)
    assert isinstance(driver, TimerDriver)
    for _ in range(3):
        await asyncio.wait_for(stepped.acquire(), 10)
    driver.stop()
    driver.stop()


def test_loop_that_cannot_watch_gets_a_timer(pipe):
    loop = LoopWithoutReaders()
    driver = drive(loop, pipe[0], print, interval=1)
    assert isinstance(driver, TimerDriver)
    driver.stop()
    loop.close()


def test_driver_of_a_closed_loop_can_be_stopped(pipe):
    loop = asyncio.SelectorEventLoop()
    driver = FdDriver(loop, pipe[0], print)
    loop.close()
    driver.stop()


async def test_step_that_stops_its_own_timer():
    loop = asyncio.get_running_loop()
    stepped = asyncio.Event()

    def step():
        stepped.set()
        driver.stop()

    driver = TimerDriver(loop, 0.001, step)
    await asyncio.wait_for(stepped.wait(), 10)
    assert driver._timer is None
