"""When a bus is up, and what is said when it cannot be."""

from __future__ import annotations

import pytest

from stdiobus import PoolConfig, UnavailableError, WorkerEvent
from stdiobus.client.startup import Startup

POOLS = [PoolConfig("a", "x", instances=2), PoolConfig("b", "x")]


@pytest.fixture
def startup():
    return Startup(POOLS)


@pytest.fixture
def lenient():
    return Startup(POOLS, strict=False)


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
    assert startup.failures.keys() == {"b"}
    startup.observe(event("b", 3, "started"))
    assert not startup.failures


def test_pool_with_a_worker_left_has_not_failed(startup):
    startup.observe(event("a", 1, "started"))
    startup.observe(event("a", 3, "started"))  # of a pool that was scaled to three
    startup.observe(event("a", 1, "failed"))
    startup.observe(event("a", 2, "failed"))
    assert not startup.failures
    startup.observe(event("a", 3, "restarting"))
    assert not startup.failures
    startup.observe(event("a", 3, "stopped"))
    assert not startup.failures
    startup.observe(event("a", 2, "failed"))
    assert startup.failures.keys() == {"a"}


def test_lenient_start_waits_for_every_pool_and_fails_with_all_of_them(lenient):
    lenient.observe(event("b", 3, "failed", reason="no such file"))
    assert not lenient.complete
    lenient.observe(event("a", 2, "started"))
    assert lenient.complete
    assert lenient.error is None
    assert "no such file" in str(lenient.failures["b"])
    alone = Startup(POOLS[1:], strict=False)
    alone.observe(event("b", 3, "failed"))
    assert alone.complete
    assert "pool 'b'" in str(alone.error)


def test_lenient_start_is_complete_when_its_time_is_up(lenient):
    lenient.observe(event("a", 1, "started"))
    lenient.time_out(5)
    assert lenient.complete
    assert lenient.error is None
    assert "pool 'b': no worker became ready within 5 s" in str(lenient.failures["b"])
    lenient.observe(event("b", 3, "started"))  # after all
    assert not lenient.failures


def test_time_out_tells_the_last_that_was_heard(startup):
    startup.observe(event("b", 3, "started"))
    startup.observe(event("a", 1, "restarting", returncode=-11, reason="it crashed", stderr_tail="oops"))
    startup.time_out(5)
    error = startup.error
    assert "within 5 s: it crashed (worker 1, signal 11)" in str(error)
    assert error.details["signal"] == 11
