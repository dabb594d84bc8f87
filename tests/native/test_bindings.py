"""The declarations: the table against the header, and the gate against a library that differs."""

from __future__ import annotations

import ctypes
import re
import struct
from pathlib import Path

import pytest

from stdiobus import UnavailableError
from stdiobus.native import bindings

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "kernel" / "include" / "stdio_bus.h"


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.skipif(not HEADER.exists(), reason="no header here")
def test_each_prototype_is_written_as_in_the_header():
    header = squeezed(HEADER.read_text())
    source = Path(bindings.__file__).read_text()
    for name in bindings.PROTOTYPES:
        [prototype] = re.findall(rf"# (.*\b{name}\(.*\);)\n", source)
        assert f"STDIO_BUS_API {prototype}" in header


@pytest.mark.skipif(not HEADER.exists(), reason="no header here")
def test_numbers_are_those_of_the_header():
    header = HEADER.read_text()
    for name in ("ERR_ENOTFOUND", "ERR_EINVAL", "ERR_CONFIG", "ERR_WORKER", "ERR_STATE"):
        assert re.search(rf"STDIO_BUS_{name} = {getattr(bindings, name)},?\s", header), name
    for name in ("LOG_DEBUG", "LOG_INFO", "LOG_WARNING", "LOG_ERROR", "STATE_STOPPED"):
        assert re.search(rf"STDIO_BUS_{name} = {getattr(bindings, name)}\b", header), name
    assert f"#define STDIO_BUS_ABI {bindings.ABI}\n" in header
    assert f"#define STDIO_BUS_HOST_CLIENT {bindings.HOST_CLIENT}\n" in header


def test_line_record_has_the_size_of_its_format():
    assert struct.calcsize(bindings.LINE_FORMAT) == bindings.LINE_SIZE


class Function:
    def __init__(self, result):
        self.result = result

    def __call__(self, *arguments):
        return self.result(*arguments) if callable(self.result) else self.result


SIZES = {
    0: ctypes.sizeof(bindings.Options),
    1: ctypes.sizeof(bindings.Stats),
    2: bindings.LINE_SIZE,
    3: ctypes.sizeof(bindings.Worker),
    4: ctypes.sizeof(bindings.Event),
}


class FakeLibrary:
    def __init__(self, **changes):
        functions = {name: Function(0) for name in bindings.PROTOTYPES}
        functions.update(stdio_bus_abi=Function(bindings.ABI), stdio_bus_sizeof=Function(SIZES.get))
        functions.update(changes)
        for name, function in functions.items():
            if function is not None:
                setattr(self, name, function)


def test_library_that_fits_gets_all_its_types():
    fake = FakeLibrary()
    bindings.declare(fake, "fake.so")
    assert fake.stdio_bus_feed.argtypes == (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
    assert fake.stdio_bus_create.restype is ctypes.c_void_p


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stdio_bus_abi": Function(2)}, "its ABI is 2, this package needs 1"),
        ({"stdio_bus_feed": None}, "it has no function stdio_bus_feed"),
        (
            {"stdio_bus_sizeof": Function(lambda n: 24 if n == 2 else SIZES[n])},
            "its struct line has 24 bytes",
        ),
    ],
)
def test_library_that_differs_is_refused(changes, reason):
    with pytest.raises(UnavailableError, match=f"fake.so does not fit: {reason}"):
        bindings.declare(FakeLibrary(**changes), "fake.so")
