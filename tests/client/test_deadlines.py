"""Deadlines: one timer for all, in order, and no growth with answered requests."""

from __future__ import annotations

import asyncio

import pytest

from stdiobus.client.deadlines import Deadlines


class Clock:
    """A loop's clock that a test turns; keeps at most one timer."""

    def __init__(self):
        self.now = 100.0
        self.timers = []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        handle = asyncio.TimerHandle(when, callback, (), self)
        self.timers.append(handle)
        return handle

    def get_debug(self):
        return False

    def _timer_handle_cancelled(self, handle):
        pass

    def pass_to(self, now):
        self.now = now
        while due := [t for t in self.timers if not t.cancelled() and t.when() <= now]:
            self.timers.remove(due[0])
            due[0]._run()

    def armed(self):
        return [t.when() for t in self.timers if not t.cancelled()]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live():
    return {}


@pytest.fixture
def expired():
    return []


@pytest.fixture
def deadlines(clock, live, expired):
    def expire(number):
        expired.append((clock.now, number))
        del live[number]

    return Deadlines(clock, live, expire)


def test_ids_expire_in_order_on_one_timer(clock, live, expired, deadlines):
    for number, delay in ((1, 5.0), (2, 3.0), (3, 4.0)):
        live[number] = True
        deadlines.add(number, delay)
        assert len(clock.armed()) == 1
    for now in (102.9, 103, 104.5, 110):
        clock.pass_to(now)
    assert expired == [(103, 2), (104.5, 3), (110, 1)]
    assert clock.armed() == []


def test_answered_ids_are_passed_over(clock, live, expired, deadlines):
    for number in (1, 2, 3):
        live[number] = True
        deadlines.add(number, float(number))
    del live[1], live[2]
    clock.pass_to(101)
    assert expired == []
    assert clock.armed() == [103]


def test_answered_ids_do_not_pile_up(live, deadlines):
    for number in range(100_000):
        live[number] = True
        deadlines.add(number, 30.0)
        del live[number]
    assert len(deadlines._heap) <= 1025


def test_closed_deadlines_are_silent(clock, live, expired, deadlines):
    live[1] = True
    deadlines.add(1, 1.0)
    deadlines.close()
    clock.pass_to(200)
    assert expired == []
