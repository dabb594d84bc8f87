"""Several clients of one bus, which all use the same ids and progress tokens.

Logical clients have no Python face yet, so this speaks to the library itself.
"""

from __future__ import annotations

import ctypes
import json
import struct
import time
from typing import Any

import pytest

from stdiobus import BusConfig
from stdiobus.native import bindings, library

CLIENTS = 4
IDS = [each for n in range(10) for each in (n, str(n))]


class Host:
    """A bus with four logical clients; keeps what each of them received."""

    def __init__(self, *pools: Any) -> None:
        self.functions = library.load().functions
        self.functions.stdio_bus_client_open.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
        self.on_batch = bindings.OnBatch(self.received)
        options = bindings.Options(config_json=BusConfig(pools=list(pools)).to_json().encode())
        self.bus = self.functions.stdio_bus_create(ctypes.byref(options))
        assert self.functions.stdio_bus_set_on_batch(self.bus, self.on_batch) == bindings.OK
        assert self.functions.stdio_bus_start(self.bus) == bindings.OK
        self.clients = [self.functions.stdio_bus_client_open(self.bus, None) for _ in range(CLIENTS)]
        self.inbox: dict[int, list[dict]] = {client: [] for client in [bindings.HOST_CLIENT, *self.clients]}

    def received(self, bus: int, data: int, size: int, lines: int, count: int, user: int) -> None:
        text = ctypes.string_at(data, size)
        for length, _, client, _ in struct.iter_unpack(
            bindings.LINE_FORMAT, ctypes.string_at(lines, count * bindings.LINE_SIZE)
        ):
            self.inbox[client].append(json.loads(text[:length]))
            text = text[length + 1 :]

    def send(self, client: int, **message: Any) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        assert self.functions.stdio_bus_feed(self.bus, client, line, len(line)) == bindings.OK

    def run_until(self, condition: Any) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, f"not within 20 s; so far: {self.inbox}"
            assert self.functions.stdio_bus_step(self.bus, 1000) >= 0

    def answers(self, client: int) -> dict:
        return {message["id"]: message for message in self.inbox[client] if "method" not in message}


@pytest.fixture
def host():
    """`host(pool, ...)`: a running `Host`, destroyed after the test."""
    hosts = []

    def make(*pools: Any) -> Host:
        hosts.append(Host(*pools))
        return hosts[-1]

    yield make
    for each in hosts:
        each.functions.stdio_bus_destroy(each.bus)


def sum_up(host: Host, pool: str, tool: str) -> dict:
    """Lets every client add up the same ids in parallel; gives the texts of the answers."""
    for position, request_id in enumerate(IDS):
        for client in host.clients:
            arguments = {"name": tool, "arguments": {"a": client, "b": 100 * position}}
            host.send(client, id=request_id, method="tools/call", params=arguments, pool=pool)
    host.run_until(lambda: all(len(host.answers(client)) == len(IDS) for client in host.clients))
    assert not host.answers(bindings.HOST_CLIENT)
    return {
        (client, request_id): host.answers(client)[request_id]["result"]["content"][0]["text"]
        for client in host.clients
        for request_id in IDS
    }


def test_four_clients_with_colliding_ids_are_told_apart_with_a_typescript_server(host, everything):
    running = host(everything)
    texts = sum_up(running, "everything", "get-sum")
    assert texts == {
        (client, request_id): f"The sum of {client} and {100 * n} is {client + 100 * n}."
        for client in running.clients
        for n, request_id in enumerate(IDS)
    }


def test_four_clients_with_colliding_ids_are_told_apart_with_a_strict_server(host, pool):
    running = host(pool("mcp_strict_worker.py", "--on-violation", "exit", protocol="mcp"))
    texts = sum_up(running, "mcp_strict", "add")
    assert texts == {
        (client, request_id): str(client + 100 * n)
        for client in running.clients
        for n, request_id in enumerate(IDS)
    }


def test_progress_goes_to_the_client_whose_token_it_carries(host, pool):
    running = host(pool("mcp_strict_worker.py", protocol="mcp"))
    for client in running.clients:
        params = {"name": "count", "arguments": {"n": client}, "_meta": {"progressToken": "mine"}}
        running.send(client, id=1, method="tools/call", params=params)
    running.run_until(lambda: all(running.answers(client) for client in running.clients))
    for client in running.clients:
        progress = [m["params"] for m in running.inbox[client] if m.get("method") == "notifications/progress"]
        assert [(each["progressToken"], each["total"]) for each in progress] == [("mine", client)] * client


def test_session_of_one_client_is_not_that_of_another(host, pool):
    running = host(pool("echo_worker.py", instances=CLIENTS))
    for client in running.clients:
        for request_id in range(5):
            running.send(client, id=request_id, method="e", sessionId="same", params={"emit": 1})
    running.run_until(lambda: all(len(running.answers(client)) == 5 for client in running.clients))
    pids = [{answer["result"]["pid"] for answer in running.answers(c).values()} for c in running.clients]
    assert [len(each) for each in pids] == [1] * CLIENTS
    assert len(set.union(*pids)) == CLIENTS
    for client in running.clients:
        assert len([message for message in running.inbox[client] if message.get("method") == "tick"]) == 5
