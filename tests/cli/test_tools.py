"""`stdiobus tools`: every page of a server's list, as JSON or as a table."""

from __future__ import annotations

import sys

import pytest

from stdiobus.cli.status import Status

# Two pages; what a strict server would not take is an error.
PAGES = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "", "version": ""}}
    if message["method"] == "tools/list":
        second = (message.get("params") or {}).get("cursor") == "2"
        result = {"tools": [{"name": "two", "description": "[bold]not markup"}]} if second else {
            "tools": [{"name": "one"}], "nextCursor": "2"}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.fixture
def paged(config):
    return config({"id": "a", "command": sys.executable, "args": ["-c", PAGES], "protocol": "mcp"})


def test_all_pages_are_json_in_a_pipe(process, paged):
    done = process("tools", paged, "a")
    assert [tool["name"] for tool in done.json] == ["one", "two"], done.err


def test_table_on_a_terminal(command, paged, terminal):
    done = command("tools", paged, "a")
    assert [line.split() for line in done.out.splitlines()[3:5]] == [["one"], ["two", "[bold]not", "markup"]]
    assert command("tools", paged, "a", "--json").json[0] == {"name": "one"}


def test_pool_that_has_no_tools(command, config, worker):
    done = command("tools", config(worker("echo_worker.py")), "a")
    assert done.status == Status.USAGE
    assert "pool 'a' speaks jsonrpc, and only MCP has tools; use call" in done.err
