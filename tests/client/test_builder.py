"""The builder: every step reaches the constructor, which alone validates."""

from __future__ import annotations

import pytest

from stdiobus import (
    AsyncStdioBus,
    BusConfig,
    InvalidArgumentError,
    ListenMode,
    NativeOptions,
    PoolConfig,
    StdioBus,
    StdioBusBuilder,
)
from stdiobus.config import DockerOptions, SubprocessOptions

CONFIG = BusConfig([PoolConfig("a", "x")])


def test_builds_both_clients():
    builder = StdioBusBuilder().config(CONFIG).backend("native").timeout_ms(5)
    builder = builder.native_options(NativeOptions(listen_mode=ListenMode.TCP, tcp_port=9000))
    builder = builder.subprocess_options(SubprocessOptions(binary_path="/x"))
    asynchronous, synchronous = builder.build(), builder.build_sync()
    assert isinstance(asynchronous, AsyncStdioBus)
    assert isinstance(synchronous, StdioBus)
    for bus in (asynchronous, synchronous):
        assert bus.get_listen_mode() is ListenMode.TCP
        assert bus.get_backend_type() == "native"


def test_short_names_are_the_same_steps(tmp_path):
    path = tmp_path / "bus.json"
    path.write_text(CONFIG.to_json())
    builder = StdioBusBuilder().config_path(path).native(NativeOptions()).subprocess(SubprocessOptions())
    builder = builder.docker(DockerOptions(image="x"))
    assert builder.build()._docker.image == "x"
    assert builder.build().get_listen_mode() is ListenMode.NONE
    assert builder.build()._strict
    assert not builder.strict(False).build()._strict


def test_validation_is_the_constructors():
    with pytest.raises(InvalidArgumentError, match="exactly one of config and config_path"):
        StdioBusBuilder().build()
