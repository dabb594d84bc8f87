"""What must be true of every shared library and program that is shipped.

Here: the rules of one binary, each a function from LIEF's view of the file to what is wrong with it.
LIEF comes with the extra `wheels`.
Not here: the ABI (abi_rules), the file that a binary is shipped in (wheel_rules).
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import lief

import targets

lief.logging.disable()  # it remarks on what has no section headers

LIBRARY_LIMIT = 200_000

_ELF_MACHINES = {"x86_64": "X86_64", "aarch64": "AARCH64", "armv7l": "ARM"}
_MACH_O_MACHINES = {"x86_64": "X86_64", "aarch64": "ARM64"}
_GLIBC_LOADERS = {
    "x86_64": "ld-linux-x86-64.so.2",
    "aarch64": "ld-linux-aarch64.so.1",
    "armv7l": "ld-linux-armhf.so.3",
}

# What musl offers since 1.2.1 and no tag can ask for: musllinux_1_2 means 1.2.0 too. It has no symbol
# versions. Complete up to 1.2.5, which is what zig 0.17 carries.
NEWER_THAN_MUSL_1_2_0 = {
    *("_Fork", "gettid", "reallocarray", "tcgetwinsize", "tcsetwinsize"),  # 1.2.2
    *("pthread_getname_np", "qsort_r"),  # 1.2.3
    *("preadv2", "pwritev2", "statx"),  # 1.2.5
}

# A path of the machine a binary was built on: a full one that is not of any system, or that of a source
# file, which debug information and assertions leave.
_PATH = re.compile(rb"[\w.+-]*(?:/[\w.+-]+)+")
_SYSTEM_PATH = re.compile(rb"/(dev|proc|etc|bin|lib|lib64|usr|sys)/")


def check_library(data: bytes, target: targets.Target) -> list[str]:
    """Return what is wrong with a shared library; nothing is, when the list is empty."""
    problems = _check(data, target, shared=True)
    if len(data) > LIBRARY_LIMIT:
        problems.append(f"{len(data):,} bytes, more than {LIBRARY_LIMIT:,}")
    return problems


def check_program(data: bytes, target: targets.Target) -> list[str]:
    """Return what is wrong with a program, as `check_library` does."""
    return _check(data, target, shared=False)


def _check(data: bytes, target: targets.Target, *, shared: bool) -> list[str]:
    if target.os == "darwin":
        found = lief.MachO.parse(list(data))
        if found is None or len(found) != 1:
            return ["not a Mach-O file of one architecture"]
        problems = _mach_o(found.at(0), data, target, shared=shared)
    else:
        binary = lief.ELF.parse(list(data))
        if binary is None:
            return ["not an ELF file"]
        problems = _elf(binary, target, shared=shared)
    return [*problems, *_paths(data)]


def _paths(data: bytes) -> Iterator[str]:
    for path in sorted(set(_PATH.findall(data))):
        foreign = path.startswith(b"/") and path.count(b"/") > 1 and not _SYSTEM_PATH.match(path)
        # Shorter ones are machine code.
        if (foreign or path.endswith((b".c", b".h"))) and len(path) > 8:
            yield f"names a path of the machine it was built on: {path.decode()}"


# ---- ELF ----


def _elf(binary: Any, target: targets.Target, *, shared: bool) -> Iterator[str]:
    machine = binary.header.machine_type.name
    if machine != _ELF_MACHINES[target.machine]:
        yield f"made for {machine}, not for {target.machine}"
    static = target.libc == "musl" and not shared
    yield from _elf_dependencies(binary, target, shared=shared)
    imported = {symbol.name for symbol in binary.dynamic_symbols if symbol.shndx == 0}
    if target.libc == "glibc":
        yield from _glibc_floor(binary, target)
    elif shared:
        for name in sorted(imported & NEWER_THAN_MUSL_1_2_0):
            yield f"uses {name}, which musl 1.2.0 does not have"
    # A static program has no symbols left to tell; it is made from the archive, which check_archive sees.
    if not static and "__stack_chk_fail" not in imported:
        yield "has no stack protector, or not libc's"
    yield from _elf_hardening(binary, shared=shared)


def _elf_dependencies(binary: Any, target: targets.Target, *, shared: bool) -> Iterator[str]:
    needed = set(binary.libraries)
    if target.libc == "glibc":
        allowed = {"libc.so.6", "libpthread.so.0", _GLIBC_LOADERS[target.machine]}
        required = {"libc.so.6"}
    else:
        allowed = required = {f"libc.musl-{target.machine}.so.1"} if shared else set()
    for name in sorted(needed - allowed):
        yield f"needs {name}"
    for name in sorted(required - needed):
        yield f"does not say that it needs {name}"
    tags = {entry.tag.name: entry for entry in binary.dynamic_entries}
    for name in ("RPATH", "RUNPATH"):
        if name in tags:
            yield f"has a {name}"
    if shared and ("SONAME" not in tags or tags["SONAME"].name != target.library):
        yield f"its soname is not {target.library}"
    interpreter = binary.interpreter.rpartition("/")[2]
    expected = _GLIBC_LOADERS[target.machine] if target.libc == "glibc" and not shared else ""
    if interpreter != expected:
        yield f"asks for the loader {interpreter!r}, not {expected!r}"


def _glibc_floor(binary: Any, target: targets.Target) -> Iterator[str]:
    floor = _version(target.zig.partition("-gnu")[2])
    for requirement in binary.symbols_version_requirement:
        for name in sorted(each.name for each in requirement.get_auxiliary_symbols()):
            if not name.startswith("GLIBC_") or _version(name) > floor:
                yield f"needs {name} of {requirement.name}; the floor is {_dotted(floor)}"


def _elf_hardening(binary: Any, *, shared: bool) -> Iterator[str]:
    segments = {segment.type.name: segment for segment in binary.segments}
    flags = {flag.name for entry in binary.dynamic_entries for flag in getattr(entry, "flags", ())}
    if "GNU_RELRO" not in segments:
        yield "has no RELRO segment"
    if not flags & {"BIND_NOW", "NOW"}:
        yield "is not bound at start (NOW)"
    if "GNU_STACK" not in segments or not binary.has_nx:
        yield "has an executable stack"
    if not shared and not ("PIE" in flags and binary.header.file_type.name == "DYN"):
        yield "is not position-independent (PIE)"
    if any(entry.tag.name == "TEXTREL" for entry in binary.dynamic_entries) or "TEXTREL" in flags:
        yield "relocates its own code"
    if binary.has_section(".symtab") or any(name.startswith(".debug") for name in _sections(binary)):
        yield "is not stripped"


def _sections(binary: Any) -> list[str]:
    return [section.name for section in binary.sections]


# ---- Mach-O ----


def _mach_o(binary: Any, data: bytes, target: targets.Target, *, shared: bool) -> Iterator[str]:
    machine = binary.header.cpu_type.name
    if machine != _MACH_O_MACHINES[target.machine]:
        yield f"made for {machine}, not for {target.machine}"
    name = f"@rpath/{target.library}"
    libraries = [library.name for library in binary.libraries]
    if shared and (not libraries or libraries.pop(0) != name):
        yield f"its install name is not {name}"
    if libraries != ["/usr/lib/libSystem.B.dylib"]:
        yield f"needs {', '.join(libraries) or 'nothing'}, not just libSystem"
    command = binary.build_version if binary.has_build_version else binary.version_min
    minimum = (command.minos if binary.has_build_version else command.version) if command else []
    wanted = _version(target.zig.partition("-macos.")[2])
    if tuple(minimum[: len(wanted)]) != wanted:
        yield f"its minimum macOS is {_dotted(minimum) or 'not given'}, not {_dotted(wanted)}"
    if not any(symbol.name == "___stack_chk_fail" for symbol in binary.imported_symbols):
        yield "was compiled without a stack protector"
    flags = {flag.name for flag in binary.header.flags_list}
    if "ALLOW_STACK_EXECUTION" in flags:
        yield "has an executable stack"
    if not shared and "PIE" not in flags:
        yield "is not position-independent (PIE)"
    if binary.has_code_signature:
        signature = binary.code_signature
        yield from _signature(data, signature.data_offset, signature.data_size)
    elif target.machine == "aarch64":
        yield "is not signed: macOS on arm64 would kill it"


def _signature(data: bytes, at: int, size: int) -> Iterator[str]:
    """Check the page hashes of an ad-hoc signature; all numbers in it are big-endian."""
    blob = data[at : at + size]
    magic, _, count = struct.unpack_from(">3I", blob)
    offsets = [struct.unpack_from(">2I", blob, 12 + 8 * i)[1] for i in range(count)]
    directories = [at for at in offsets if struct.unpack_from(">I", blob, at)[0] == 0xFADE0C02]
    if magic != 0xFADE0CC0 or not directories:
        yield "its signature has no code directory"
        return
    start = directories[0]
    hashes, _, _, pages, limit, length, kind, _, page_bits = struct.unpack_from(">5I4B", blob, start + 16)
    if kind != 2 or limit != at:
        yield "its signature does not cover the file with SHA-256"
        return
    for page in range(pages):
        end = min((page + 1) << page_bits, limit)
        digest = hashlib.sha256(data[page << page_bits : end]).digest()
        if blob[start + hashes + page * length :][:length] != digest:
            yield f"its signature does not fit its page {page}"


def check_archive(data: bytes) -> list[str]:
    """Return what is wrong with an archive: the stack protector is all that can be seen in it."""
    return [] if b"__stack_chk_fail" in data else ["was compiled without a stack protector"]


def _dotted(version: Iterable[int]) -> str:
    return ".".join(map(str, version))


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))
