"""CONFIG of either kind, and what is said about a wrong one."""

from __future__ import annotations

import json

import click
import pytest

from stdiobus import InvalidArgumentError
from stdiobus.cli import configuration
from stdiobus.cli.configuration import ConfigFile


@pytest.fixture
def read(tmp_path):
    def write(text, name="c.json"):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else json.dumps(text))
        return ConfigFile(str(path))

    return write


def test_own_configuration(read):
    file = read({"pools": [{"id": "a", "command": "cat", "protocol": "acp"}], "token": "t"})
    assert file.own
    assert file.bus_config().pools[0].command == "cat"
    assert file.token == "t"
    assert (file.protocol("a"), file.protocol("b")) == ("acp", "jsonrpc")
    assert file.socket_path == file.path[: -len(".json")] + ".sock"


@pytest.mark.parametrize("root", ["mcpServers", "servers", None])
def test_servers_file_with_comments(read, root):
    servers = '{"pools": {"command": "cat", "args": ["${HOME}"]}, /* a name like any other */ }'
    file = read(f'{{"{root}": {servers}}}' if root else servers)
    assert not file.own
    assert file.token is None
    assert file.protocol("pools") == "mcp"
    [pool] = file.bus_config(instances=3, protocol="mcp-stateless").pools
    assert (pool.id, pool.instances, pool.protocol) == ("pools", 3, "mcp-stateless")
    assert file.bus_config(only="pools").pools[0].id == "pools"


def test_only_one_pool(read):
    pools = [{"id": "a", "command": "cat"}, {"id": "b", "command": "cat"}]
    file = read({"pools": pools, "limits": {"max_restarts": 1}, "token": "t"})
    config = file.bus_config(only="b")
    assert [pool.id for pool in config.pools] == ["b"]
    assert config.limits.max_restarts == 1


def test_only_one_server_asks_for_no_variable_of_another(read, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    file = read({"mcpServers": {"a": {"command": "cat"}, "b": {"command": "${NOT_SET}"}}})
    assert file.bus_config(only="a").pools[0].id == "a"
    with pytest.raises(InvalidArgumentError, match=r"c\.json: mcpServers\.b\.command: .*NOT_SET"):
        file.bus_config()


@pytest.mark.parametrize("document", [{"pools": [{"id": "a", "command": "c"}]}, {"a": {"command": "c"}}])
def test_unknown_pool_is_wrong_usage_and_names_those_there_are(read, document):
    with pytest.raises(click.UsageError, match=r"c\.json has no pool 'z'; it has: a"):
        read(document).bus_config(only="z")


def test_options_of_the_other_kind_are_wrong_usage(read):
    file = read({"pools": [{"id": "a", "command": "cat"}]})
    with pytest.raises(click.UsageError, match=r"--instances is for mcpServers files, and .* is none"):
        file.bus_config(instances=2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "c.json: line 1, column 2"),
        ('{"pools": [{"id": "a"}]}', "c.json: pools[0].command: is required"),
        ('{"pools": 1}', "c.json: pools: "),
        ("[]", "c.json: config: must be an object"),
        ('{"x": 1}', "c.json: config: no servers"),
    ],
)
def test_wrong_contents_name_file_and_field(read, text, problem):
    with pytest.raises(InvalidArgumentError) as caught:
        read(text).bus_config()
    assert problem in str(caught.value)


@pytest.mark.parametrize("terminal", [True, False])
def test_inputs_are_asked_for_on_a_terminal(read, monkeypatch, terminal):
    inputs = [{"id": "key", "description": "The key", "password": True}]
    file = read({"servers": {"a": {"command": "c", "env": {"K": "${input:key}"}}}, "inputs": inputs})
    asked = []

    def prompt(text, **options):
        asked.append((text, options["hide_input"]))
        return "secret"

    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(getattr(configuration.sys, stream), "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(click, "prompt", prompt)
    if terminal:
        assert file.bus_config().pools[0].env == {"K": "secret"}
        assert asked == [("The key", True)]
    else:
        with pytest.raises(InvalidArgumentError, match="input:key"):
            file.bus_config()
