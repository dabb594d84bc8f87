"""The joint: what it gathers, in which order it tells, and how it ends; the rest is in test_aio.py."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from stdiobus import TransportError, UnavailableError
from stdiobus.client.dispatch import Dispatcher
from stdiobus.client.handlers import Handlers
from stdiobus.client.listeners import Listeners


@pytest.fixture
async def dispatcher(backend, config):
    made = Dispatcher(config, "me", Listeners(), Handlers(), backend)
    await made.start()
    yield made
    made.destroy()


def ask(dispatcher, method="m", timeout=30.0):
    pending = dispatcher.request(method, None, None, None, None, timeout, False)
    pending.waiter.add_done_callback(asyncio.Future.exception)  # most tests do not look at it
    return pending


async def test_lines_are_gathered_in_order_until_the_flush(dispatcher, backend):
    ask(dispatcher)
    dispatcher.send(b'{"method":"n"}\n')
    pending = ask(dispatcher)
    dispatcher.cancel(pending)
    dispatcher.cancel(pending)
    assert backend.sent == []
    dispatcher.flush()
    dispatcher.flush()
    assert len(backend.sent) == 1
    assert [message["method"] for message in backend.messages] == ["m", "n", "m", "stdio_bus/cancel"]


async def test_listeners_hear_a_line_before_the_caller_gets_its_result(dispatcher, backend):
    heard = []
    pending = ask(dispatcher)
    dispatcher._listeners.on_message.append(
        lambda line: heard.append((json.loads(line), pending.waiter.done()))
    )
    backend.deliver({"id": 1, "result": 5})
    assert heard == [({"id": 1, "result": 5}, False)]
    assert await pending.waiter == 5


async def test_line_that_is_not_json_is_logged_and_the_next_delivered(dispatcher, backend, caplog):
    pending = ask(dispatcher)
    with caplog.at_level(logging.ERROR):
        dispatcher.batch(b'{oops\n{"id":1,"result":5}\n', [(5, 1, 0, 0), (19, 1, 0, 0)])
    assert "not JSON" in caplog.text
    assert await pending.waiter == 5


async def test_deadlines_end_requests_in_their_order(dispatcher):
    late, soon = ask(dispatcher, "late", 0.02), ask(dispatcher, "soon", 0.01)
    ended = []
    for pending in (late, soon):
        pending.waiter.add_done_callback(lambda future: ended.append(str(future.exception()).split(":")[0]))
    await asyncio.wait({late.waiter, soon.waiter})
    await asyncio.sleep(0)
    assert ended == ["soon", "late"]
    assert not dispatcher.session.pending


async def test_first_reason_of_the_end_stays(dispatcher, backend):
    backend.fail(UnavailableError("first"))
    dispatcher.end(TransportError("second"))
    assert str(dispatcher.closed) == "first"
