"""Servers that cannot be started, in a configuration with others that can."""

from __future__ import annotations

import sys

import pytest

from stdiobus import PoolConfig, UnavailableError

LIMITS = {"max_restarts": 0}


@pytest.fixture
def good(pool):
    return [pool("echo_worker.py", id=name) for name in ("one", "two", "three", "four")]


async def check_good(bus):
    for name in ("one", "two", "three", "four"):
        assert (await bus.request("echo", {"n": 1}, pool=name))["params"] == {"n": 1}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (["absent"], "No such file or directory"),
        (["exit", "3"], "cannot find my licence file"),
        (["mute"], "startup_timeout_sec"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
async def test_one_bad_server_of_five_does_not_hold_back_the_other_four(make_bus, pool, good, bad, reason):
    allowed = 1 if bad == ["mute"] else 30  # the others have something to say before
    server = pool("misbehaving_worker.py", *bad, id="bad", protocol="mcp", startup_timeout_sec=allowed)
    if bad == ["absent"]:
        server = PoolConfig(id="bad", command="no-such-program-anywhere", protocol="mcp")
    pools = [*good[:2], server, *good[2:]]
    bus = await make_bus(*pools, limits=LIMITS, strict=False)
    await check_good(bus)
    failed = bus.get_failed_pools()
    assert failed.keys() == {"bad"}
    assert reason in str(failed["bad"])
    assert [worker.state for worker in bus.pool("bad").workers()] == ["failed"]
    with pytest.raises(UnavailableError, match=reason):
        await bus.request("tools/list", pool="bad")
    await check_good(bus)


@pytest.mark.parametrize("backend", ["native", "subprocess"])
async def test_start_fails_when_no_server_can_be_started(make_bus):
    pools = [PoolConfig(id=name, command=f"no-such-program-{name}") for name in ("a", "b")]
    bus = await make_bus(*pools, strict=False, start=False)
    with pytest.raises(UnavailableError, match="no-such-program-"):
        await bus.start()


async def test_server_that_is_put_right_serves_after_a_restart(make_bus, good, tmp_path):
    late = tmp_path / "late"
    bus = await make_bus(good[0], PoolConfig(id="late", command=str(late), protocol="jsonrpc"), strict=False)
    assert bus.get_failed_pools().keys() == {"late"}
    late.write_text(f'#!/bin/sh\nexec "{sys.executable}" {" ".join(good[0].args)}\n')
    late.chmod(0o755)
    await bus.restart_pool("late")
    assert (await bus.request("echo", {"n": 2}, pool="late"))["params"] == {"n": 2}
    assert not bus.get_failed_pools()
