"""When a bus is up, and what is said when it cannot be."""

from __future__ import annotations

import pytest

from stdiobus import PoolConfig, UnavailableError, WorkerEvent
from stdiobus.client.startup import Startup


@pytest.fixture
def startup():
    return Startup([PoolConfig("a", "x", instances=2), PoolConfig("b", "x")])


def event(pool, worker, kind, **fields):
    return WorkerEvent(pool, worker, kind, 1, **fields)


def test_complete_when_each_pool_has_a_ready_worker(startup):
    startup.observe(event("a", 2, "started"))
    assert not startup.complete
    startup.observe(event("b", 3, "started"))
    assert startup.complete
    assert startup.error is None


def test_one_failed_worker_of_two_is_not_the_end(startup):
    startup.observe(event("a", 1, "failed"))
    startup.observe(event("a", 1, "failed"))
    assert not startup.complete
    startup.observe(event("a", 2, "failed", returncode=3, reason="it exited", stderr_tail="no key\n"))
    assert startup.complete
    assert isinstance(startup.error, UnavailableError)
    assert str(startup.error) == (
        "pool 'a': no worker can be started: it exited (worker 2, exit code 3); check the pool's command, "
        "args and env, or raise its startup_timeout_sec\nlast lines of its stderr:\n  no key"
    )
    assert startup.error.details["exit_code"] == 3


def test_failure_after_the_pool_was_ready_is_none_of_the_start(startup):
    startup.observe(event("b", 3, "started"))
    startup.observe(event("b", 3, "failed"))
    assert startup.error is None


def test_time_out_tells_the_last_that_was_heard(startup):
    assert "pool 'a': no worker became ready within 5 s; check" in str(startup.timed_out(5))
    startup.observe(event("a", 1, "restarting", returncode=-11, reason="it crashed", stderr_tail="oops"))
    error = startup.timed_out(5)
    assert "within 5 s: it crashed (worker 1, signal 11)" in str(error)
    assert error.details["signal"] == 11
