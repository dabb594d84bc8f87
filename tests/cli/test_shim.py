"""`stdiobus shim`: to a host a server like any other, behind which hosts share workers."""

from __future__ import annotations

import json
import time

import pytest

from stdiobus.cli import shim as shim_module
from stdiobus.cli.status import Status

PATIENCE = 30


class Host:
    """A host that speaks to its server by pipes, and takes nothing that a strict one would not."""

    def __init__(self, process) -> None:
        self.process = process
        self.number = 0

    def send(self, **message) -> None:
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict:
        line = self.process.stdout.readline()
        assert line.endswith("\n"), self.process.stderr.read()
        message = json.loads(line)
        known = {"id", "method", "params"} if "method" in message else {"id", "result", "error"}
        assert set(message) <= known | {"jsonrpc"}
        return message

    def call(self, method: str, params: object = None) -> dict:
        self.number += 1
        self.send(id=self.number, method=method, params=params or {})
        answer = self.receive()
        assert answer["id"] == self.number
        return answer["result"]

    def tool(self, name: str, **arguments: object) -> dict:
        return self.call("tools/call", {"name": name, "arguments": arguments})

    def initialize(self) -> dict:
        result = self.call("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}})
        self.send(method="notifications/initialized")
        return result


@pytest.fixture
def host(start):
    def make(path: str, *options: str) -> Host:
        return Host(start("shim", path, "a", *options))

    return make


def test_two_hosts_share_one_strict_server(serve, host, config, worker):
    path = config({"id": "first", "command": "cat"}, worker("mcp_strict_worker.py", protocol="mcp"))
    serve(path)
    hosts = [host(path), host(path)]
    assert [each.initialize()["serverInfo"]["name"] for each in hosts] == ["strict"] * 2
    assert [each.tool("add", a=2, b=n)["content"][0]["text"] for n, each in enumerate(hosts)] == ["2", "3"]
    seen = [each.tool("seen")["structuredContent"] for each in hosts]
    assert seen[0]["pid"] == seen[1]["pid"]
    assert seen[1]["violations"] == []


def test_question_of_the_server_goes_to_its_host_and_back(serve, host, config, worker):
    path = config(worker("mcp_strict_worker.py", protocol="mcp"))
    serve(path)
    asked = host(path)
    asked.initialize()
    asked.send(id="call", method="tools/call", params={"name": "ask"})
    question = asked.receive()
    assert question["method"] == "roots/list"
    asked.send(id=question["id"], result={"roots": []})
    assert asked.receive()["result"]["result"] == {"roots": []}


def test_host_stays_on_its_worker_and_hears_what_it_says_unasked(serve, host, config, worker):
    path = config(worker("echo_worker.py", instances=2))
    serve(path)
    shared = host(path)
    assert len({shared.call("m")["pid"] for _ in range(4)}) == 1
    shared.send(method="news")  # which the worker repeats to whoever is there
    assert shared.receive()["params"]["method"] == "news"


def test_end_of_the_host_ends_it_and_what_was_under_way(serve, host, config, worker):
    path = config(worker("mcp_strict_worker.py", protocol="mcp"))
    serve(path)
    leaving, staying = host(path), host(path)
    leaving.send(id=1, method="tools/call", params={"name": "hold", "_meta": {"progressToken": 1}})
    assert leaving.receive()["method"] == "notifications/progress"
    leaving.process.stdin.close()
    assert leaving.process.wait(PATIENCE) == 0
    deadline = time.monotonic() + PATIENCE
    while not staying.tool("seen")["structuredContent"]["cancelled"]:
        assert time.monotonic() < deadline


def test_end_of_the_bus_ends_it_with_the_reason(serve, host, config, worker):
    path = config(worker("echo_worker.py"))
    bus = serve(path)
    left = host(path)
    left.call("m")
    bus.kill()
    assert left.process.wait(PATIENCE) == Status.UNAVAILABLE
    assert f"has ended; start it again: stdiobus run {path} --listen" in left.process.stderr.read()


def test_token_and_another_socket(start, host, config, worker, tmp_path, serve):
    path = config(worker("echo_worker.py"), token="secret")
    serve(path)
    (tmp_path / "token").write_text("secret")
    other = host(path, "--unix", str(tmp_path / "bus.sock"), "--token-file", str(tmp_path / "token"))
    assert other.call("m")["method"] == "m"


def test_no_bus_and_no_such_pool(command, serve, config, worker):
    path = config(worker("echo_worker.py"))
    done = command("shim", path, "a")
    assert done.status == Status.UNAVAILABLE
    assert f"; start one: stdiobus run {path} --listen" in done.err
    serve(path)
    done = command("shim", path, "z")
    assert done.status == Status.USAGE
    assert "has no pool 'z'; it has: a" in done.err


@pytest.mark.parametrize(
    ("protocol", "fields"),
    [
        ("stdiobus", {"pool": 'a"é'}),
        ("acp", {"pool": 'a"é'}),
        ("jsonrpc", {"pool": 'a"é', "sessionId": "shim"}),
        ("mcp", {"pool": 'a"é', "sessionId": "shim"}),
    ],
)
def test_routing_fields_by_protocol(protocol, fields):
    assert json.loads(b"{" + shim_module.routing_fields('a"é', protocol)[:-1] + b"}") == fields


@pytest.mark.parametrize("left", [True, False])
def test_status_says_who_has_ended(command, serve, config, worker, monkeypatch, left):
    path = config(worker("echo_worker.py"))
    serve(path)
    seen = []
    monkeypatch.setattr(shim_module, "pump", lambda *arguments: bool(seen.append(arguments)) or left)
    assert command("shim", path, "a").status == (0 if left else Status.UNAVAILABLE)
    [(source, sink, _, fields, first)] = seen
    assert (source, sink, fields, first) == (0, 1, b'"pool":"a","sessionId":"shim",', b"")
