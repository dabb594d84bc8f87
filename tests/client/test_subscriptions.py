"""Subscriptions: policies, filters, independence, orderly ends."""

from __future__ import annotations

import asyncio

import pytest

from stdiobus import InvalidArgumentError, OverflowPolicy


def tick(n, method="tick"):
    return {"jsonrpc": "2.0", "method": method, "params": {"n": n}}


async def rest(subscription):
    subscription.close()
    return [message["params"]["n"] async for message in subscription]


@pytest.mark.parametrize(
    ("policy", "expected", "dropped"),
    [
        (OverflowPolicy.DROP_OLDEST, [2, 3, 4], 2),
        (OverflowPolicy.DROP_NEWEST, [0, 1, 2], 2),
        (OverflowPolicy.CLOSE, [0, 1, 2], 1),
        ("drop_oldest", [2, 3, 4], 2),
    ],
)
async def test_full_queue(bus, backend, policy, expected, dropped):
    subscription = bus.subscribe(overflow_policy=policy, max_queue=3)
    backend.deliver(*(tick(n) for n in range(5)))
    assert subscription.dropped == dropped
    assert subscription.closed is (policy is OverflowPolicy.CLOSE)
    assert await rest(subscription) == expected


async def test_older_spelling(bus, backend):
    drop, close = (
        bus.subscribe_notifications(max_queue=1),
        bus.subscribe_notifications(max_queue=1, overflow="close"),
    )
    backend.deliver(tick(0), tick(1))
    assert (drop.dropped, close.closed) == (1, True)
    assert await rest(drop) == await rest(close) == [0]
    with pytest.raises(InvalidArgumentError, match="overflow: must be one of drop, close"):
        bus.subscribe_notifications(overflow="keep")


async def test_filters_by_pool_and_method(bus, backend):
    pools, methods = bus.subscribe("plain"), bus.subscribe(methods=["tock"])
    backend.deliver(tick(1), tick(2, "tock"), worker=2)
    backend.deliver(tick(3), tick(4, "tock"), worker=1)
    assert await rest(pools) == [1, 2]
    assert await rest(methods) == [2, 4]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"pool": "nope"}, "pool"),
        ({"max_queue": 0}, "max_queue"),
        ({"max_queue": True}, "max_queue"),
        ({"overflow_policy": "keep"}, "overflow_policy"),
        ({"methods": "tick"}, "methods"),
    ],
)
async def test_wrong_argument_is_refused_by_name(bus, arguments, field):
    with pytest.raises(InvalidArgumentError) as caught:
        bus.subscribe(**arguments)
    assert caught.value.details["field"] == field


async def test_one_closed_subscription_does_not_touch_another(bus, backend):
    first, second = bus.subscribe(), bus.subscribe()
    backend.deliver(tick(1))
    bus.unsubscribe(first)
    bus.unsubscribe(first)
    backend.deliver(tick(2))
    assert await rest(first) == [1]
    assert await rest(second) == [1, 2]


async def test_waiting_consumers_are_woken(bus, backend, turn):
    subscription = bus.subscribe()
    waiting = [asyncio.ensure_future(subscription.__anext__()) for _ in range(3)]
    await turn()
    waiting[0].cancel()
    backend.deliver(tick(1))
    await turn()
    assert (await waiting[1])["params"] == {"n": 1}
    subscription.close()
    with pytest.raises(StopAsyncIteration):
        await waiting[2]


async def test_wakeup_of_a_cancelled_consumer_goes_to_the_next(bus, backend, turn):
    subscription = bus.subscribe()
    waiting = [asyncio.ensure_future(subscription.__anext__()) for _ in range(2)]
    await turn()
    backend.deliver(tick(1))
    waiting[0].cancel()
    assert (await waiting[1])["params"] == {"n": 1}


async def test_end_of_the_bus_ends_subscriptions_after_what_is_buffered(bus, backend):
    subscription = bus.subscribe()
    backend.deliver(tick(1))
    await bus.stop()
    assert [message["params"]["n"] async for message in subscription] == [1]


async def test_subscription_made_before_the_start_misses_nothing(backend, config):
    from stdiobus import AsyncStdioBus

    bus = AsyncStdioBus(config)
    subscription = bus.subscribe()
    async with bus:
        backend.deliver(tick(1))
    assert await rest(subscription) == [1]
