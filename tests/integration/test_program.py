"""The program `stdio_bus` without Python around it: exit codes, tagged lines, its own notifications."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interpreters import PYTHON

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="a program in C: nothing of the package runs in these tests"
)

WORKERS = Path(__file__).parents[1] / "workers"


class Program:
    """A running `stdio_bus --tagged`; lines in, lines out, one at a time."""

    def __init__(self, launcher: Path, config: dict, *options: str, **streams: Any) -> None:
        descriptor, writer = os.pipe()
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(config).encode())
        command = [launcher, "--config-fd", str(descriptor), "--stdio", *options]
        pipes: Any = {**dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE), **streams}
        self.process = subprocess.Popen(command, pass_fds=[descriptor], **pipes)
        os.close(descriptor)

    def send(self, client: int, message: dict) -> None:
        self.send_text(f"{client} {json.dumps(message)}\n".encode())

    def send_text(self, text: bytes) -> None:
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def receive(self) -> tuple:
        """The next message that is not a status report: client, worker, message."""
        while True:
            client, worker, text = self.process.stdout.readline().decode().split(" ", 2)
            message = json.loads(text)
            if message.get("method") != "stdio_bus/status":
                return int(client), int(worker), message

    def end(self) -> int:
        self.process.stdin.close()
        code = self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process.stderr.close()
        return code


@pytest.fixture
def program(root):
    """`program(config, *options, stdout=...)`: a running program, ended after the test."""
    running = []

    def start(config: dict, *options: str, **streams: Any) -> Program:
        running.append(Program(root / "kernel" / "dist" / "stdio_bus", config, *options, **streams))
        return running[-1]

    yield start
    for each in running:
        each.process.kill()
        each.end()


def echo(**fields: Any) -> dict:
    command = {"command": PYTHON, "args": [str(WORKERS / "echo_worker.py")]}
    return {"pools": [{"id": "echo", "protocol": "jsonrpc", **command, **fields}]}


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [root / "kernel" / "dist" / "stdio_bus", *arguments]
    pipes: Any = {"stdin": subprocess.DEVNULL, "capture_output": True}
    return subprocess.run(command, **pipes, text=True, timeout=20, check=False)


def request(request_id: Any, n: int) -> dict:
    return {"jsonrpc": "2.0", "id": request_id, "method": "echo", "params": {"n": n}}


def test_help_and_version_exit_with_0(root):
    assert "3.0.0.dev0" in run(root, "--version").stdout
    assert "--config-fd" in run(root, "--help").stdout


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
@pytest.mark.parametrize("option", ["--help", "--version", "--check"])
def test_text_that_cannot_be_written_exits_with_1(root, tmp_path, option, where):
    if where == ">/dev/full" and not Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    config = tmp_path / "bus.json"
    config.write_text(json.dumps(echo()))
    command = [str(root / "kernel" / "dist" / "stdio_bus"), "--config", str(config), option]
    shell = ["sh", "-c", f'exec "$@" {where}', "sh", *command]
    ended = subprocess.run(shell, stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "stdout cannot be written: " in ended.stderr


@pytest.fixture
def binary(program):
    """The program that the launcher becomes, for what a shell would not pass on or survive."""
    bus = program(echo(), "--tagged")
    assert bus.receive()[2]["params"]["kind"] == "started"
    if not Path("/proc/self/exe").exists():
        pytest.skip("reads /proc")
    return os.readlink(f"/proc/{bus.process.pid}/exe")


def test_bus_without_descriptors_exits_with_1(binary, tmp_path):
    config = tmp_path / "bus.json"
    config.write_text(json.dumps(echo()))
    command = ["sh", "-c", 'ulimit -n 4; exec "$@"', "sh", binary, "--config", str(config)]
    pipes: Any = {"stdin": subprocess.DEVNULL, "capture_output": True}
    ended = subprocess.run(command, **pipes, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "a bus cannot be set up: Too many open files" in ended.stderr


@pytest.mark.parametrize("token", ["", "x" * 2000])
def test_token_of_the_environment_concerns_listeners_only(root, tmp_path, monkeypatch, token):
    monkeypatch.setenv("STDIO_BUS_TOKEN", token)
    (tmp_path / "bus.json").write_text(json.dumps(echo()))
    command = ["--config", str(tmp_path / "bus.json")]
    assert run(root, *command, "--check").returncode == 0
    assert run(root, *command).returncode == 0
    refused = run(root, *command, "--unix", str(tmp_path / "bus.sock"), "--check")
    assert refused.returncode == 3
    assert "STDIO_BUS_TOKEN: the token must be 1 to 1024 bytes" in refused.stderr


@pytest.mark.parametrize("arguments", [[], ["--no-such-option"], ["--config"], ["--config-fd", "x"]])
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(root, arguments):
    ended = run(root, *arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert (arguments[-1] if arguments else "--config") in ended.stderr


def test_config_that_is_not_there_exits_with_3_and_names_it(root, tmp_path):
    ended = run(root, "--config", str(tmp_path / "absent.json"))
    assert ended.returncode == 3
    assert str(tmp_path / "absent.json") in ended.stderr
    assert "No such file or directory" in ended.stderr


def test_nothing_could_start_exits_with_4_and_says_why(root, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"pools": [{"id": "a", "command": "no-such-program"}]}))
    ended = run(root, "--config", str(tmp_path / "config.json"))
    assert ended.returncode == 4
    assert "no-such-program" in ended.stderr


@pytest.mark.parametrize("command", ["no-such-program", "false"])
def test_program_goes_on_while_a_pool_is_the_hosts_to_serve(program, command):
    """Without such a pool it ends, whether the command is not there or has failed for the last time."""
    pools: list = [{"id": "b", "protocol": "mcp", "command": command}]
    limits = {"max_restarts": 0}
    assert program({"pools": pools, "limits": limits}).process.wait(10) == 4
    pools.append({"id": "a", "protocol": "jsonrpc", "embedded": True})
    bus = program({"pools": pools, "limits": limits}, "--tagged")
    assert bus.receive()[2]["params"]["kind"] == "failed"
    bus.send(0, request(1, 1))
    assert bus.receive()[2]["error"]["code"] == -32082
    bus.send(0, {"jsonrpc": "2.0", "id": 2, "method": "stdio_bus/attach", "params": {"pool": "a"}})
    assert bus.receive()[2]["params"]["kind"] == "started"
    assert bus.receive()[2]["result"] == {"worker": 2}
    assert bus.end() == 0


def test_plain_lines_are_answered_and_end_of_input_exits_with_0(root, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(echo()))
    command = [root / "kernel" / "dist" / "stdio_bus", "--config", tmp_path / "config.json"]
    lines = "".join(json.dumps(request(n, n)) + "\n" for n in range(100))
    ended = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 0, ended.stderr
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(a["id"], a["result"]["params"]["n"]) for a in answers] == [(n, n) for n in range(100)]


# ---- the configuration as the first line of stdin ------------------------------------------


def feed(root: Path, data: bytes, *options: str) -> subprocess.CompletedProcess:
    command = [root / "kernel" / "dist" / "stdio_bus", "--config-fd", "0", *options]
    return subprocess.run(command, input=data, capture_output=True, timeout=20, check=False)


@pytest.mark.parametrize(("options", "tag"), [((), ""), (("--stdio", "--tagged"), "0 ")])
def test_messages_follow_a_configuration_on_stdin(root, options, tag):
    """All in one write: what was read beyond the first line belongs to the stream."""
    lines = [json.dumps(echo())] + [tag + json.dumps(request(n, n)) for n in range(2000)]
    ended = feed(root, "\n".join(lines).encode(), *options)
    assert ended.returncode == 0, ended.stderr
    messages = [json.loads(line[line.index(b"{") :]) for line in ended.stdout.splitlines()]
    answered = [message["id"] for message in messages if "result" in message]
    assert answered == list(range(2000))


def test_configuration_on_stdin_may_come_in_pieces_and_be_long(root):
    command = [root / "kernel" / "dist" / "stdio_bus", "--config-fd", "0"]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, bufsize=0)
    config = json.dumps(echo(env={"FILLER": "x" * 100_000})).encode()
    for piece in (config[:1], config[1:70_000], config[70_000:], b"\r\n", b'{"jsonrpc":"2.0",'):
        process.stdin.write(piece)
    process.stdin.write(b'"id":1,"method":"echo"}\n')
    assert json.loads(process.stdout.readline())["id"] == 1
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", b"line 1, column 1: the text ends too early"),
        (b'{"pools":\n[]}', b"line 1, column 10: the text ends too early"),
        (b'{"pools":[]}\n', b"pools: must not be empty"),
        (b'{"pools":\0[]}\n', b"--config-fd 0: cannot be read"),
    ],
)
def test_wrong_first_line_exits_with_3_and_says_what_is_wrong(root, data, problem):
    ended = feed(root, data)
    assert (ended.returncode, ended.stdout) == (3, b"")
    assert problem in ended.stderr


def test_first_line_without_an_end_is_bounded(root):
    ended = feed(root, b" " * (200 << 20))
    assert (ended.returncode, ended.stdout) == (3, b"")
    assert b"--config-fd 0: cannot be read: File too large" in ended.stderr


def test_configuration_of_a_listener_is_read_from_stdin_to_its_end(root):
    config = json.dumps(echo(), indent=1).encode()
    assert config.count(b"\n") > 1
    assert feed(root, config, "--tcp", "127.0.0.1:0", "--check").returncode == 0


@pytest.mark.parametrize("path", ["", "/tmp/" + "x" * 200])
def test_check_covers_the_path_of_a_unix_socket(root, path):
    for options in [], ["--check"]:
        ended = feed(root, json.dumps(echo()).encode(), "--unix", path, *options)
        assert ended.returncode == 3
        assert b": must be a path of 1 to 100 bytes" in ended.stderr


@pytest.mark.parametrize(
    ("host", "token", "fault"),
    [
        ("127.0.0.1", {}, b""),
        ("0.0.0.0", {"token": "t"}, b""),
        ("0.0.0.0", {}, b"set a token"),
        ("example.com", {"token": "t"}, b"example.com: must be an IPv4 or IPv6 address, or localhost"),
    ],
)
def test_check_covers_where_it_may_listen(root, host, token, fault):
    ended = feed(root, json.dumps({**echo(), **token}).encode(), "--tcp", f"{host}:0", "--check")
    assert ended.returncode == (3 if fault else 0)
    assert fault in ended.stderr
    assert (b"configuration is good" in ended.stdout) == (not fault)


# ---- tagged lines --------------------------------------------------------------------------


def test_tagged_lines_come_back_with_client_and_worker(program):
    bus = program(echo(instances=2), "--tagged")
    ids = [each for n in range(20) for each in (n, str(n))]
    for n, request_id in enumerate(ids):
        bus.send(0, request(request_id, n))
    received = {}
    while len(received) < len(ids):
        client, worker, message = bus.receive()
        if "result" in message:
            received[message["id"]] = message["result"]["params"]["n"], client
            assert worker in (1, 2)
    assert received == {request_id: (n, 0) for n, request_id in enumerate(ids)}
    assert bus.end() == 0


def test_status_tells_what_runs(program):
    bus = program(echo(instances=2), "--tagged")
    bus.send(0, request(1, 1))
    state = None
    while state != ("ready", "ready"):
        client, worker, text = bus.process.stdout.readline().decode().split(" ", 2)
        message = json.loads(text)
        if message.get("method") == "stdio_bus/status":
            assert (client, worker) == ("0", "0")
            assert set(message["params"]) == {"state", "stats", "pending", "sessions", "clients", "workers"}
            state = tuple(worker["state"] for worker in message["params"]["workers"])
    assert bus.end() == 0


def test_death_of_a_worker_is_told_and_its_request_is_answered(program):
    bus = program(echo(), "--tagged")
    bus.send(0, {"jsonrpc": "2.0", "id": 1, "method": "held", "params": {"after": 1000}})
    bus.send(0, request(2, 2))
    told = [bus.receive() for _ in range(2)]
    pid = told[-1][2]["result"]["pid"]
    os.kill(pid, signal.SIGKILL)
    told += [bus.receive() for _ in range(2)]
    messages = [message for _, _, message in told]
    events = [each["params"] for each in messages if each.get("method") == "stdio_bus/worker_event"]
    errors = [each for each in messages if "error" in each]
    assert [event["kind"] for event in events] == ["started", "restarting"]
    death = {"pool": "echo", "worker": 1, "pid": pid, "signal": 9, "exit_code": -1}
    assert death.items() <= events[1].items()
    assert [(error["id"], error["error"]["code"]) for error in errors] == [(1, -32083)]
    assert bus.end() == 0


@contextlib.contextmanager
def signals(handler: Any, numbers: set, blocked: tuple = ()) -> Iterator[None]:
    """What programs that are started meanwhile inherit."""
    before = {number: signal.signal(number, handler) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, each in before.items():
            signal.signal(number, each)


@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_the_program_in_order_with_0(program, gone, sent, blocked):
    with signals(signal.SIG_DFL, {sent}, (sent,) if blocked else ()):
        bus = program(echo(), "--tagged")
    bus.send(0, request(1, 1))
    pid = next(m["result"]["pid"] for _, _, m in iter(bus.receive, None) if "result" in m)
    bus.process.send_signal(sent)
    assert bus.process.wait(10) == 0
    assert gone(pid, 0)


def test_exit_status_of_a_worker_is_known_also_where_sigchld_was_ignored(binary):
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with signals(signal.SIG_IGN, {signal.SIGCHLD}):
        process = subprocess.Popen([binary, "--config-fd", "0"], **pipes)
    config = python("import sys; sys.stdin.readline(); sys.exit(7)")
    said, _ = process.communicate("\n".join(map(json.dumps, [config, request(1, 1)])).encode(), timeout=20)
    error = json.loads(said)["error"]
    assert (error["code"], error["data"]["exit_code"]) == (-32083, 7)


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells a process of its parent's death")
def test_worker_that_does_not_read_its_stdin_ends_with_a_program_that_is_killed(program, gone):
    pool = {"id": "p", "protocol": "jsonrpc", "command": "sleep", "args": ["1000"]}
    bus = program({"pools": [pool]}, "--tagged")
    pid = bus.receive()[2]["params"]["pid"]
    bus.process.kill()
    assert gone(pid, 2)


LINGERING = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("worker", os.getpid(), "has begun", file=sys.stderr, flush=True)
sys.stdin.read()
print("worker is to end", file=sys.stderr, flush=True)
signal.sigwait([signal.SIGUSR1])
print("worker has ended", file=sys.stderr, flush=True)
"""


def test_hangup_does_not_hasten_a_stop_but_another_signal_does(program, gone):
    """A terminal that closes sends two: one comes from its shell."""
    for second in signal.SIGHUP, signal.SIGTERM:
        with signals(signal.SIG_DFL, {signal.SIGHUP}):
            bus = program(python(LINGERING), "--log-level", "debug")
        begun = next(line for line in bus.process.stderr if b"has begun" in line)
        pid = int(begun.split(b"worker ")[-1].split()[0])
        bus.process.send_signal(signal.SIGHUP)
        next(line for line in bus.process.stderr if b"is to end" in line)
        bus.process.send_signal(second)
        if second == signal.SIGHUP:
            os.kill(pid, signal.SIGUSR1)
        assert bus.process.wait(10) == 0
        assert (b"worker has ended" in bus.process.stderr.read()) == (second == signal.SIGHUP)
        assert gone(pid, 0)


def test_hangup_that_was_ignored_stays_so(program):
    with signals(signal.SIG_IGN, {signal.SIGHUP}):
        bus = program(echo(), "--tagged")
    assert bus.receive()[2]["params"]["kind"] == "started"
    bus.process.send_signal(signal.SIGHUP)
    bus.send(0, request(1, 1))
    assert bus.receive()[2]["id"] == 1
    assert bus.end() == 0


ASKING = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "ask":
        number = message["id"]
        print(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "question"}), flush=True)
    elif "result" in message:
        answer = {"jsonrpc": "2.0", "id": number, "result": message["result"]}
        print(json.dumps(answer), flush=True)
"""


def python(code: str, **fields: Any) -> dict:
    return {"pools": [{"id": "p", "protocol": "jsonrpc", "command": PYTHON, "args": ["-c", code], **fields}]}


def test_question_of_a_worker_is_answered_while_the_program_stops(program):
    bus = program(python(ASKING), "--tagged")
    bus.send(0, {"jsonrpc": "2.0", "id": 1, "method": "ask"})
    question = next(m for _, _, m in iter(bus.receive, None) if m.get("method") == "question")
    bus.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    bus.send(0, request(2, 2))
    refused = next(m for _, _, m in iter(bus.receive, None) if m.get("id") == 2)
    assert refused["error"]["code"] == -32085
    bus.send(0, {"jsonrpc": "2.0", "id": question["id"], "result": "yes"})
    answer = next(m for _, _, m in iter(bus.receive, None) if m.get("id") == 1)
    assert answer["result"] == "yes"
    assert bus.end() == 0


def test_end_of_stdin_while_the_program_stops_changes_nothing(program):
    bus = program({**python(ASKING), "limits": {"drain_timeout_sec": 2}}, "--tagged")
    bus.send(0, {"jsonrpc": "2.0", "id": 1, "method": "ask"})
    next(m for _, _, m in iter(bus.receive, None) if m.get("method") == "question")
    started, used = time.monotonic(), sum(os.times()[2:4])
    bus.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert bus.end() == 0
    assert time.monotonic() - started < 4
    assert sum(os.times()[2:4]) - used < 0.5  # it has waited, not spun


CANCELLED = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "n"}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
    elif message["method"] in ("tools/call", "notifications/cancelled"):
        print("at", message["method"], file=sys.stderr, flush=True)
print("at the end", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("pipes", [["stdin", "stdout"], ["stdout"]])
@pytest.mark.parametrize("options", [[], ["--tagged"]])
def test_host_that_has_gone_has_its_requests_cancelled(program, pipes, options):
    bus = program(python(CANCELLED, protocol="mcp"), *options, "--log-level", "debug")
    tags = [b""]
    if options:  # the host's further clients go with it
        bus.send(0, {"jsonrpc": "2.0", "id": 1, "method": "stdio_bus/open", "params": {"pool": "p"}})
        opened = next(m for _, _, m in iter(bus.receive, None) if m.get("id") == 1)
        tags = [b"0 ", b"%d " % opened["result"]["client"]]
    call = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "t"}}).encode()
    bus.process.stdin.write(b"".join(tag + call + b"\n" for tag in tags))
    bus.process.stdin.flush()
    for _ in tags:
        next(line for line in bus.process.stderr if b"at tools/call" in line)
    started = time.monotonic()
    for pipe in pipes:
        getattr(bus.process, pipe).close()
    assert bus.process.wait(10) == 0
    assert time.monotonic() - started < 2
    said = bus.process.stderr.read()
    assert (said.count(b"at notifications/cancelled"), said.count(b"at the end")) == (len(tags), 1)


@pytest.fixture
def terminal():
    """The two ends of a terminal, the one of its window first."""
    window, end = os.openpty()
    tty.setraw(end)
    with os.fdopen(window, "rb", buffering=0) as reader, os.fdopen(end, "wb", buffering=0) as writer:
        yield reader, writer


def test_host_that_has_gone_from_its_terminal_has_its_requests_cancelled(program, terminal):
    window, end = terminal
    bus = program(python(CANCELLED, protocol="mcp"), "--log-level", "debug", stdout=end)
    end.close()
    bus.send_text(b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t"}}\n')
    next(line for line in bus.process.stderr if b"at tools/call" in line)
    started = time.monotonic()
    window.close()
    assert bus.process.wait(10) == 0
    assert time.monotonic() - started < 2
    said = bus.process.stderr.read()
    assert (said.count(b"at notifications/cancelled"), said.count(b"at the end")) == (1, 1)


@pytest.mark.parametrize("kind", [os.pipe, socket.socketpair])
def test_stdout_stays_blocking_for_those_who_share_it(program, kind):
    reader, writer = (end if isinstance(end, int) else end.detach() for end in kind())
    with os.fdopen(reader, "rb") as lines, os.fdopen(writer, "wb") as shared:
        bus = program(echo(), stdout=shared)
        bus.send_text(json.dumps(request(1, 1)).encode() + b"\n")
        assert json.loads(lines.readline())["id"] == 1
        if kind is os.pipe and sys.platform == "linux":
            assert os.get_blocking(writer)
        assert bus.end() == 0
        assert os.get_blocking(writer)


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_closed_descriptor_is_as_one_that_has_ended(root, tmp_path, closed):
    config = tmp_path / "bus.json"
    config.write_text(json.dumps(echo()))
    command = [root / "kernel" / "dist" / "stdio_bus", "--config", config]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(shell, **pipes, bufsize=0) as process:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request(1, 1)).encode() + b"\n")
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
        assert process.stdout.read() == b""


FLOOD = """
import sys
sys.stdin.readline()
line = '{"jsonrpc":"2.0","method":"n","params":"' + "y" * 60000 + '"}\\n'
while True:
    sys.stdout.write(line)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_is_bounded_while_the_program_stops_and_nobody_reads(program):
    bus = program({**python(FLOOD), "limits": {"drain_timeout_sec": 2}})
    bus.process.stdin.write(json.dumps(request(1, 1)).encode() + b"\n")
    bus.process.stdin.flush()
    time.sleep(1)
    bus.process.send_signal(signal.SIGTERM)
    time.sleep(4)  # the stop is over; the last messages are still to be read
    status = Path("/proc", str(bus.process.pid), "status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 96 << 10, f"{peak >> 10} MiB"
    read = bus.process.stdout.read()
    assert bus.process.wait(10) == 0
    assert b'"id":1,"error":{"code":-32085' in read.splitlines()[-1]


def test_reader_that_is_slow_gets_every_answer_after_the_end_of_stdin(program):
    """More than the program keeps for it: the rest waits in the worker."""
    script = [str(WORKERS / "misbehaving_worker.py"), "giant"]
    bus = program({"pools": [{"id": "giant", "protocol": "jsonrpc", "command": PYTHON, "args": script}]})
    lines = [json.dumps(request(n, n)).encode() + b"\n" for n in range(40)]
    bus.process.stdin.write(b"".join(lines))
    bus.process.stdin.close()
    time.sleep(2)
    assert [json.loads(line)["id"] for line in bus.process.stdout if b"result" in line] == list(range(40))
    assert bus.process.wait(10) == 0


# One that a first signal does not end, and one that it does: then only the output is left to wait for.
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
TALKATIVE = """
import json, os, sys, time
sys.stdin.readline()
for _ in range(50):
    print(json.dumps({"jsonrpc": "2.0", "method": "n", "params": [os.getpid(), "y" * 100_000]}))
sys.stdout.flush()
"""


@pytest.mark.parametrize("worker", [STUBBORN + TALKATIVE + "time.sleep(60)", TALKATIVE + "sys.stdin.read()"])
def test_second_signal_ends_the_program_at_once_though_nobody_reads(program, gone, worker):
    bus = program(python(worker))
    bus.process.stdin.write(json.dumps(request(1, 1)).encode() + b"\n")
    bus.process.stdin.flush()
    pid = json.loads(bus.process.stdout.readline())["params"][0]
    time.sleep(0.5)
    bus.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert bus.process.poll() is None
    bus.process.send_signal(signal.SIGTERM)
    assert bus.process.wait(2) == 0
    assert gone(pid, 0)


def test_second_signal_ends_the_program_at_once_though_its_terminal_stands_still(program, terminal):
    """As after Ctrl-S: the terminal takes some of it and no more."""
    window, end = terminal
    bus = program(python(TALKATIVE + "sys.stdin.read()"), stdout=end)
    bus.send_text(json.dumps(request(1, 1)).encode() + b"\n")
    assert select.select([window], [], [], 10)[0]
    bus.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        bus.process.wait(0.5)
    bus.process.send_signal(signal.SIGINT)
    assert bus.process.wait(2) == 0


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits the memory of another process")
def test_program_without_memory_for_messages_ends_in_order_with_1(program, gone):
    """It keeps 8 MiB for a reader who is busy, and has not that much."""
    talk = "try:" + textwrap.indent(TALKATIVE * 2, "    ") + "except BrokenPipeError:\n    pass\n"
    bus = program({**python(STUBBORN + talk + "time.sleep(60)"), "limits": {"drain_timeout_sec": 1}})
    bus.send_text(json.dumps(request(1, 1)).encode() + b"\n")
    pid = json.loads(bus.process.stdout.readline())["params"][0]
    status = Path("/proc", str(bus.process.pid), "status").read_text()
    used = next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize"))
    resource.prlimit(bus.process.pid, resource.RLIMIT_AS, (used + (3 << 20),) * 2)
    bus.send_text(json.dumps(request(2, 2)).encode() + b"\n")
    assert bus.process.wait(10) == 1
    assert b"no memory" in bus.process.stderr.read()  # in the program or in the bus within it
    assert gone(pid, 0)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"0 {nonsense}\n", -32700),
        (b"0 [1]\n", -32600),
        (b'0 {"jsonrpc":"2.0","id":7,"method":"a","pool":"absent"}\n', -32081),
    ],
)
def test_wrong_line_is_answered_with_an_error_and_the_next_is_served(program, line, code):
    bus = program(echo(), "--tagged")
    bus.process.stdin.write(line)
    bus.send(0, request(1, 1))
    answers = [m for _, _, m in (bus.receive() for _ in range(3)) if "method" not in m]
    assert [answer["error"]["code"] for answer in answers if "error" in answer] == [code]
    assert [answer["id"] for answer in answers if "result" in answer] == [1]
    assert bus.end() == 0
