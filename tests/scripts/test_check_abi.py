"""A difference between header, binaries and bindings is found and named."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import types

import pytest

import abi_header
import abi_rules
import abi_symbols
import kernel_tests
import targets
from stdiobus.native import bindings

TEXT = (targets.ROOT / abi_header.HEADER).read_text(encoding="utf-8")
HEADER = abi_header.read(TEXT)
GOLDEN = json.loads((targets.ROOT / abi_rules.GOLDEN).read_text(encoding="utf-8"))
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in targets.ROOT.glob("stdiobus/native/*.py")}

only_64_bit = pytest.mark.skipif(
    ctypes.sizeof(ctypes.c_void_p) != 8, reason="layouts are those of 64-bit systems"
)


def measure(folder, text):
    if kernel_tests.system_compiler() is None and kernel_tests.zig_tool.find() is None:
        pytest.skip("needs a C compiler")
    (folder / "stdio_bus.h").write_text(text, encoding="utf-8")
    return abi_header.measure(abi_header.read(text), folder)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return measure(tmp_path_factory.mktemp("header"), TEXT)


def compare_frozen(folder, old, new):
    assert old in TEXT
    text = TEXT.replace(old, new, 1)
    measured = measure(folder, text)
    return abi_rules.compare_frozen(abi_header.read(abi_header.part_one(text)), measured, GOLDEN)


def compare_bindings(measured, **changed):
    other = types.SimpleNamespace(**{**vars(bindings), **changed})
    return abi_rules.compare_bindings(HEADER, measured, other, SOURCES)


def compare_prototype(measured, name, prototype):
    return compare_bindings(measured, PROTOTYPES={**bindings.PROTOTYPES, name: prototype})


def test_the_header_is_understood_in_full():
    assert len(HEADER.functions) == TEXT.count("\nSTDIO_BUS_API ")
    assert len(HEADER.callbacks) == TEXT.count("typedef void (*")
    assert len(HEADER.structs) == len(re.findall(r"typedef struct \w+ \{", TEXT))
    assert HEADER.structs["stdio_bus_options_t"]["listener.tcp_port"] == "uint16_t"


def test_what_is_there_agrees(measured):
    part_one = abi_header.read(abi_header.part_one(TEXT))
    assert abi_rules.compare_frozen(part_one, measured, GOLDEN) == []
    assert compare_bindings(measured) == []


# ---- part 1 of the header ----


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("ERR_EOF = -3", "ERR_EOF = -9", "STDIO_BUS_ERR_EOF: .* was -3 and is -9"),
        (
            "int stdio_bus_start(stdio_bus_t *bus)",
            "int stdio_bus_start(void)",
            "stdio_bus_start: .*and is int",
        ),
        ("const char *peer, void *user", "void *user", "stdio_bus_on_client_connect_fn: "),
        pytest.param(
            "uint16_t tcp_port", "uint32_t tcp_port", "tcp_port: .* is 32 uint32_t", marks=only_64_bit
        ),
    ],
)
def test_a_changed_fact(tmp_path, old, new, named):
    [problem] = compare_frozen(tmp_path, old, new)
    assert re.search(named, problem)


def test_a_new_and_a_lost_name(tmp_path):
    assert compare_frozen(tmp_path, "STATE_STOPPED = 4", "STATE_OVER = 4") == [
        "STDIO_BUS_STATE_STOPPED: part 1 of the header is frozen, but this was 4 and is absent",
        "STDIO_BUS_STATE_OVER: part 1 of the header is frozen, but this was absent and is 4",
    ]


@only_64_bit
def test_a_field_that_moves_others(tmp_path):
    problems = compare_frozen(tmp_path, "    void *user_data;\n", "    void *more;\n    void *user_data;\n")
    names = ["stdio_bus_options_t"]
    names += [f"stdio_bus_options_t.{field}" for field in ("user_data", "log_level", "more")]
    assert [problem.split(": ")[0] for problem in problems] == names


# ---- binaries ----


def test_an_extra_and_a_missing_symbol():
    symbols = {*HEADER.functions, "helper"} - {"stdio_bus_step"}
    assert abi_rules.compare_exports(HEADER, "lib.so", symbols) == [
        "lib.so: does not export stdio_bus_step, which the header declares",
        "lib.so: exports helper, which the header does not declare",
    ]


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda target: target.triple)
def test_symbols_of_an_archive(target):
    symbols = abi_symbols.exported((targets.ROOT / target.archive).read_bytes())
    assert GOLDEN["functions"].keys() <= symbols
    assert all(name.startswith("stdio_bus_") for name in symbols)


@pytest.mark.parametrize("flags", [["-c"], ["-shared", "-fPIC"]], ids=["object", "library"])
def test_what_counts_as_exported(tmp_path, flags):
    if kernel_tests.system_compiler() is None and kernel_tests.zig_tool.find() is None:
        pytest.skip("needs a C compiler")
    source, built = tmp_path / "room.c", tmp_path / "room"
    source.write_text(
        '#define HIDDEN __attribute__((visibility("hidden")))\n'
        "int outside(void);\n"
        "static int own = 1;\n"
        "HIDDEN int hidden(void) { return own++; }\n"
        "int helper = 2;\n"
        "__attribute__((weak)) int weak(void) { return hidden(); }\n"
        "int stdio_bus_f(void) { return hidden() + helper; }\n"
    )
    subprocess.run([*kernel_tests.plain_compiler(), *flags, str(source), "-o", str(built)], check=True)
    symbols = abi_symbols.exported(built.read_bytes())
    assert symbols >= {"stdio_bus_f", "helper", "weak"}
    assert not symbols & {"hidden", "own", "outside"}


def test_another_kind_of_file():
    with pytest.raises(abi_symbols.SymbolError, match="begins with b'text'"):
        abi_symbols.exported(b"text")


# ---- bindings ----


def test_a_missing_prototype(measured):
    prototypes = {name: types for name, types in bindings.PROTOTYPES.items() if name != "stdio_bus_feed"}
    assert compare_bindings(measured, PROTOTYPES=prototypes) == [
        "bindings.PROTOTYPES: stdio_bus_feed is missing, but bus.py calls it"
    ]


@pytest.mark.parametrize(
    "prototype",
    [
        (ctypes.c_int, (ctypes.c_void_p,)),
        (ctypes.c_int, (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)),
        (ctypes.c_int, (ctypes.c_void_p, ctypes.c_void_p)),
        (ctypes.c_int, (ctypes.c_void_p, ctypes.c_uint)),
        (ctypes.c_int, (ctypes.c_char_p, ctypes.c_int)),
        (ctypes.c_int, (ctypes.POINTER(bindings.Stats), ctypes.c_int)),
        (None, (ctypes.c_void_p, ctypes.c_int)),
    ],
)
def test_a_prototype_that_does_not_fit(measured, prototype):
    assert compare_prototype(measured, "stdio_bus_step", prototype) == [
        "bindings.PROTOTYPES: stdio_bus_step does not fit int(stdio_bus_t *, int)"
    ]


def test_a_callback_that_does_not_fit(measured):
    wrong = (ctypes.c_int, (ctypes.c_void_p, bindings.OnText))
    [problem] = compare_prototype(measured, "stdio_bus_set_on_batch", wrong)
    assert "stdio_bus_set_on_batch does not fit" in problem


def test_a_prototype_of_nothing(measured):
    assert compare_prototype(measured, "stdio_bus_dance", (None, ())) == [
        "bindings.PROTOTYPES: stdio_bus_dance is not in the header"
    ]


def test_a_wrong_number(measured):
    assert compare_bindings(measured, ERR_STATE=-14) == [
        "bindings.ERR_STATE is -14, STDIO_BUS_ERR_STATE is -15"
    ]


def test_a_wrong_struct(measured):
    class Stats(ctypes.Structure):
        _fields_ = (
            *bindings.Stats._fields_[:-2],
            ("client_connects", ctypes.c_uint32),
            ("more", ctypes.c_uint32),
        )

    prototypes = {
        **bindings.PROTOTYPES,
        "stdio_bus_get_stats": (None, (ctypes.c_void_p, ctypes.POINTER(Stats))),
    }
    assert compare_bindings(measured, Stats=Stats, PROTOTYPES=prototypes) == [
        "bindings.Stats: 56 bytes, stdio_bus_stats_t has 64",
        "bindings.Stats.client_connects: c_uint does not fit uint64_t",
        "bindings.Stats.client_disconnects: is missing",
        "bindings.Stats.more: is not in stdio_bus_stats_t",
    ]


@pytest.mark.parametrize("form", ["<Iii", "<IIiI", "<IqI"])
def test_a_wrong_line_format(measured, form):
    assert compare_bindings(measured, LINE_FORMAT=form) == [
        "bindings.LINE_FORMAT or LINE_SIZE does not fit stdio_bus_line_t"
    ]
