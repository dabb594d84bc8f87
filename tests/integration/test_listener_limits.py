"""Clients that ask for too much of the program: what becomes of them, and that nobody else notices.

Each test measures the round trips of a bystander before and during the offence, and what the
program's memory grew to. What is promised is in docs/limits.md.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from tests.interpreters import PYTHON

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="a program in C: nothing of the package runs in these tests"
)

MIB = 1 << 20
TOKEN = "open sesame"
WORKERS = Path(__file__).parents[1] / "workers"


@pytest.fixture
def echoing(serve, compiled_echo_worker) -> Callable[..., Any]:
    """`echoing(pool, ..., token=..., **limits)`: the program with a fast echo pool and these."""

    def start(*pools: dict, token: str = "", **limits: int) -> Any:
        echo = {"id": "echo", "command": compiled_echo_worker, "protocol": "jsonrpc"}
        document = {"pools": [echo, *pools], "limits": limits, **({"token": token} if token else {})}
        return serve(document)

    return start


def misbehaving(*arguments: str) -> dict:
    script = str(WORKERS / "misbehaving_worker.py")
    return {"id": "odd", "command": PYTHON, "args": ["-u", script, *arguments], "protocol": "jsonrpc"}


@contextlib.contextmanager
def unharmed(program: Any, memory: int = 32 * MIB, token: str = "") -> Iterator[Callable[[], None]]:
    """The bystander: `look()` measures its latency now; at the end, the memory's growth."""
    bystander = program.connect()
    if token:
        assert "result" in bystander.call("hello", "stdio_bus/hello", params={"token": token})
    before, peak = bystander.latency(), program.memory()

    def look() -> None:
        during = bystander.latency()
        assert during < 20 * before + 0.05, f"{during * 1e3:.2f} ms in place of {before * 1e3:.2f} ms"

    look()
    yield look
    look()
    grown = program.memory() - peak
    assert grown < memory, f"memory grew by {grown / MIB:.0f} MiB"


@contextlib.contextmanager
def in_background(offence: Callable[[], None]) -> Iterator[threading.Thread]:
    """Runs the offence in a thread, and waits for its end."""
    thread = threading.Thread(target=offence, daemon=True)
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive()


# ---- clients that do not read -------------------------------------------------------------------


def test_client_that_reads_nothing_of_what_a_worker_sends_is_closed(echoing):
    program = echoing(misbehaving("giant", str(MIB)), max_input_buffer=2 * MIB, max_output_queue=4 * MIB)
    with unharmed(program) as look:
        lazy = program.connect()
        for number in range(200):
            lazy.request(number, pool="odd")
        while not lazy.ended(0):
            look()
        seen = 0
        while lazy.receive() is not None:
            seen += 1
        assert seen < 200


def test_client_that_does_not_read_is_closed_after_the_backpressure_timeout(echoing):
    program = echoing(max_input_buffer=MIB, max_output_queue=4 * MIB, backpressure_timeout_sec=1)
    with unharmed(program) as look:
        lazy = program.connect()
        started = time.monotonic()

        def ask() -> None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for number in range(10_000):
                    lazy.request(number, params=["x" * 10_000])

        with in_background(ask):
            look()
            assert lazy.ended()
        assert time.monotonic() - started > 0.9


def test_client_that_reads_late_but_in_time_gets_all_its_answers(echoing):
    program = echoing(max_input_buffer=MIB, max_output_queue=4 * MIB)
    text, count = "x" * 10_000, 3000
    slow = program.connect()

    def ask() -> None:
        for number in range(count):
            slow.request(number, params=[text])

    with unharmed(program) as look, in_background(ask):
        look()
        answers = [slow.receive() for _ in range(count)]
    assert sorted(answer["id"] for answer in answers) == list(range(count))
    results = [answer["result"] for answer in answers if "result" in answer]
    assert results == [[text]] * len(results)
    # A worker slower than this client may have had a full queue.
    errors = {answer["error"]["code"] for answer in answers if "error" in answer}
    assert errors <= {-32084}
    assert len(results) * len(text) > 4 * MIB


# ---- clients that send too much -----------------------------------------------------------------


def test_gibibyte_without_a_newline_takes_no_memory_and_the_connection_goes_on(echoing):
    program = echoing()
    endless = program.connect()

    def send() -> None:
        endless.socket.sendall(b'{"jsonrpc":"2.0","id":"endless","method":"m","params":["')
        for _ in range(1024):
            endless.socket.sendall(b"x" * MIB)

    with unharmed(program) as look:
        with in_background(send) as sending:
            while sending.is_alive():
                look()
        endless.socket.sendall(b'"]}\n')
        answer = endless.receive()
        assert (answer["id"], answer["error"]["code"]) == ("endless", -32600)
        assert "limits.max_input_buffer" in answer["error"]["message"]
        assert endless.call(2, params={"n": 2})["result"] == {"n": 2}


def test_stranger_cannot_make_the_program_keep_much(echoing):
    program = echoing(token=TOKEN)

    def send(stranger: Any) -> None:
        with contextlib.suppress(OSError):  # it may be closed meanwhile
            for _ in range(8):
                stranger.socket.sendall(b"x" * MIB)

    with unharmed(program, token=TOKEN) as look:
        for _ in range(32):
            send(program.connect())
        look()


def test_token_may_be_followed_at_once_by_a_long_message(echoing):
    program = echoing(token=TOKEN)
    client = program.connect()
    text = "x" * (4 * MIB)
    hello = {"jsonrpc": "2.0", "id": 1, "method": "stdio_bus/hello", "params": {"token": TOKEN}}
    message = {"jsonrpc": "2.0", "id": 2, "method": "m", "params": [text]}

    def send() -> None:
        client.socket.sendall(json.dumps(hello).encode() + b"\n" + json.dumps(message).encode() + b"\n")

    with in_background(send):
        assert "result" in client.receive()
        assert client.receive()["result"] == [text]


# ---- clients that say nothing, or the wrong thing -----------------------------------------------


def test_client_that_says_nothing_is_closed_after_5_s_where_a_token_is_asked_for(echoing):
    program = echoing(token=TOKEN)
    with unharmed(program, token=TOKEN) as look:
        started = time.monotonic()
        silent, halting = program.connect(), program.connect()
        halting.socket.sendall(b'{"jsonrpc":')
        look()
        assert silent.receive() is None
        assert halting.receive() is None
        assert time.monotonic() - started > 4.9


def test_client_that_says_nothing_may_stay_where_no_token_is_asked_for(echoing):
    program = echoing()
    with unharmed(program) as look:
        silent = [program.connect() for _ in range(50)]
        look()
        assert not any(each.ended(0) for each in silent)
        assert silent[0].call(1, params={"n": 1})["result"] == {"n": 1}


def test_wrong_token_is_told_so_and_closed(echoing):
    program = echoing(token=TOKEN)
    with unharmed(program, token=TOKEN) as look:
        for number in range(200):
            stranger = program.connect()
            stranger.request(number, "stdio_bus/hello", params={"token": "open sesam"})
            assert stranger.receive()["error"]["code"] == -32600
            assert stranger.receive() is None
            stranger.close()
        look()


# ---- many clients -------------------------------------------------------------------------------


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Room for some thousand connections, here and in the program."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"at most {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_of_2000_clients_max_clients_are_served_and_the_others_told(many_descriptors, echoing):
    program = echoing(max_clients=1024)
    with unharmed(program) as look:
        clients = [program.connect() for _ in range(2000)]
        look()
        assert clients[-1].ended()  # so all have been let in or not
        served = [client for client in clients if not client.ended(0)]
        assert len(served) == 1024 - 1  # and the bystander
        for client in set(clients) - set(served):
            error = client.receive()["error"]
            assert error["code"] == -32084
            assert "limits.max_clients" in error["message"]
            assert client.receive() is None
        for client in served:
            client.request(1, params={"n": 1})
        assert all(client.receive()["result"] == {"n": 1} for client in served)
        look()
        served[0].close()
        assert "result" in served[1].call(2, "stdio_bus/ping")  # so it has seen the first one go
        assert program.connect().call(1, params={"n": 1})["result"] == {"n": 1}
