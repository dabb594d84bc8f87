"""`mcpServers` files: every root, field and variable, and errors that name their place."""

from __future__ import annotations

import json
import logging
import os

import pytest

from stdiobus import BusConfig, InvalidArgumentError, PoolConfig


def read(document, **arguments):
    return BusConfig.from_mcp_config(document, **arguments).pools


def one(entry, **arguments):
    [pool] = read({"mcpServers": {"files": entry}}, **arguments)
    return pool


def refused(document, **arguments):
    with pytest.raises(InvalidArgumentError) as caught:
        read(document, **arguments)
    assert caught.value.details["field"] in str(caught.value)
    return str(caught.value)


def refused_entry(entry, **arguments):
    return refused({"mcpServers": {"files": entry}}, **arguments)


# ---- Roots


@pytest.mark.parametrize("root", ["mcpServers", "servers", "context_servers", None])
def test_every_root_gives_the_same_pools(root):
    servers = {"files": {"command": "npx", "args": ["-y", "s"]}, "time": {"command": "uvx"}}
    assert read({root: servers} if root else servers) == [
        PoolConfig("files", "npx", ["-y", "s"], protocol="mcp"),
        PoolConfig("time", "uvx", protocol="mcp"),
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "config: must be an object"),
        ({}, "config: no servers: must have one of mcpServers, servers, context_servers, or be a map"),
        ({"theme": {"name": "dark"}}, "config: no servers"),
        ({"mcpServers": []}, "mcpServers: must be an object"),
        ({"mcpServers": {}}, "mcpServers: no server in it that can be started here"),
        ({"servers": {"a": "npx"}}, "servers.a: must be an object"),
        ({"a": {"command": "x"}, "b": 1}, "b: must be an object"),
    ],
)
def test_document_without_servers_is_refused(tmp_path, document, message):
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps(document))
    assert refused(path).startswith(f"{path}: {message}")
    if isinstance(document, dict):
        assert refused(document).startswith(message)


# ---- Fields


def test_fields_become_those_of_the_pool_and_the_rest_is_kept_aside():
    pool = one(
        {
            "type": "stdio",
            "command": "server",
            "args": ["--root", "/data"],
            "env": {"KEY": "value", "GONE": None},
            "cwd": "/data",
            "disabled": False,
            "enabled": True,
            "timeout": 90,
            "startup_timeout_sec": 120,
            "autoApprove": ["read_file"],
            "gallery": {"id": "${NOT_READ}"},
        },
        protocol="mcp-stateless",
        instances=3,
    )
    assert pool == PoolConfig(
        "files",
        "server",
        ["--root", "/data"],
        3,
        {"KEY": "value", "GONE": None},
        cwd="/data",
        protocol="mcp-stateless",
        startup_timeout_sec=120,
        timeout_ms=90_000,
        metadata={"autoApprove": ["read_file"], "gallery": {"id": "${NOT_READ}"}},
    )
    assert not {"timeout_ms", "metadata"} & BusConfig([pool]).to_dict()["pools"][0].keys()


def test_command_as_an_object_is_read_like_the_plain_one():
    pool = one({"command": {"path": "/bin/s", "args": ["a"], "env": {"A": "1"}}, "settings": {}})
    assert pool == PoolConfig(
        "files", "/bin/s", ["a"], 1, {"A": "1"}, protocol="mcp", metadata={"settings": {}}
    )


@pytest.mark.parametrize(
    ("timeout", "milliseconds"), [(0.5, 500), (60, 60_000), (3600, 3_600_000), (30_000, 30_000)]
)
def test_timeout_is_seconds_up_to_an_hour_and_milliseconds_above(timeout, milliseconds):
    assert one({"command": "s", "timeout": timeout}).timeout_ms == milliseconds


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "mcpServers.files.command: is required"),
        ({"command": ""}, "mcpServers.files.command: must not be empty"),
        ({"command": {"args": []}}, "mcpServers.files.command: is required"),
        ({"command": "s", "args": "x"}, "mcpServers.files.args: must be an array of strings"),
        ({"command": "s", "env": {"PORT": 1}}, "mcpServers.files.env.PORT: must be a string or null"),
        ({"command": "s", "cwd": 1}, "mcpServers.files.cwd: must be a string"),
        ({"command": "s", "startup_timeout_sec": 0}, "mcpServers.files.startup_timeout_sec: must be 1..3600"),
        ({"command": "s", "timeout": "1"}, "mcpServers.files.timeout: must be a number above 0"),
        ({"command": "s", "timeout": 0}, "mcpServers.files.timeout: must be a number above 0"),
        ({"command": "s", "disabled": "no"}, "mcpServers.files.disabled: must be true or false"),
        ({"command": "s", "enabled": 1}, "mcpServers.files.enabled: must be true or false"),
        ({"command": "s", "type": "docker"}, "mcpServers.files.type: must be stdio"),
        ({"command": "s", "transport": "tcp"}, "mcpServers.files.transport: must be stdio"),
        ({"command": "s", "envFile": 1}, "mcpServers.files.envFile: must be a string"),
    ],
)
def test_wrong_field_is_refused_by_its_name_in_the_file(entry, message):
    assert refused_entry(entry).startswith(message)


@pytest.mark.parametrize(
    "entry", [{}, {"type": "stdio"}, {"transport": "stdio"}, {"type": None, "transport": "stdio"}]
)
def test_local_program_is_so_by_type_by_transport_or_by_neither(entry):
    assert one({"command": "s", **entry}) == PoolConfig("files", "s", protocol="mcp")


def test_disabled_servers_are_left_out_unread():
    pools = read(
        {
            "mcpServers": {
                "a": {"command": "a"},
                "b": {"command": "${UNSET_B}", "disabled": True},
                "c": {"command": "${UNSET_C}", "enabled": False},
            }
        }
    )
    assert [pool.id for pool in pools] == ["a"]


@pytest.mark.parametrize(
    "entry",
    [
        {"url": "https://example.com/mcp"},
        {"serverUrl": "https://example.com/sse", "command": "x"},
        {"type": "streamable-http"},
        {"transport": "sse"},
        {"source": "extension", "settings": {}},
    ],
)
def test_what_is_no_local_program_is_skipped_with_a_warning(entry, caplog):
    with caplog.at_level(logging.WARNING, "stdiobus"):
        pools = read({"servers": {"far": entry, "near": {"command": "n"}}})
    assert [pool.id for pool in pools] == ["near"]
    [record] = caplog.records
    assert record.getMessage().startswith("servers.far is skipped: ")


# ---- envFile


def test_env_file_gives_variables_and_env_wins_over_them(tmp_path):
    (tmp_path / "local.env").write_bytes(
        b"\xef\xbb\xbf# comment\r\n"
        b"PLAIN=value # comment\r\n"
        b"export  EXPORTED = spaced out \n"
        b"\n"
        b"SINGLE='as $it \\n is' # comment\n"
        b'DOUBLE="tab\\tquote\\" # no comment"\n'
        b'KEY="line 1\nline 2"\n'
        b"HASH=a#b\n"
        b"EMPTY=\n"
        b"BLANK= # comment\n"
        b"URL=http://host/?a=b\n"
        b"OVER=file\n"
        b"GONE=file"
    )
    entry = {"command": "s", "envFile": "local.env", "env": {"OVER": "env", "GONE": None}}
    assert one(entry, workspace_folder=tmp_path).env == {
        "PLAIN": "value",
        "EXPORTED": "spaced out",
        "SINGLE": "as $it \\n is",
        "DOUBLE": 'tab\tquote" # no comment',
        "KEY": "line 1\nline 2",
        "HASH": "a#b",
        "EMPTY": "",
        "BLANK": "",
        "URL": "http://host/?a=b",
        "OVER": "env",
        "GONE": None,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"A=1\nnonsense\n", "line 2: expected KEY=VALUE"),
        (b"A='1\n", "line 1: expected KEY=VALUE"),
        (b'A="1" 2\n', "line 1: expected KEY=VALUE"),
        (b"A=\xff\n", "is not UTF-8 text"),
        (b"A=\0\n", "env.A: must not contain a NUL character"),
    ],
)
def test_broken_env_file_is_refused_with_its_place(tmp_path, text, problem):
    (tmp_path / "env").write_bytes(text)
    message = refused_entry({"command": "s", "envFile": "env"}, workspace_folder=tmp_path)
    assert message.startswith("mcpServers.files.env")
    assert problem in message


def test_missing_env_file_is_refused_by_its_path(tmp_path):
    path = str(tmp_path / "missing")
    message = refused_entry({"command": "s", "envFile": path})
    assert message == f"mcpServers.files.envFile: {path!r} cannot be read: No such file or directory"


# ---- Variables


def test_variables_are_replaced_in_every_string(tmp_path, monkeypatch):
    monkeypatch.setenv("MCP_DIR", "/opt/${HOME}")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)
    (tmp_path / "x.env").write_text("FROM_FILE=${MCP_DIR}")
    pool = one(
        {
            "command": "${MCP_DIR}/run",
            "args": [
                "${env:MCP_DIR}:${userHome}",
                "$MCP_DIR {} ${",
                "${UNSET:-a}${EMPTY:-b}${EMPTY}",
                "${UNSET:-}",
            ],
            "env": {"A": "${UNSET:-${MCP_DIR}/d}!", "B": None},
            "envFile": "${workspaceFolder}/x.env",
            "cwd": "sub",
        },
        workspace_folder=tmp_path,
    )
    assert pool.command == "/opt/${HOME}/run"
    assert pool.args == ["/opt/${HOME}:/home/me", "$MCP_DIR {} ${", "ab", ""]
    assert pool.env == {"FROM_FILE": "${MCP_DIR}", "A": "/opt/${HOME}/d!", "B": None}
    assert pool.cwd == str(tmp_path / "sub")


def test_workspace_folder_is_the_current_one_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert one({"command": "${workspaceFolder}/s"}).command == os.path.join(os.getcwd(), "s")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"command": "${UNSET}"}, "mcpServers.files.command: variable ${UNSET} is not set"),
        (
            {"command": "s", "args": ["a", "${env:UNSET}"]},
            "mcpServers.files.args[1]: variable ${env:UNSET} is not",
        ),
        ({"command": "s", "env": {"A": "${UNSET}"}}, "mcpServers.files.env.A: variable ${UNSET} is not set"),
        ({"command": "s", "envFile": "${UNSET}"}, "mcpServers.files.envFile: variable ${UNSET} is not set"),
        (
            {"command": "s", "args": ["${X:-${UNSET}}"]},
            "mcpServers.files.args[0]: variable ${UNSET} is not set",
        ),
        (
            {"command": "${input:key}"},
            "mcpServers.files.command: variable ${input:key} is not set; answer",
        ),
        ({"command": "${command:pick}"}, "mcpServers.files.command: unknown variable ${command:pick}"),
        ({"command": "${}"}, "mcpServers.files.command: unknown variable ${}"),
    ],
)
def test_unset_variable_is_named_with_its_place(entry, message, monkeypatch):
    for name in ("UNSET", "X"):
        monkeypatch.delenv(name, raising=False)
    assert refused_entry(entry).startswith(message)


def test_inputs_are_asked_once_each_with_their_definition():
    asked = []

    def answer(name, definition):
        asked.append((name, definition))
        return {"key": "s3cret"}.get(name)

    definition = {"id": "key", "type": "promptString", "password": True}
    document = {
        "inputs": [definition, {"id": "host", "default": "localhost"}],
        "servers": {
            "a": {
                "command": "a",
                "env": {"KEY": "${input:key}"},
                "args": ["${input:host}", "${input:no:-default}"],
            },
            "b": {"command": "b", "env": {"KEY": "Bearer ${input:key}"}},
        },
    }
    a, b = read(document, inputs=answer)
    assert (a.env["KEY"], b.env["KEY"]) == ("s3cret", "Bearer s3cret")
    assert a.args == ["localhost", "default"]
    assert asked == [("host", document["inputs"][1]), ("no", {}), ("key", definition)]
    assert "the answer to ${input:host} must be a string" in refused(document, inputs=lambda *_: 7)


# ---- Files


def test_comments_and_trailing_commas_of_a_file_are_fine(tmp_path):
    path = tmp_path / "mcp.json"
    path.write_text(
        '\ufeff// servers\n{\n  "servers": { /* one,\n } */\n    "a": {"command": "http://x//y", // end\n'
        '      "args": ["/* no comment */", "\\"//", ",]", /* last, */ ],\n    },\n  },\n}\n'
    )
    [pool] = read(path)
    assert pool == PoolConfig("a", "http://x//y", ["/* no comment */", '"//', ",]"], protocol="mcp")


def test_syntax_error_names_the_file_with_line_and_column(tmp_path):
    path = tmp_path / "mcp.json"
    path.write_text('{ // comment\n  /* another\n */ "servers": {,}\n}')
    assert refused(str(path)).startswith(f"{path}: line 3, column ")
    path.write_bytes(b'"\xff"')
    assert "is not UTF-8 text" in refused(str(path))
    assert "cannot be read: No such file" in refused(str(tmp_path / "missing"))


def test_error_in_a_file_names_the_file_and_the_place(tmp_path):
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"a": {"command": "${UNSET}"}}}')
    assert refused(path).startswith(f"{path}: mcpServers.a.command: variable ${{UNSET}} is not set")
