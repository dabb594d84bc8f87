"""The program under load and in want: many clients at once, no descriptors, no processes, a full disk.

What is promised is in docs/limits.md; clients that offend are in test_listener_limits.py.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import targets
from tests.interpreters import PYTHON

WORKERS = Path(__file__).parents[1] / "workers"


def python(script: str, *arguments: str, **fields: Any) -> dict:
    """A pool of one of our Python workers."""
    command = {"command": PYTHON, "args": ["-u", str(WORKERS / script), *arguments]}
    return {"id": Path(script).stem.replace("_worker", ""), "protocol": "jsonrpc", **command, **fields}


def wait_for_log(program: Any, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in program.log():
        assert time.monotonic() < deadline, f"{text!r} in 20 s in: {program.log()}"
        time.sleep(0.01)


def stop(program: Any) -> None:
    """In order, and soon."""
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(20) == 0


# ---- many requests ------------------------------------------------------------------------------

CONNECTIONS = 16
IN_FLIGHT = 16
REQUESTS = 200_000


class Pump:
    """A connection that keeps IN_FLIGHT requests under way, all connections with the same ids."""

    def __init__(self, who: int, stream: socket.socket, count: int) -> None:
        self.who, self.stream, self.left = who, stream, count
        self.free, self.out, self.rest = list(range(IN_FLIGHT)), b"", b""
        self.waiting: dict[int, int] = {}  # id -> what its request carries
        self.answered = 0

    def send(self) -> bool:
        """Asks as much as it may; whether something is left to write."""
        lines = [self.out]
        while self.free and self.left:
            number, self.left = self.free.pop(), self.left - 1
            self.waiting[number] = self.left
            lines.append(
                b'{"jsonrpc":"2.0","id":%d,"method":"m","params":[%d,%d]}\n' % (number, self.who, self.left)
            )
        self.out = b"".join(lines)
        if self.out:
            self.out = self.out[self.stream.send(self.out) :]
        return bool(self.out)

    def receive(self) -> None:
        *lines, self.rest = (self.rest + self.stream.recv(1 << 16)).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            number = answer["id"]
            assert answer["result"] == [self.who, self.waiting.pop(number)]
            self.free.append(number)
        self.answered += len(lines)


@pytest.mark.slow
def test_16_connections_with_16_requests_in_flight_and_the_same_ids_lose_and_mix_up_none(
    serve, compiled_echo_worker
):
    pools = [{"id": "echo", "command": compiled_echo_worker, "protocol": "jsonrpc", "instances": 2}]
    program = serve({"pools": pools})
    with selectors.DefaultSelector() as selector:
        pumps = []
        for who in range(CONNECTIONS):
            stream = program.connect().socket
            stream.setblocking(False)
            pumps.append(Pump(who, stream, REQUESTS // CONNECTIONS))
            selector.register(stream, selectors.EVENT_READ | selectors.EVENT_WRITE, pumps[-1])
        while any(pump.left or pump.waiting for pump in pumps):
            ready = selector.select(20)
            assert ready, "no answer for 20 s"
            for key, events in ready:
                pump = key.data
                if events & selectors.EVENT_READ:
                    pump.receive()
                more = selectors.EVENT_WRITE if pump.send() else 0
                if key.events != selectors.EVENT_READ | more:
                    selector.modify(pump.stream, selectors.EVENT_READ | more, pump)
    assert sum(pump.answered for pump in pumps) == REQUESTS
    stats = program.connect().call("s", "stdio_bus/stats")["result"]
    assert (stats["pending"], stats["stats"]["routing_errors"]) == (0, 0)


# ---- clients among themselves -------------------------------------------------------------------


def test_two_clients_with_one_id_get_their_own_answers_from_a_worker_that_answers_in_reverse(serve):
    program = serve({"pools": [python("echo_worker.py")]})
    first, second = program.connect(), program.connect()
    first.request(1, params={"who": "first", "after": 1})
    assert first.call("ping", "stdio_bus/ping")["result"] == {}  # so the other one comes later
    second.request(1, params={"who": "second"})
    for client, who in ((second, "second"), (first, "first")):
        answer = client.receive()
        assert (answer["id"], answer["result"]["params"]["who"]) == (1, who)


@pytest.mark.parametrize("protocol", ["stdiobus", "jsonrpc"])
def test_client_that_claims_the_session_of_another_gets_one_of_its_own(serve, protocol):
    program = serve({"pools": [python("echo_worker.py", instances=2, protocol=protocol)]})
    owner, thief = program.connect(), program.connect()
    first = owner.call(1, sessionId="s")
    claimed = thief.call(1, sessionId="s")
    assert first["sessionId"] == claimed["sessionId"] == "s"
    # Two sessions, so two workers; and each stays where it is.
    assert first["result"]["pid"] != claimed["result"]["pid"]
    thief.request(2, sessionId="s", params={"emit": 3})
    assert [thief.receive().get("method") for _ in range(4)] == ["tick"] * 3 + [None]
    again = owner.call(2, sessionId="s")  # and nothing of the other's came before
    assert again["result"]["pid"] == first["result"]["pid"]
    assert owner.call(3, "stdio_bus/stats")["result"]["sessions"] == 2


# ---- the end ------------------------------------------------------------------------------------


def test_sigterm_under_load_ends_with_0_and_leaves_nothing(serve, gone):
    program = serve({"pools": [python("echo_worker.py", instances=2)]})
    callers = [program.connect() for _ in range(8)]
    pids = {caller.call("pid")["result"]["pid"] for caller in callers}
    assert len(pids) == 2
    under_way = threading.Semaphore(0)
    wrong: list[Any] = []

    def load(caller: Any) -> None:
        for number in range(10**9):
            try:
                caller.request(number, params={"n": number})
            except (BrokenPipeError, ConnectionResetError):
                return
            answer = caller.receive()
            if answer is None:
                return
            result = answer.get("result", {}).get("params") == {"n": number}
            refused = answer.get("error", {}).get("code") == -32085
            if answer["id"] != number or not (result or refused):
                wrong.append(answer)
                return
            if number == 20:
                under_way.release()

    threads = [threading.Thread(target=load, args=(caller,), daemon=True) for caller in callers]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert under_way.acquire(timeout=20)
    stop(program)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert wrong == []
    assert all(gone(pid, 0) for pid in pids)
    assert not program.path.exists()


def test_socket_is_private_replaces_a_dead_one_and_leaves_a_live_one_alone(serve):
    document = {"pools": [python("echo_worker.py")]}
    first = serve(document)
    first.connect().call(1)
    assert first.path.stat().st_mode & 0o777 == 0o600
    second = serve(document)
    assert second.process.wait(20) == 3
    assert "another server listens on it" in second.log()
    first.process.kill()
    first.process.wait()
    assert first.path.exists()
    third = serve(document)
    assert "result" in third.connect().call(1)
    stop(third)
    assert not third.path.exists()


def test_client_of_another_user_is_turned_away(serve, another_user):
    program = serve({"pools": [another_user.echo]}, "--log-level", "debug", **another_user.popen)
    assert program.connect().receive() is None
    wait_for_log(program, "it belongs to another user")
    stop(program)


# ---- no descriptors -----------------------------------------------------------------------------


def test_workers_beyond_the_descriptors_fail_with_the_reason_and_the_others_serve(serve):
    document = {"pools": [python("echo_worker.py", instances=20)], "limits": {"max_restarts": 0}}
    program = serve(document, shell="ulimit -n 64")
    client = program.connect()
    assert "result" in client.call(1)
    states = [each["state"] for each in client.call(2, "stdio_bus/stats")["result"]["workers"]]
    assert states.count("ready") > 5
    assert states.count("ready") + states.count("failed") == 20
    assert program.log().count("Too many open files (errno 24)") == states.count("failed") > 0
    stop(program)


def test_clients_leave_the_descriptors_that_a_restart_needs(serve):
    program = serve({"pools": [python("echo_worker.py")]}, shell="ulimit -n 64")
    clients = [program.connect() for _ in range(100)]
    assert clients[-1].ended()  # so all have been let in or not
    served = [client for client in clients if not client.ended(0)]
    assert 30 < len(served) < 60
    for client in set(clients) - set(served):
        error = client.receive()["error"]
        assert error["code"] == -32084
        assert "ulimit -n" in error["message"]
    pid = served[0].call(2)["result"]["pid"]
    served[0].request(3, params={"after": 1000})
    assert served[1].call(3)["result"]["pid"] == pid  # so it has the other request
    os.kill(pid, signal.SIGKILL)
    assert served[0].receive()["error"]["code"] == -32083
    assert served[0].call(4)["result"]["pid"] != pid
    for client in served[1:]:
        client.close()
    assert "result" in served[0].call(5, "stdio_bus/ping")  # so it has seen them go
    assert "result" in program.connect().call(1)
    stop(program)


def test_listener_without_a_descriptor_does_not_spin_and_recovers(serve):
    program = serve({"pools": [python("echo_worker.py")]})
    client = program.connect()
    assert "result" in client.call(1)
    pid = program.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (5, limits[1]))  # fewer than are open
    waiting = program.connect()  # for the kernel to take in; the program cannot
    assert "result" in client.call(2)
    before = program.cpu_time()
    with selectors.DefaultSelector() as selector:
        selector.register(waiting.socket, selectors.EVENT_READ)
        assert selector.select(1) == []
    assert program.cpu_time() - before < 0.3
    assert "result" in client.call(3)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert "result" in waiting.call(1)
    stop(program)


# ---- no processes -------------------------------------------------------------------------------


UID = 61234  # of nobody


class AnotherUser:
    """A folder for a user without rights and without processes, and how to run the program as that one."""

    def __init__(self, folder: Path, program: Path, echo_worker: str) -> None:
        os.chown(folder, UID, UID)
        self.echo = {"id": "echo", "command": shutil.copy(echo_worker, folder), "protocol": "jsonrpc"}
        self.popen = {"folder": folder, "program": shutil.copy(program, folder)}
        self.popen.update(user=UID, group=UID, extra_groups=[])

    def with_processes(self, count: int) -> dict:
        """The same, allowed so many processes, the program included."""
        limit = (count, count)
        return {**self.popen, "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NPROC, limit)}


@pytest.fixture
def another_user(root, compiled_echo_worker) -> Iterator[AnotherUser]:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is root's alone
        yield AnotherUser(Path(folder), root / targets.host().program_file, compiled_echo_worker)


def test_worker_that_cannot_be_forked_fails_with_the_reason_and_the_other_serves(serve, another_user):
    pools = [{**another_user.echo, "id": "first"}, {**another_user.echo, "id": "second"}]
    document = {"pools": pools, "limits": {"max_restarts": 0}}
    program = serve(document, **another_user.with_processes(2))
    wait_for_log(program, "failed for good")
    assert "fork for command" in program.log()
    assert "Resource temporarily unavailable (errno 11)" in program.log()
    stop(program)


def test_nothing_could_be_forked_exits_with_4_and_says_why(serve, another_user):
    document = {"pools": [another_user.echo], "limits": {"max_restarts": 1}}
    program = serve(document, **another_user.with_processes(1))
    assert program.process.wait(20) == 4
    assert "Resource temporarily unavailable (errno 11)" in program.log()
    assert not program.path.exists()


# ---- a log that nobody takes --------------------------------------------------------------------


def test_full_disk_under_the_log_breaks_nothing(serve):
    with open("/dev/full", "wb") as full:
        program = serve({"pools": [python("misbehaving_worker.py", "flood", "1")]}, stderr=full)
    client = program.connect()
    for number in range(3):
        assert client.call(number, params={"n": number})["result"] == {"n": number}
    stop(program)


def test_log_that_nobody_reads_holds_nobody_up_and_says_later_what_is_lost(serve):
    program = serve({"pools": [python("misbehaving_worker.py", "flood", "1")]}, stderr=subprocess.PIPE)
    client = program.connect()
    for number in range(3):
        assert client.call(number, params={"n": number})["result"] == {"n": number}
    log: list[bytes] = []
    reader = threading.Thread(target=lambda: log.extend(program.process.stderr), daemon=True)
    reader.start()
    assert "result" in client.call(3)
    stop(program)
    reader.join(20)
    assert any(b"log lines were lost" in line for line in log)


# ---- workers that do not behave -----------------------------------------------------------------


def test_worker_that_closes_its_stdout_is_killed_and_replaced(serve):
    program = serve({"pools": [python("misbehaving_worker.py", "closed")]})
    client = program.connect()
    for number in range(2):
        error = client.call(number)["error"]
        assert (error["code"], error["data"]["signal"]) == (-32083, signal.SIGKILL)
        assert "closed its stdout" in error["message"]
    stop(program)


def test_worker_that_ignores_sigterm_is_killed_when_the_time_is_up(serve, gone):
    document = {"pools": [python("misbehaving_worker.py", "stubborn")], "limits": {"drain_timeout_sec": 1}}
    program = serve(document)
    pid = program.connect().call(1)["result"]
    stop(program)
    assert gone(pid, 0)


def test_child_that_a_worker_leaves_behind_is_ended_with_it(serve, gone):
    program = serve({"pools": [python("misbehaving_worker.py", "orphan")]})
    client = program.connect()
    child = client.call(1)["result"]
    worker = client.call(2, "stdio_bus/stats")["result"]["workers"][0]["pid"]
    os.kill(worker, signal.SIGKILL)
    assert gone(child, 20)
    another = client.call(3)["result"]
    assert another != child
    stop(program)
    assert gone(another, 20)


def test_daemon_that_holds_the_pipes_of_its_worker_holds_nobody_up(serve, gone):
    program = serve({"pools": [python("misbehaving_worker.py", "daemon")]})
    client = program.connect()
    daemons = []
    try:
        for number in range(2):
            client.request(number)
            daemons.append(client.receive()["result"])
            assert client.call("held")["error"]["code"] == -32083  # the worker exits, the daemon does not
        stop(program)
        assert not any(gone(pid, 0) for pid in daemons)  # a group of its own is its own affair
    finally:
        for pid in daemons:
            os.kill(pid, signal.SIGKILL)
