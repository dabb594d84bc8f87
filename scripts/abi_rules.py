"""What must agree with the public header: its own frozen part, the binaries, the Python bindings.

Here: the comparisons. Each returns one line per difference, which names what differs.
Not here: reading the header (abi_header) and the binaries (abi_symbols).
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from abi_header import Function, Header

GOLDEN = "kernel/abi.json"

_SCALARS: dict[str, Any] = {
    "int": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "uint16_t": ctypes.c_uint16,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}
# The class of the bindings for each struct; stdio_bus_line_t is a format there.
_STRUCTS = {
    "stdio_bus_options_t": "Options",
    "stdio_bus_stats_t": "Stats",
    "stdio_bus_worker_info_t": "Worker",
    "stdio_bus_worker_event_t": "Event",
}
_FORMATS = {"I": ctypes.c_uint32, "i": ctypes.c_int32}


def frozen(header: Header, measured: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Describe a part of the header in the form of the golden list: every fact has a name.

    A struct is its size, a field its offset and type; both as on 64-bit systems.
    """
    layouts: dict[str, Any] = {}
    for name, fields in header.structs.items():
        layouts[name] = measured[name]
        layouts.update({f"{name}.{f}": f"{measured[f'{name}.{f}']} {kind}" for f, kind in fields.items()})
    return {
        "functions": {name: str(function) for name, function in header.functions.items()},
        "callbacks": {name: str(function) for name, function in header.callbacks.items()},
        "numbers": {name: measured[name] for name in header.numbers},
        "layouts": layouts,
    }


def compare_frozen(
    header: Header, measured: Mapping[str, int], golden: Mapping[str, dict[str, Any]]
) -> list[str]:
    """Compare part 1 of the header with the golden list.

    Args:
        header: Part 1 alone.
        measured: What the compiler says of it; on 32-bit systems layouts are left out.
        golden: Contents of `GOLDEN`.
    """
    problems = []
    for group, found in frozen(header, measured).items():
        if group == "layouts" and measured["void *"] != 8:
            continue
        expected = golden[group]
        for name in {**expected, **found}:
            was, now = expected.get(name, "absent"), found.get(name, "absent")
            if was != now:
                problems.append(f"{name}: part 1 of the header is frozen, but this was {was} and is {now}")
    return problems


def compare_exports(header: Header, name: str, symbols: Iterable[str]) -> list[str]:
    """Compare what the binary `name` exports with the functions of the header."""
    there, declared = set(symbols), set(header.functions)
    missing = [
        f"{name}: does not export {symbol}, which the header declares" for symbol in sorted(declared - there)
    ]
    extra = [
        f"{name}: exports {symbol}, which the header does not declare" for symbol in sorted(there - declared)
    ]
    return missing + extra


def compare_bindings(
    header: Header, measured: Mapping[str, int], bindings: Any, sources: Mapping[str, str]
) -> list[str]:
    """Compare the header with the Python bindings.

    Args:
        header: All of it.
        measured: What the compiler says of it.
        bindings: The module `stdiobus.native.bindings`.
        sources: Python sources that call the library, by file name.
    """
    return [
        *_compare_numbers(measured, bindings),
        *_compare_prototypes(header, bindings),
        *_missing_prototypes(bindings, sources),
        *_compare_line(header, measured, bindings),
        *(
            problem
            for name, class_name in _STRUCTS.items()
            for problem in _compare_struct(header, measured, bindings, name, getattr(bindings, class_name))
        ),
    ]


def _compare_numbers(measured: Mapping[str, int], bindings: Any) -> list[str]:
    problems = []
    for name, value in vars(bindings).items():
        if not name.isupper() or not isinstance(value, int) or name == "LINE_SIZE":
            continue
        expected = measured.get(f"STDIO_BUS_{name}")
        if value != expected:
            problems.append(f"bindings.{name} is {value}, STDIO_BUS_{name} is {expected}")
    return problems


def _compare_prototypes(header: Header, bindings: Any) -> list[str]:
    problems = []
    for name, (result, arguments) in bindings.PROTOTYPES.items():
        function = header.functions.get(name)
        if function is None:
            problems.append(f"bindings.PROTOTYPES: {name} is not in the header")
        elif not _same_function(header, bindings, function, result, arguments):
            problems.append(f"bindings.PROTOTYPES: {name} does not fit {function}")
    return problems


def _missing_prototypes(bindings: Any, sources: Mapping[str, str]) -> list[str]:
    called = {name: file for file, text in sources.items() for name in re.findall(r"\.(stdio_bus_\w+)", text)}
    lacking = sorted(called.keys() - bindings.PROTOTYPES.keys())
    return [f"bindings.PROTOTYPES: {name} is missing, but {called[name]} calls it" for name in lacking]


def _compare_line(header: Header, measured: Mapping[str, int], bindings: Any) -> list[str]:
    name, form = "stdio_bus_line_t", bindings.LINE_FORMAT
    fields = header.structs[name]
    letters = form[1:]
    fits = len(letters) == len(fields) and bindings.LINE_SIZE == struct.calcsize(form) == measured[name]
    for i, (field, kind) in enumerate(fields.items()):
        if not fits:
            break
        offset = struct.calcsize(form[: i + 1])
        fits = offset == measured[f"{name}.{field}"] and _fits(
            header, bindings, kind, _FORMATS.get(letters[i])
        )
    return [] if fits else [f"bindings.LINE_FORMAT or LINE_SIZE does not fit {name}"]


def _compare_struct(
    header: Header, measured: Mapping[str, int], bindings: Any, name: str, structure: Any
) -> list[str]:
    found = dict(_flat(structure))
    size = ctypes.sizeof(structure)
    problems = []
    if size != measured[name]:
        problems.append(f"bindings.{structure.__name__}: {size} bytes, {name} has {measured[name]}")
    for field in {**header.structs[name], **found}:
        where = f"bindings.{structure.__name__}.{field}"
        kind = header.structs[name].get(field)
        if kind is None or field not in found:
            problems.append(f"{where}: is not in {name}" if kind is None else f"{where}: is missing")
            continue
        offset, python_type = found[field]
        if offset != measured[f"{name}.{field}"]:
            problems.append(f"{where}: at {offset}, {name} has it at {measured[f'{name}.{field}']}")
        if not _fits(header, bindings, kind, python_type):
            problems.append(f"{where}: {python_type.__name__} does not fit {kind}")
    return problems


def _flat(structure: Any) -> Iterable[tuple[str, tuple[int, Any]]]:
    """Yield every field of a ctypes struct, nested ones with a dot: name, (offset, type)."""
    for name, kind in structure._fields_:
        offset = getattr(structure, name).offset
        if issubclass(kind, ctypes.Structure):
            for inner, (inner_offset, inner_kind) in _flat(kind):
                yield f"{name}.{inner}", (offset + inner_offset, inner_kind)
        else:
            yield name, (offset, kind)


def _same_function(header: Header, bindings: Any, function: Function, result: Any, arguments: Any) -> bool:
    return (
        len(arguments) == len(function.arguments)
        and _fits(header, bindings, function.result, result)
        and all(_fits(header, bindings, kind, given) for kind, given in zip(function.arguments, arguments))
    )


def _fits(header: Header, bindings: Any, kind: str, python_type: Any) -> bool:
    """Tell whether a ctypes type passes a value of the C type `kind` unharmed."""
    if kind == "void" or python_type is None:
        return kind == "void" and python_type is None
    if kind in header.callbacks:
        function = header.callbacks[kind]
        return hasattr(python_type, "_argtypes_") and _same_function(
            header, bindings, function, python_type._restype_, python_type._argtypes_
        )
    if kind.endswith("*"):
        target = kind.removeprefix("const ").removesuffix("*").strip()
        if python_type is ctypes.c_char_p:
            return target == "char"
        pointed = getattr(python_type, "_type_", None)
        return python_type is ctypes.c_void_p or pointed is getattr(
            bindings, _STRUCTS.get(target, ""), object()
        )
    scalar = ctypes.c_int if kind in header.enums else _SCALARS.get(kind)
    code = getattr(python_type, "_type_", None)
    if scalar is None or not isinstance(code, str) or code not in "bBhHiIlLqQ":
        return False
    return ctypes.sizeof(python_type) == ctypes.sizeof(scalar) and code.islower() == scalar._type_.islower()
