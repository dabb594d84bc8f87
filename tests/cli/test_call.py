"""`stdiobus call`: one result on stdout, or a reason on stderr and a status."""

from __future__ import annotations

import json

import pytest

from stdiobus.cli.status import Status


def test_result_is_json_on_stdout(process, config, worker):
    done = process("call", config(worker("echo_worker.py")), "a", "m", '{"x": "\u2028é"}')
    assert done.status == 0, done.err
    assert done.json["method"] == "m"
    assert done.json["params"] == {"x": "\u2028é"}
    assert done.err == ""


def test_params_from_stdin(process, config, worker):
    done = process("call", config(worker("echo_worker.py")), "a", "m", "-", input="[1, 2]")
    assert done.json["params"] == [1, 2]


def test_no_other_pool_is_started(command, config, worker):
    broken = {"id": "broken", "command": "/no/such/program"}
    done = command("call", config(broken, worker("echo_worker.py")), "a", "m")
    assert done.json["params"] is None


def test_server_of_a_hosts_file(command, tmp_path, worker):
    pool = worker("mcp_strict_worker.py", "--on-violation", "exit")
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"s": {"command": pool["command"], "args": pool["args"]}}}))
    done = command("call", str(path), "s", "tools/call", '{"name": "add", "arguments": {"a": 2, "b": 3}}')
    assert done.json["content"] == [{"type": "text", "text": "5"}]


@pytest.mark.parametrize("params", ["", '{"_meta": {"own": 1}}'])
def test_stateless_server_is_told_the_version_with_each_request(command, config, worker, params):
    path = config(worker("echo_worker.py", protocol="mcp-stateless"))
    meta = command("call", path, "a", "m", *([params] if params else [])).json["params"]["_meta"]
    assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {}
    assert meta.get("own") == (1 if params else None)


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("a", "no/such"), Status.FAILED, "no/such (pool 'a'): no method no/such [-32601]"),
        (("a", "m", "{"), Status.USAGE, "not JSON"),
        (("a", "m", "1"), Status.USAGE, "an object or an array"),
        (("z", "m"), Status.USAGE, "has no pool 'z'; it has: a"),
        (("a", "m", "--timeout", "0"), Status.USAGE, "--timeout"),
        (
            ("a", "tools/call", '{"name": "hold"}', "--timeout", "0.1"),
            Status.NO_ANSWER,
            "tools/call: no answer from pool 'a' within 100 ms",
        ),
    ],
)
def test_what_goes_wrong_has_a_status_and_a_reason(command, config, worker, arguments, status, reason):
    done = command("call", config(worker("mcp_strict_worker.py", protocol="mcp")), *arguments)
    assert done.status == status
    assert reason in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        (["exit", "7"], Status.UNAVAILABLE, "cannot find my licence file"),
        (["crash"], Status.NO_ANSWER, "exited with status 9"),
    ],
)
def test_worker_that_dies(command, config, worker, mode, status, reason):
    # One that dies at once does so in its handshake.
    protocol = "mcp" if mode[0] == "exit" else "jsonrpc"
    path = config(worker("misbehaving_worker.py", *mode, protocol=protocol), limits={"max_restarts": 0})
    done = command("call", path, "a", "m")
    assert done.status == status, done
    assert reason in done.err


def test_command_that_is_not_there(command, config):
    done = command("call", config({"id": "a", "command": "/no/such/program"}), "a", "m")
    assert done.status == Status.UNAVAILABLE
    assert "/no/such/program" in done.err


def test_configuration_that_is_not_there_or_wrong(command, config, tmp_path):
    done = command("call", str(tmp_path / "none.json"), "a", "m")
    assert (done.status, "does not exist" in done.err) == (Status.USAGE, True)
    done = command("call", config({"id": "a"}), "a", "m")
    assert (done.status, "pools[0].command: is required" in done.err) == (Status.CONFIG, True)
