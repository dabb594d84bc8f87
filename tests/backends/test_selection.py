"""Which backend is taken: explicit, by environment, or the first that works."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from stdiobus import (
    AsyncStdioBus,
    BackendMode,
    BusConfig,
    DockerOptions,
    InvalidArgumentError,
    ListenMode,
    NativeOptions,
    PoolConfig,
    UnavailableError,
)
from stdiobus.backends.selection import choose, resolve_mode
from stdiobus.config import SubprocessOptions

NO_PROGRAM = SubprocessOptions(binary_path="/absent/stdio_bus")
LISTENER = NativeOptions(listen_mode=ListenMode.TCP, tcp_port=0)


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv("STDIOBUS_BACKEND", raising=False)


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setenv("STDIOBUS_LIBRARY", "/absent/libstdio_bus.so")


def test_environment_overrides_auto_and_nothing_else(monkeypatch):
    plain = NativeOptions()
    assert resolve_mode("auto", plain) is BackendMode.AUTO
    monkeypatch.setenv("STDIOBUS_BACKEND", "subprocess")
    assert resolve_mode("auto", plain) is BackendMode.SUBPROCESS
    assert resolve_mode("native", plain) is BackendMode.NATIVE
    monkeypatch.setenv("STDIOBUS_BACKEND", "telepathy")
    with pytest.raises(
        InvalidArgumentError, match="STDIOBUS_BACKEND: must be one of auto, native, subprocess, docker"
    ):
        resolve_mode("auto", plain)


def test_listener_elsewhere_than_native_is_refused(monkeypatch):
    config = BusConfig([PoolConfig("a", "x")])
    with pytest.raises(InvalidArgumentError, match=r'listen_mode: .* backend "subprocess" .* use "native"'):
        AsyncStdioBus(config, backend="subprocess", native=LISTENER)
    monkeypatch.setenv("STDIOBUS_BACKEND", "subprocess")
    with pytest.raises(InvalidArgumentError, match="STDIOBUS_BACKEND=subprocess"):
        AsyncStdioBus(config, native=LISTENER)


@pytest.fixture
def docker(fake_engine):
    return DockerOptions("image", engine_path=str(fake_engine))


async def test_auto_falls_back_with_one_line_that_says_why(no_library, program, docker, caplog):
    with caplog.at_level(logging.WARNING):
        backend = await choose(
            BackendMode.AUTO, NativeOptions(), SubprocessOptions(binary_path=program), docker
        )
    assert backend.mode is BackendMode.SUBPROCESS
    [record] = caplog.records
    assert "Tried: /absent/libstdio_bus.so: no such file" in record.getMessage()
    assert "\n" not in record.getMessage()


async def test_auto_falls_back_to_a_container_last(no_library, docker, caplog):
    with caplog.at_level(logging.WARNING):
        backend = await choose(BackendMode.AUTO, NativeOptions(), NO_PROGRAM, docker)
    assert backend.mode is BackendMode.DOCKER
    [record] = caplog.records
    assert "Tried: /absent/libstdio_bus.so: no such file" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert "/absent/stdio_bus: no such file" in record.getMessage()


async def test_auto_fetches_no_image(no_library, docker):
    with pytest.raises(UnavailableError, match="has no image other"):
        await choose(BackendMode.AUTO, NativeOptions(), NO_PROGRAM, replace(docker, image="other"))
    chosen = await choose(BackendMode.DOCKER, NativeOptions(), NO_PROGRAM, replace(docker, image="other"))
    assert chosen.mode is BackendMode.DOCKER


async def test_nothing_works_is_one_error_that_lists_everything(no_library):
    docker = DockerOptions(engine_path="/absent/docker")
    with pytest.raises(UnavailableError) as caught:
        await choose(BackendMode.AUTO, NativeOptions(), NO_PROGRAM, docker)
    assert "native: " in str(caught.value)
    assert "/absent/libstdio_bus.so: no such file" in str(caught.value)
    assert "/absent/stdio_bus: no such file" in str(caught.value)
    assert "/absent/docker: no such program" in str(caught.value)
    assert set(caught.value.details) == {"native", "subprocess", "docker"}


async def test_explicit_choice_and_a_listener_do_not_fall_back(no_library, program, docker):
    options = SubprocessOptions(binary_path=program)
    with pytest.raises(UnavailableError, match="libstdio_bus could not be loaded"):
        await choose(BackendMode.NATIVE, NativeOptions(), options, docker)
    with pytest.raises(UnavailableError, match="the listener needs the native backend"):
        await choose(BackendMode.AUTO, LISTENER, options, docker)
    with pytest.raises(UnavailableError, match="no stdio_bus program"):
        await choose(BackendMode.SUBPROCESS, NativeOptions(), NO_PROGRAM, docker)
