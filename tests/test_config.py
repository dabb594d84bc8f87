"""Configuration classes: what the table of tests/integration/test_config_messages.py leaves out."""

from __future__ import annotations

import json

import pytest

from stdiobus import BusConfig, InvalidArgumentError, LimitsConfig, ListenMode, NativeOptions, PoolConfig
from stdiobus.config import SubprocessOptions


def refused(make) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        make()
    assert caught.value.details["field"] in str(caught.value)
    return str(caught.value)


def test_classes_validate_themselves_in_the_kernels_words():
    good = PoolConfig("a", "cmd")
    wrong = [
        ([good, PoolConfig("b", "cmd", instances=0)], "pools[1].instances: must be 1..1024"),
        ([PoolConfig("a", "cmd", instances=True)], "pools[0].instances: must be an integer"),
        ([PoolConfig("a", "cmd", args="x")], "pools[0].args: must be an array of strings"),
        ([PoolConfig("a", "cmd", env={"A": 1})], "pools[0].env.A: must be a string or null"),
        ([PoolConfig("a", "")], "pools[0].command: must not be empty"),
        ([PoolConfig("\ud800", "cmd")], "pools[0].id: must not contain a lone surrogate"),
        (
            [PoolConfig("a", "cmd", protocol="acp2")],
            "pools[0].protocol: must be one of stdiobus, jsonrpc, mcp, mcp-stateless, acp",
        ),
        ([good, good], 'pools[1].id: "a" is used twice'),
        ([], "pools: must not be empty"),
        (good, "pools: must be an array"),
        (["a"], "pools[0]: must be an object"),
    ]
    for pools, message in wrong:
        assert refused(lambda pools=pools: BusConfig(pools=pools)) == message
    assert (
        refused(lambda: BusConfig([good], LimitsConfig(max_clients=0)))
        == "limits.max_clients: must be 1..65536"
    )
    assert refused(lambda: BusConfig([good], limits=None)) == "limits: must be an object"


def test_document_and_classes_are_two_ways_to_the_same_thing():
    config = BusConfig(
        pools=[
            PoolConfig("a", "cmd", args=("x",), env={"K": "v", "GONE": None}, cwd="/", protocol="mcp"),
            PoolConfig("b", "cmd", handshake={"request": {"method": "hello"}}),
        ],
        limits=LimitsConfig(max_restarts=0),
    )
    again = BusConfig.from_json(config.to_json())
    assert again.to_dict() == {**config.to_dict(), "pools": again.to_dict()["pools"]}
    assert json.loads(again.to_json()) == json.loads(config.to_json())
    assert again.pools[0].env == {"K": "v", "GONE": None}
    assert again.limits.max_restarts == 0


def test_what_concerns_the_client_alone_is_checked_and_stays_out_of_the_document():
    pool = PoolConfig("a", "cmd", timeout_ms=5, metadata={"k": 1})
    assert BusConfig([pool]).to_dict() == BusConfig([PoolConfig("a", "cmd")]).to_dict()
    for timeout in (0, -1, True, "5", float("nan")):
        wrong = PoolConfig("a", "cmd", timeout_ms=timeout)
        message = "pools[0].timeout_ms: must be a number of milliseconds above 0"
        assert refused(lambda wrong=wrong: BusConfig([wrong])) == message
    assert (
        refused(lambda: BusConfig([PoolConfig("a", "cmd", metadata=[])]))
        == "pools[0].metadata: must be an object"
    )
    assert "timeout_ms: unknown key" in refused(
        lambda: BusConfig.from_dict({"pools": [{"id": "a", "command": "c", "timeout_ms": 5}]})
    )


def test_null_for_an_optional_field_is_its_default():
    config = BusConfig.from_dict({"pools": [{"id": "a", "command": "c", "instances": None, "cwd": None}]})
    assert config.pools[0] == PoolConfig("a", "c")
    assert "cwd" not in config.to_dict()["pools"][0]


def test_file_errors_name_the_file_with_line_and_column(tmp_path):
    path = tmp_path / "bus.json"
    assert "cannot be read: No such file or directory" in refused(lambda: BusConfig.from_file(str(path)))
    path.write_text('{"pools": [\n  {"id": "a",}\n]}')
    message = refused(lambda: BusConfig.from_file(str(path)))
    assert message.startswith(f"{path}: line 2, column ")
    path.write_bytes(b'{"pools": "\xff"}')
    assert refused(lambda: BusConfig.from_file(str(path))).startswith(f"{path}: not JSON: ")
    path.write_text('{"pools": NaN}')
    assert "NaN is not a JSON value" in refused(lambda: BusConfig.from_file(str(path)))
    path.write_text('{"pools": [{"id": "a", "command": "c"}]}')
    assert BusConfig.from_file(str(path)).pools == [PoolConfig("a", "c")]


def test_native_options_validate_themselves():
    assert NativeOptions(listen_mode="tcp").listen_mode is ListenMode.TCP
    assert (
        refused(lambda: NativeOptions(listen_mode="udp"))
        == "native.listen_mode: must be one of none, tcp, unix"
    )
    assert refused(lambda: NativeOptions(tcp_port=65536)) == "native.tcp_port: must be 0..65535"
    assert refused(lambda: NativeOptions(poll_interval_ms=0)) == "native.poll_interval_ms: must be 1..1000"
    assert refused(lambda: NativeOptions(tcp_host="")) == "native.tcp_host: must not be empty"
    assert "unix_path: is required" in refused(lambda: NativeOptions(listen_mode=ListenMode.UNIX))


def test_subprocess_options_validate_themselves():
    assert "start_timeout_sec: must be a number" in refused(lambda: SubprocessOptions(start_timeout_sec=0))
    assert "drain_timeout_sec: must be a number" in refused(lambda: SubprocessOptions(drain_timeout_sec="1"))
    assert "stderr_buffer_lines: must be" in refused(lambda: SubprocessOptions(stderr_buffer_lines=0))
    assert "binary_path: must be a string" in refused(lambda: SubprocessOptions(binary_path=None))
    assert "subprocess.env.A: must be a string or null" in refused(lambda: SubprocessOptions(env={"A": 1}))
