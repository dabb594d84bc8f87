"""Arguments: targets, deadlines, one source of configuration."""

from __future__ import annotations

import math

import pytest

from stdiobus import BusConfig, InvalidArgumentError, PoolConfig
from stdiobus.client.arguments import Targets, read_config, seconds

CONFIG = BusConfig([PoolConfig("files", "x"), PoolConfig("agent", "x")])


@pytest.mark.parametrize(
    ("call", "resolved"),
    [
        (("tools/list", None, None), ("tools/list", None)),
        (("tools/list", None, "files"), ("tools/list", "files")),
        (("agent", None, None), ("agent", "agent")),
        (("agent", "prompt", None), ("prompt", "agent")),
        (("agent", "prompt", "agent"), ("prompt", "agent")),
        (("agent", None, "files"), ("agent", "files")),
    ],
)
def test_target_is_a_method_or_a_pool(call, resolved):
    assert Targets(CONFIG).resolve(*call) == resolved


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("m", None, "fils"), r"pool: there is no pool 'fils'; the configuration has 'files', 'agent'"),
        (("fils", "m", None), r"target: there is no pool 'fils'"),
        (([], None, None), r"target: must be a string"),
        (("agent", {}, None), r"method: must be a string"),
        (("m", None, []), r"pool: must be a string"),
        (("m", "n", "files"), r"method: the method is given twice, as 'm' and as 'n'"),
    ],
)
def test_what_cannot_be_resolved_is_refused(call, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Targets(CONFIG).resolve(*call)


def test_deadlines():
    assert seconds(1500) == 1.5
    assert seconds(math.inf) == math.inf
    for wrong in (0, -1, True, "5", None, math.nan):
        with pytest.raises(InvalidArgumentError, match="timeout_ms"):
            seconds(wrong)


def test_configuration_has_exactly_one_source(tmp_path):
    path = tmp_path / "bus.json"
    path.write_text(CONFIG.to_json())
    assert read_config(CONFIG, None) is CONFIG
    assert read_config({"pools": [{"id": "a", "command": "x"}]}, None).pools == [PoolConfig("a", "x")]
    assert [pool.id for pool in read_config(None, path).pools] == ["files", "agent"]
    for both_or_none in ((CONFIG, path), (None, None)):
        with pytest.raises(InvalidArgumentError, match="exactly one"):
            read_config(*both_or_none)


def test_deadlines_of_pools_are_kept_where_the_configuration_has_them():
    slow = PoolConfig("slow", "x", timeout_ms=90_000)
    assert Targets(BusConfig([slow, *CONFIG.pools])).timeouts == {"slow": 90, None: 90}
    assert Targets(BusConfig([*CONFIG.pools, slow])).timeouts == {"slow": 90}
