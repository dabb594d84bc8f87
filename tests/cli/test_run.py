"""`stdiobus run`: the program of the kernel with a converted configuration, by pipes, sockets and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket

import pytest

from stdiobus.cli import run as run_module
from stdiobus.cli.status import Status
from stdiobus.errors import UnavailableError

PATIENCE = 30


def say(process, message) -> None:
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


@pytest.mark.parametrize("end", ["end of stdin", "SIGTERM", "SIGINT"])
def test_host_speaks_lines_until_it_ends(start, config, worker, end):
    bus = start("run", config(worker("echo_worker.py"), worker("echo_worker.py", id="b")))
    say(bus, {"jsonrpc": "2.0", "id": "x", "method": "m", "pool": "b"})
    answer = json.loads(bus.stdout.readline())
    assert (answer["id"], answer["pool"], answer["result"]["method"]) == ("x", "b", "m")
    if end == "end of stdin":
        bus.stdin.close()
    else:
        bus.send_signal(getattr(signal, end))
    assert bus.wait(PATIENCE) == 0
    assert bus.stdout.read() == "", "messages only"


def test_hosts_file_becomes_pools_with_its_variables(start, tmp_path, worker):
    pool = worker("mcp_strict_worker.py", "--on-violation", "exit")
    server = {"command": "${PYTHON_OF_TEST}", "args": pool["args"]}
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"s": server}}))
    bus = start(
        "run", str(path), "--log-level", "error", env={**os.environ, "PYTHON_OF_TEST": pool["command"]}
    )
    for number, (method, params) in enumerate((("initialize", {"protocolVersion": "x"}), ("tools/list", {}))):
        say(bus, {"jsonrpc": "2.0", "id": number, "method": method, "params": params, "pool": "s"})
        answer = json.loads(bus.stdout.readline())
        assert set(answer) == {"jsonrpc", "id", "result"}
    assert [tool["name"] for tool in answer["result"]["tools"]][:1] == ["echo"]


def test_listener_beside_the_configuration(serve, config, worker, tmp_path):
    bus = serve(config(worker("echo_worker.py")))
    path = tmp_path / "bus.sock"
    with socket.socket(socket.AF_UNIX) as client, client.makefile() as lines:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"m"}\n')
        assert json.loads(lines.readline())["result"]["method"] == "m"
    bus.send_signal(signal.SIGTERM)
    assert bus.wait(PATIENCE) == 0
    assert not path.exists()


def test_tcp_with_a_token_from_a_file(start, config, worker, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    path = config(worker("echo_worker.py"))
    bus = start("run", path, "--tcp", "127.0.0.1:0", "--token-file", str(tmp_path / "token"))
    port = next(found[1] for line in bus.stderr if (found := re.search(r"listening on port (\d+)", line)))
    for token, welcome in (("wrong", False), ("secret", True)):
        address = ("127.0.0.1", int(port))
        with socket.create_connection(address, PATIENCE) as client, client.makefile() as lines:
            hello = {"jsonrpc": "2.0", "id": 1, "method": "stdio_bus/hello", "params": {"token": token}}
            client.sendall(json.dumps(hello).encode() + b"\n")
            assert ("result" in json.loads(lines.readline())) is welcome


def test_check(process, config, worker):
    done = process("run", config(worker("echo_worker.py"), token="t"), "--check")
    assert (done.status, "the configuration is good" in done.out) == (0, True)


def test_nothing_can_start(process, config):
    done = process("run", config({"id": "a", "command": "/no/such/program"}))
    assert done.status == Status.UNAVAILABLE
    assert "/no/such/program" in done.err


def test_wrong_configuration_and_usage(command, config):
    done = command("run", config({"id": "a", "command": "c", "instances": 0}))
    assert (done.status, "pools[0].instances: must be 1..1024" in done.err) == (Status.CONFIG, True)
    path = config({"id": "a", "command": "c"})
    done = command("run", path, "--listen", "--tcp", "x:1")
    assert (done.status, "at most one of" in done.err) == (Status.USAGE, True)
    done = command("run", path, "--protocol", "mcp-stateless")
    assert (done.status, "--protocol is for mcpServers files" in done.err) == (Status.USAGE, True)


# ---- in this process, which does not become another: what would have been executed


@pytest.fixture
def executed(monkeypatch):
    seen = []

    def execv(path, arguments):
        descriptor = int(arguments[arguments.index("--config-fd") + 1])
        assert os.get_inheritable(descriptor)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
        seen.append((path, arguments, json.loads(os.read(descriptor, 10**6))))
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(run_module.os, "execv", execv)
    return seen


def test_options_and_secrets_on_their_ways(command, config, executed):
    path = config({"id": "a", "command": "c", "env": {"K": "secret"}}, token="t")
    done = command("run", path, "--unix", "/s", "--token-file", "/t", "--log-level", "debug", "--check")
    [(program, arguments, document)] = executed
    assert arguments[0] == program
    assert arguments[1:-2] == ["--log-level", "debug", "--unix", "/s", "--token-file", "/t", "--check"]
    assert (document["token"], document["pools"][0]["env"]) == ("t", {"K": "secret"})
    assert done.status == Status.UNAVAILABLE
    assert f"{program} cannot be executed: No such file or directory" in done.err


def test_listen_and_instances_of_a_hosts_file(command, tmp_path, executed):
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"s": {"command": "c", "args": ["${workspaceFolder}"]}}}')
    command("run", str(path), "--listen", "--instances", "3", "--workspace", str(tmp_path))
    [(_, arguments, document)] = executed
    assert arguments[3:5] == ["--unix", str(tmp_path / "mcp.sock")]
    assert (document["pools"][0]["instances"], document["pools"][0]["args"]) == (3, [str(tmp_path)])


def test_no_program(command, config, monkeypatch):
    def none(_):
        raise UnavailableError("no stdio_bus program was found")

    monkeypatch.setattr(run_module, "resolve_binary", none)
    done = command("run", config({"id": "a", "command": "c"}))
    assert (done.status, "no stdio_bus program was found" in done.err) == (Status.UNAVAILABLE, True)
