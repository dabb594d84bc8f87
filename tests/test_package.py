"""The package's front door: names, laziness, types marker."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import stdiobus


def test_every_public_name_is_there_and_says_what_it_is():
    for name in stdiobus.__all__:
        value = getattr(stdiobus, name)
        assert value is not None
        if isinstance(value, type):
            assert value.__doc__, name
    assert len(stdiobus.__all__) == len(set(stdiobus.__all__))
    assert set(stdiobus.__all__) <= set(dir(stdiobus))


def test_public_names_of_modules_exist():
    for module in ("config", "errors", "messages", "options"):
        loaded = importlib.import_module(f"stdiobus.{module}")
        assert all(hasattr(loaded, name) for name in loaded.__all__)
        assert set(loaded.__all__) <= set(stdiobus.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Bus'"):
        stdiobus.Bus  # noqa: B018


def test_import_of_every_name_leaves_out_what_only_a_running_bus_needs():
    program = (
        "import sys, asyncio; old = {*sys.modules}; from stdiobus import *; print(*{*sys.modules} - old)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = run.stdout.split()
    assert "stdiobus.client.aio" in loaded
    assert not {"ctypes", "tempfile", "stdiobus.native", "stdiobus.backends.native"} & set(loaded)


def test_package_is_typed():
    assert Path(stdiobus.__file__).with_name("py.typed").is_file()
