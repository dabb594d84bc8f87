"""Each rule of a binary sees the binary that breaks it."""

from __future__ import annotations

import dataclasses
import struct
import zipfile

import lief
import pytest

import binary_rules
import targets
import wheel_rules

GLIBC = targets.find("x86_64-unknown-linux-gnu")
MUSL = targets.find("x86_64-unknown-linux-musl")
MAC = targets.find("aarch64-apple-darwin")
OLD_MAC = targets.find("x86_64-apple-darwin")


@pytest.fixture(scope="session")
def library(wheel):
    def read(target):
        with zipfile.ZipFile(wheel(target.triple)) as archive:
            return archive.read(wheel_rules.library_member(target))

    return read


def program(target):
    return (targets.ROOT / target.program_file).read_bytes()


def replaced(data, old, new):
    assert old in data
    assert len(old) == len(new)
    return data.replace(old, new)


def dynamic(data, tag, value, *, as_tag, as_value):
    return replaced(data, struct.pack("<QQ", tag, value), struct.pack("<QQ", as_tag, as_value))


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda target: target.triple)
def test_what_is_shipped_breaks_none(library, target):
    assert binary_rules.check_library(library(target), target) == []
    assert binary_rules.check_program(program(target), target) == []
    assert binary_rules.check_archive((targets.ROOT / target.archive).read_bytes()) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"\0libpthread.so.0\0", b"\0libpthroad.so.0\0", "needs libpthroad.so.0"),
        (b"\0libc.so.6\0", b"\0libm.so.6\0", "does not say that it needs libc.so.6"),
        (b"libstdio_bus.so\0", b"libstdio_bus_so\0", "its soname is not libstdio_bus.so"),
        (b"\0__stack_chk_fail\0", b"\0__stack_chk_fall\0", "has no stack protector, or not libc's"),
        (b"\x52\xe5\x74\x64", b"\0\0\0\0", "has no RELRO segment"),
        (b"\x51\xe5\x74\x64\x06", b"\x51\xe5\x74\x64\x07", "has an executable stack"),
        (b"\0.gnu.version\0", b"\0.debug_lines\0", "is not stripped"),
    ],
)
def test_elf(library, old, new, problem):
    if len(old) != len(new):  # a name that is shorter: the end of the longer one
        new = new[:-1].ljust(len(old), b"\0")
    assert problem in binary_rules.check_library(replaced(library(GLIBC), old, new), GLIBC)


def test_elf_dynamic_entries(library):
    lazy = dynamic(library(GLIBC), 30, 8, as_tag=30, as_value=0)
    lazy = dynamic(lazy, 0x6FFFFFFB, 1, as_tag=0x6FFFFFFB, as_value=0)
    assert binary_rules.check_library(lazy, GLIBC) == ["is not bound at start (NOW)"]
    fixed = dynamic(program(GLIBC), 0x6FFFFFFB, 0x08000001, as_tag=0x6FFFFFFB, as_value=1)
    assert binary_rules.check_program(fixed, GLIBC) == ["is not position-independent (PIE)"]
    writes = dynamic(library(GLIBC), 30, 8, as_tag=22, as_value=0)
    assert binary_rules.check_library(writes, GLIBC) == ["relocates its own code"]
    binary = lief.ELF.parse(list(library(GLIBC)))
    [soname] = [entry for entry in binary.dynamic_entries if entry.tag.name == "SONAME"]
    runpath = dynamic(library(GLIBC), 14, soname.value, as_tag=29, as_value=soname.value)
    assert "has a RUNPATH" in binary_rules.check_library(runpath, GLIBC)


def test_the_loader_of_a_program():
    foreign = replaced(program(GLIBC), b"/lib64/ld-linux-x86-64.so.2\0", b"/lib64/ld-linux-x86-64.so.9\0")
    problems = binary_rules.check_program(foreign, GLIBC)
    assert problems == ["asks for the loader 'ld-linux-x86-64.so.9', not 'ld-linux-x86-64.so.2'"]


def test_the_floor_of_glibc(library):
    older = dataclasses.replace(GLIBC, zig="x86_64-linux-gnu.2.16")
    problems = binary_rules.check_library(library(GLIBC), older)
    assert problems == ["needs GLIBC_2.17 of libc.so.6; the floor is 2.16"]


def test_the_floor_of_musl(library):
    newer = replaced(library(MUSL), b"\0getpid\0", b"\0gettid\0")
    assert binary_rules.check_library(newer, MUSL) == ["uses gettid, which musl 1.2.0 does not have"]


def test_the_name_of_musl(library):
    name = b"libc.musl-x86_64.so.1\0"
    plain = replaced(library(MUSL), name, b"libc.so\0".ljust(len(name), b"\0"))
    assert binary_rules.check_library(plain, MUSL) == [
        "needs libc.so",
        "does not say that it needs libc.musl-x86_64.so.1",
    ]
    assert "needs libc.so.6" in binary_rules.check_program(program(GLIBC), MUSL)


@pytest.mark.parametrize("target", [GLIBC, MAC], ids=lambda target: target.triple)
def test_another_machine(library, target):
    other = dataclasses.replace(target, machine="x86_64" if target is MAC else "aarch64")
    problems = binary_rules.check_library(library(target), other)
    assert any(problem.startswith("made for ") for problem in problems)
    assert binary_rules.check_library(b"text", target)[0].startswith("not a")


@pytest.mark.parametrize("path", [b"/home/me/kernel", b"../kernel/src/bus.c", b"/tmp/zig/o/x.o"])
def test_a_path_of_the_build_machine(library, path):
    [problem] = binary_rules.check_library(library(GLIBC) + b"\0" + path + b"\0", GLIBC)
    assert problem == f"names a path of the machine it was built on: {path.decode()}"


def test_size(library):
    problems = binary_rules.check_library(library(GLIBC).ljust(200_001, b"\0"), GLIBC)
    assert problems == ["200,001 bytes, more than 200,000"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"@rpath/libstdio_bus", b"@xpath/libstdio_bus", "its install name is not @rpath/libstdio_bus.dylib"),
        (
            b"/usr/lib/libSystem",
            b"/usr/lib/libXystem",
            "needs /usr/lib/libXystem.B.dylib, not just libSystem",
        ),
        (b"___stack_chk_fail\0", b"___stack_chk_fall\0", "was compiled without a stack protector"),
    ],
)
def test_mach_o(library, old, new, problem):
    assert problem in binary_rules.check_library(replaced(library(OLD_MAC), old, new), OLD_MAC)


def test_mach_o_flags():
    def with_flags(change):
        data = program(MAC)
        (flags,) = struct.unpack_from("<I", data, 24)
        return data[:24] + struct.pack("<I", change(flags)) + data[28:]

    fixed = binary_rules.check_program(with_flags(lambda flags: flags & ~0x200000), MAC)
    assert "is not position-independent (PIE)" in fixed
    writable = binary_rules.check_program(with_flags(lambda flags: flags | 0x20000), MAC)
    assert "has an executable stack" in writable


@pytest.mark.parametrize("target", [MAC, OLD_MAC], ids=lambda target: target.triple)
def test_the_oldest_macos(library, target):
    other = dataclasses.replace(target, zig="aarch64-macos.12.1")
    [problem] = binary_rules.check_library(library(target), other)
    assert problem.startswith("its minimum macOS is 1")
    assert problem.endswith(", not 12.1")


def test_the_signature(library):
    changed = bytearray(library(MAC))
    changed[0x9000] ^= 1
    assert binary_rules.check_library(bytes(changed), MAC) == ["its signature does not fit its page 2"]
    longer = bytearray(library(MAC))
    at = longer.index(bytes.fromhex("fade0c02")) + 32  # codeLimit
    longer[at + 3] ^= 1
    assert "its signature does not cover the file with SHA-256" in binary_rules.check_library(
        bytes(longer), MAC
    )
    empty = replaced(library(MAC), bytes.fromhex("fade0c02"), bytes(4))
    assert "its signature has no code directory" in binary_rules.check_library(empty, MAC)
    unsigned = struct.pack("<II", 0x1D, 16)  # LC_CODE_SIGNATURE, turned into LC_FUNCTION_STARTS
    removed = library(MAC).replace(unsigned, struct.pack("<II", 0x26, 16), 1)
    assert "is not signed: macOS on arm64 would kill it" in binary_rules.check_library(removed, MAC)


def test_an_archive_without_a_stack_protector():
    assert binary_rules.check_archive(b"!<arch>\n") == ["was compiled without a stack protector"]
