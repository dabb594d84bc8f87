"""Which backend is taken: explicit, by environment, or the first that works."""

from __future__ import annotations

import logging

import pytest

from stdiobus import (
    AsyncStdioBus,
    BackendMode,
    BusConfig,
    InvalidArgumentError,
    ListenMode,
    NativeOptions,
    PoolConfig,
    UnavailableError,
)
from stdiobus.backends.selection import choose, resolve_mode
from stdiobus.config import SubprocessOptions

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
        InvalidArgumentError, match="STDIOBUS_BACKEND: must be one of auto, native, subprocess"
    ):
        resolve_mode("auto", plain)


def test_listener_elsewhere_than_native_is_refused(monkeypatch):
    config = BusConfig([PoolConfig("a", "x")])
    with pytest.raises(InvalidArgumentError, match=r'listen_mode: .* backend "subprocess" .* use "native"'):
        AsyncStdioBus(config, backend="subprocess", native=LISTENER)
    monkeypatch.setenv("STDIOBUS_BACKEND", "subprocess")
    with pytest.raises(InvalidArgumentError, match="STDIOBUS_BACKEND=subprocess"):
        AsyncStdioBus(config, native=LISTENER)


def test_auto_falls_back_with_one_line_that_says_why(no_library, program, caplog):
    with caplog.at_level(logging.WARNING):
        backend = choose(BackendMode.AUTO, NativeOptions(), SubprocessOptions(binary_path=program))
    assert backend.mode is BackendMode.SUBPROCESS
    [record] = caplog.records
    assert "/absent/libstdio_bus.so: no such file" in record.getMessage()


def test_nothing_works_is_one_error_that_lists_everything(no_library):
    with pytest.raises(UnavailableError) as caught:
        choose(BackendMode.AUTO, NativeOptions(), SubprocessOptions(binary_path="/absent/stdio_bus"))
    assert "native: " in str(caught.value)
    assert "/absent/libstdio_bus.so: no such file" in str(caught.value)
    assert "/absent/stdio_bus: no such file" in str(caught.value)
    assert set(caught.value.details) == {"native", "subprocess"}


def test_explicit_choice_and_a_listener_do_not_fall_back(no_library, program):
    options = SubprocessOptions(binary_path=program)
    with pytest.raises(UnavailableError, match="libstdio_bus could not be loaded"):
        choose(BackendMode.NATIVE, NativeOptions(), options)
    with pytest.raises(UnavailableError, match="the listener needs the native backend"):
        choose(BackendMode.AUTO, LISTENER, options)
    with pytest.raises(UnavailableError, match="no stdio_bus program"):
        choose(BackendMode.SUBPROCESS, NativeOptions(), SubprocessOptions(binary_path="/absent"))
