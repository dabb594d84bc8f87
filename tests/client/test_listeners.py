"""Callbacks: raw lines, notifications, worker events; one that fails stops nobody."""

from __future__ import annotations

import json
import logging


async def test_every_line_reaches_on_message_and_notifications_on_notification(bus, backend):
    lines, notes = [], []
    assert bus.on_message(lines.append)
    bus.on_notification(notes.append)
    messages = [
        {"jsonrpc": "2.0", "id": "mine", "result": "\u2028é"},
        {"jsonrpc": "2.0", "method": "tick"},
        {"jsonrpc": "2.0", "id": 1, "method": "ask"},
    ]
    backend.deliver(*messages)
    assert [json.loads(line) for line in lines] == messages
    assert [json.loads(line) for line in notes] == messages[1:2]


async def test_callbacks_can_be_decorators(bus, backend):
    seen = []

    @bus.on_notification
    def told(line):
        seen.append(line)

    backend.deliver({"method": "tick"})
    told("again")
    assert len(seen) == 2


async def test_exception_in_a_callback_is_logged_and_stops_nobody(bus, backend, caplog):
    seen = []

    def broken(_):
        raise RuntimeError("on purpose")

    for register in (bus.on_message, bus.on_notification, bus.on_worker_event):
        register(broken)
        register(seen.append)
    subscription = bus.subscribe()
    with caplog.at_level(logging.ERROR, "stdiobus"):
        backend.deliver({"method": "tick"})
        backend.event("own", 1, "restarting", returncode=-9)
    assert len(seen) == 3
    assert seen[-1].returncode == -9
    assert [record.exc_info[1].args for record in caplog.records] == [("on purpose",)] * 3
    assert (await subscription.__anext__())["method"] == "tick"


async def test_callback_may_end_the_bus(bus, backend):
    bus.on_notification(lambda _: bus.destroy())
    backend.deliver({"method": "tick"}, {"id": 1, "method": "ask"}, {"id": 5, "result": 1})
    assert not bus.is_running()
