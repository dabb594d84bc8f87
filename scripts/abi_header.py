"""What `stdio_bus.h` declares: names and types from its text, numbers and layouts from a compiler.

Here: reading the header (its own plain style, not any C) and measuring it with a tiny program.
Not here: what it is compared with (abi_rules), the symbols of binaries (abi_symbols).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import kernel_tests
import targets
import zig_tool

HEADER = "kernel/include/stdio_bus.h"

_PARTS = re.compile(r"/\* ---- Part 1:.*?(?=/\* ---- Part 2:)", re.S)
_COMMENTS = re.compile(r"/\*.*?\*/", re.S)
_MACROS = re.compile(r"^#define (STDIO_BUS_\w+) -?\d+$", re.M)
_FUNCTIONS = re.compile(r"\bSTDIO_BUS_API ([^;()]*?)(\w+)\(([^()]*)\);")
_CALLBACKS = re.compile(r"\btypedef (\w+) \(\*(\w+)\)\(([^()]*)\);")
_ENUMS = re.compile(r"\benum \{([^{}]*)\} ?(\w*);")
_STRUCTS = re.compile(r"\btypedef struct \w+ \{((?:[^{}]|\{[^{}]*\})*)\} (\w+);")
_NESTED = re.compile(r"\bstruct \{([^{}]*)\} (\w+);")
_DECLARATION = re.compile(r"(.*[ *])(\w+)")


class HeaderError(Exception):
    """The header cannot be read or measured."""


@dataclass(frozen=True)
class Function:
    """A function or a callback type: types as the header spells them, without names."""

    result: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.result}({', '.join(self.arguments)})"


@dataclass(frozen=True)
class Header:
    """The declarations of a header, or of a part of one.

    Attributes:
        functions: By name.
        callbacks: Function pointer types, by name.
        numbers: Names of enum members and of macros that are a number.
        enums: Names of enum types.
        structs: By name: each field's type by its name; members of a nested struct are
            written with a dot.
    """

    functions: dict[str, Function]
    callbacks: dict[str, Function]
    numbers: tuple[str, ...]
    enums: tuple[str, ...]
    structs: dict[str, dict[str, str]]


def part_one(text: str) -> str:
    """Return the frozen part of the header's text."""
    found = _PARTS.search(text)
    if found is None:
        raise HeaderError(f"{HEADER}: the comments that begin part 1 and part 2 are not there")
    return found.group()


def read(text: str) -> Header:
    """Read the declarations out of the header's text, or of a part of it."""
    text = _COMMENTS.sub(" ", text)
    macros = _MACROS.findall(text)
    text = " ".join(text.split())
    enums = _ENUMS.findall(text)
    members = [member.split("=")[0].strip() for body, _ in enums for member in body.split(",")]
    return Header(
        functions={
            name: _function(result, arguments) for result, name, arguments in _FUNCTIONS.findall(text)
        },
        callbacks={
            name: _function(result, arguments) for result, name, arguments in _CALLBACKS.findall(text)
        },
        numbers=(*macros, *filter(None, members)),
        enums=tuple(name for _, name in enums if name),
        structs={name: _fields(body) for body, name in _STRUCTS.findall(text)},
    )


def _function(result: str, arguments: str) -> Function:
    types = () if arguments == "void" else tuple(_declaration(text)[0] for text in arguments.split(","))
    return Function(result.strip(), types)


def _fields(body: str) -> dict[str, str]:
    # A nested struct is written out first, so that every semicolon ends one field.
    def flat(nested: re.Match[str]) -> str:
        inner = [_declaration(text) for text in nested[1].split(";") if text.strip()]
        return " ".join(f"{kind} {nested[2]}.{name};" for kind, name in inner)

    declared = [text.strip() for text in _NESTED.sub(flat, body).split(";")]
    return {name: kind for kind, name in (_declaration(text) for text in declared if text)}


def _declaration(text: str) -> tuple[str, str]:
    path, dot, last = text.strip().rpartition(".")
    found = _DECLARATION.fullmatch(path or last)
    if found is None:
        raise HeaderError(f"{HEADER}: not understood: {text.strip()!r}")
    return found[1].strip(), found[2] + dot + (last if path else "")


def measure(header: Header, include: Path) -> dict[str, int]:
    """Compile and run a program that prints what only a compiler knows.

    Args:
        header: What to ask for.
        include: The folder that has `stdio_bus.h`.

    Returns:
        By the name of a number its value, by that of a struct its size, by `STRUCT.FIELD`
        the field's offset, and by `void *` the size of a pointer.

    Raises:
        HeaderError: It does not compile or run.
    """
    asked = {"void *": "sizeof(void *)"}
    asked.update({name: name for name in header.numbers})
    for struct, fields in header.structs.items():
        asked[struct] = f"sizeof({struct})"
        asked.update({f"{struct}.{field}": f"offsetof({struct}, {field})" for field in fields})
    prints = "".join(
        f'    printf("%lld {name}\\n", (long long)({value}));\n' for name, value in asked.items()
    )
    source = f'#include <stdio.h>\n#include "stdio_bus.h"\nint main(void) {{\n{prints}}}\n'
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "measure")
        Path(folder, "measure.c").write_text(source, encoding="utf-8")
        compiler = kernel_tests.plain_compiler()
        compiled = [*compiler, "-std=c11", f"-I{include}", f"{program}.c", "-o", str(program)]
        try:
            environment = zig_tool.environment(targets.CACHE / "zig")
            subprocess.run(compiled, env=environment, check=True, capture_output=True, text=True)
            printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        except subprocess.CalledProcessError as error:
            raise HeaderError(f"{HEADER}: cannot be measured: {error}\n{error.stderr}") from error
    rows = (line.split(" ", 1) for line in printed.splitlines())
    return {name: int(value) for value, name in rows}
