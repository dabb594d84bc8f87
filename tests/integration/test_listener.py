"""External clients over TCP and Unix sockets: who may connect, and that none sees another's messages.

The bus is the native one, or the program `stdio_bus` by itself; clients are asyncio streams.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Callable

import pytest
import pytest_asyncio

from stdiobus import AsyncStdioBus, BusConfig, LimitsConfig, ListenMode, NativeOptions, TransportError
from tests.interpreters import PYTHON

CLIENTS = 16
REQUESTS = 16


class Client:
    """One connection: JSON messages out and in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, message: Any) -> None:
        text = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.writer.write(text + b"\n")

    def request(self, number: Any, method: str, **fields: Any) -> None:
        self.send({"jsonrpc": "2.0", "id": number, "method": method, **fields})

    async def receive(self) -> Any:
        """The next message; None at the end of the connection."""
        line = await asyncio.wait_for(self.reader.readline(), 10)
        return json.loads(line) if line else None

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Callable[..., Any]]:
    """`await connect(path)` or `await connect((host, port))`: a client, closed after the test."""
    clients = []

    async def make(address: Any) -> Client:
        if isinstance(address, tuple):
            streams = await asyncio.open_connection(*address, limit=2**24)
        else:
            streams = await asyncio.open_unix_connection(str(address), limit=2**24)
        clients.append(Client(*streams))
        return clients[-1]

    yield make
    for client in clients:
        client.writer.transport.abort()  # to close would wait for a bus that reads no more of it
        await client.close()


@pytest_asyncio.fixture
async def listening(pool, tmp_path) -> AsyncIterator[Callable[..., Any]]:
    """`await listening(**limits)`: a native bus with an echo pool, and its socket's path."""
    buses = []

    async def make(**limits: Any) -> tuple:
        path = tmp_path / "bus.sock"
        options = NativeOptions(listen_mode=ListenMode.UNIX, unix_path=str(path))
        config = BusConfig(pools=[pool("echo_worker.py")], limits=LimitsConfig(**limits))
        bus = AsyncStdioBus(config, backend="native", native=options)
        buses.append(bus)
        await bus.start()
        return bus, path

    yield make
    for bus in buses:
        await bus.stop(5)


async def test_clients_with_colliding_ids_get_their_own_answers(listening, connect):
    _, path = await listening()
    clients = [await connect(path) for _ in range(CLIENTS)]
    for who, client in enumerate(clients):
        for number in range(REQUESTS):
            client.request(number, "m", params={"who": who, "number": number})
    for who, client in enumerate(clients):
        answers = [await client.receive() for _ in range(REQUESTS)]
        assert sorted(answer["id"] for answer in answers) == list(range(REQUESTS))
        for answer in answers:
            assert answer["result"]["params"] == {"who": who, "number": answer["id"]}


async def test_the_host_and_a_client_share_the_bus(listening, connect):
    bus, path = await listening()
    client = await connect(path)
    client.request(1, "m", params={"from": "client"})
    result = await bus.request("echo", {"from": "host"}, method="m")
    assert result["params"] == {"from": "host"}
    assert (await client.receive())["result"]["params"] == {"from": "client"}
    assert bus.get_client_count() == 1
    assert bus.get_listen_mode() is ListenMode.UNIX


async def test_hello_ping_and_stats_are_answered_by_the_bus(listening, connect):
    _, path = await listening()
    client = await connect(path)
    client.request("h", "stdio_bus/hello")
    hello = (await client.receive())["result"]
    assert set(hello) == {"negotiatedProtocolVersion", "sessionId", "extensions"}
    client.request("p", "stdio_bus/ping")
    assert await client.receive() == {"jsonrpc": "2.0", "id": "p", "result": {}}
    client.request("s", "stdio_bus/stats")
    stats = (await client.receive())["result"]
    assert stats["clients"] == 1
    assert [worker["state"] for worker in stats["workers"]] == ["ready"]


async def test_what_is_wrong_with_a_line_is_answered_and_the_stream_goes_on(listening, connect):
    _, path = await listening(max_input_buffer=4096)
    client = await connect(path)
    client.send(b"[1, 2]")
    client.send(b"{nonsense")
    client.send(b'{"jsonrpc":"2.0","id":"long","method":"m","params":["' + b"x" * 100_000 + b'"]}')
    client.request(4, "m")
    answers = [await client.receive() for _ in range(4)]
    assert [answer.get("error", {}).get("code") for answer in answers] == [-32600, -32700, -32600, None]
    assert [answer["id"] for answer in answers] == [None, None, "long", 4]


async def test_a_client_that_leaves_is_counted_out(listening, connect, eventually):
    bus, path = await listening()
    client = await connect(path)
    await eventually(lambda: bus.get_client_count() == 1)
    await client.close()
    await eventually(lambda: bus.get_client_count() == 0)
    assert bus.get_stats().client_disconnects == 1


async def test_one_client_too_many_is_told_so_and_closed(listening, connect):
    _, path = await listening(max_clients=2)
    kept = [await connect(path) for _ in range(2)]
    for client in kept:
        client.request(1, "stdio_bus/ping")
        assert (await client.receive())["result"] == {}
    refused = await connect(path)
    assert (await refused.receive())["error"]["code"] == -32084
    assert await refused.receive() is None
    kept[0].request(2, "m")
    assert (await kept[0].receive())["id"] == 2


async def test_a_client_that_does_not_read_holds_nobody_up(listening, connect):
    bus, path = await listening(max_output_queue=65536)
    lazy, busy = await connect(path), await connect(path)
    lazy.writer.transport.pause_reading()
    for number in range(200):
        lazy.request(number, "m", params={"text": "x" * 10_000})
    for number in range(50):
        busy.request(number, "m")
        assert (await busy.receive())["id"] == number
    assert bus.get_client_count() <= 2


async def test_unix_socket_is_private_and_gone_after_stop(listening):
    bus, path = await listening()
    assert path.stat().st_mode & 0o777 == 0o600
    await bus.stop()
    assert not path.exists()


async def test_dead_socket_is_replaced_and_live_one_refused(listening, pool, connect):
    _, path = await listening()
    second = AsyncStdioBus(
        BusConfig(pools=[pool("echo_worker.py")]),
        backend="native",
        native=NativeOptions(listen_mode=ListenMode.UNIX, unix_path=str(path)),
    )
    with pytest.raises(Exception, match="another server listens on it") as caught:
        await second.start()
    assert not isinstance(caught.value, TransportError)
    dead = path.with_name("dead.sock")
    with socket.socket(socket.AF_UNIX) as leftover:
        leftover.bind(str(dead))
    third = AsyncStdioBus(
        BusConfig(pools=[pool("echo_worker.py")]),
        backend="native",
        native=NativeOptions(listen_mode=ListenMode.UNIX, unix_path=str(dead)),
    )
    async with third:
        client = await connect(dead)
        client.request(1, "m")
        assert (await client.receive())["id"] == 1


async def test_other_machines_are_let_in_with_a_token_only(pool):
    bus = AsyncStdioBus(
        BusConfig(pools=[pool("echo_worker.py")]),
        backend="native",
        native=NativeOptions(listen_mode=ListenMode.TCP, tcp_host="0.0.0.0", tcp_port=0),
    )
    with pytest.raises(Exception, match="set a token"):
        await bus.start()


# ---- the program --------------------------------------------------------------------------


@pytest.fixture
def served(root, tmp_path):
    """`served(*arguments, token=...)`: a running program with an echo pool and its TCP port."""
    running = []

    def start(*arguments: str, token: str = "") -> tuple:
        config = tmp_path / "config.json"
        worker = [str(Path(__file__).parents[1] / "workers" / "echo_worker.py")]
        document = {"pools": [{"id": "echo", "protocol": "jsonrpc", "command": PYTHON, "args": worker}]}
        config.write_text(json.dumps(document))
        environment = {**os.environ, **({"STDIO_BUS_TOKEN": token} if token else {})}
        command = [str(root / "kernel" / "dist" / "stdio_bus"), "--config", str(config), *arguments]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        running.append(process)
        for line in process.stderr:
            found = re.search(r"listening on port (\d+)", line)
            if found:
                return process, int(found.group(1))
        pytest.fail("the program ended")

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_program_serves_tcp_on_any_free_port_and_ends_in_order(served, connect, host):
    process, port = served("--tcp", f"[{host}]:0")
    client = await connect((host, port))
    client.request(7, "m", params={"a": 1})
    assert (await client.receive())["result"]["params"] == {"a": 1}
    process.send_signal(signal.SIGTERM)
    assert await client.receive() is None
    assert process.wait(10) == 0


def test_program_does_not_hand_its_token_to_workers(root):
    code = """
import json, os, sys
for line in sys.stdin:
    message = {"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": os.environ.get("STDIO_BUS_TOKEN")}
    print(json.dumps(message), flush=True)
"""
    document = {"pools": [{"id": "p", "protocol": "jsonrpc", "command": PYTHON, "args": ["-c", code]}]}
    lines = [json.dumps(document), '{"jsonrpc":"2.0","id":1,"method":"m"}', ""]
    command = [str(root / "kernel" / "dist" / "stdio_bus"), "--config-fd", "0"]
    environment = {**os.environ, "STDIO_BUS_TOKEN": "open sesame"}
    pipes: Any = {"capture_output": True, "text": True, "timeout": 20}
    ended = subprocess.run(command, input="\n".join(lines), env=environment, check=False, **pipes)
    assert json.loads(ended.stdout)["result"] is None


async def test_program_takes_no_http_over_tcp(served, connect):
    _, port = served("--tcp", "127.0.0.1:0")
    page = await connect(("127.0.0.1", port))
    page.writer.write(b'POST / HTTP/1.1\r\n\r\n{"jsonrpc":"2.0","id":1,"method":"m"}\n')
    assert (await page.receive())["error"]["code"] == -32700
    assert await page.receive() is None


async def test_client_that_finishes_sending_gets_its_answer(listening):
    _, path = await listening()
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"jsonrpc":"2.0","id":1,"method":"m"}')
    writer.write_eof()
    answers = (await asyncio.wait_for(reader.read(), 20)).splitlines()
    assert [json.loads(line)["id"] for line in answers] == [1]
    writer.close()


async def test_program_asks_for_its_token_first(served, connect):
    _, port = served("--tcp", "127.0.0.1:0", token="open sesame")
    for first in (
        {"jsonrpc": "2.0", "id": 1, "method": "m"},
        {"jsonrpc": "2.0", "id": 1, "method": "stdio_bus/hello", "params": {"token": "open sesam"}},
    ):
        stranger = await connect(("127.0.0.1", port))
        stranger.send(first)
        assert (await stranger.receive())["error"]["code"] == -32600
        assert await stranger.receive() is None
    friend = await connect(("127.0.0.1", port))
    friend.request(1, "stdio_bus/hello", params={"token": "open sesame"})
    assert "sessionId" in (await friend.receive())["result"]
    friend.request(2, "m")
    assert (await friend.receive())["result"]["method"] == "m"
