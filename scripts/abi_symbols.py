"""The symbols that a binary offers to others: ELF and Mach-O files, and archives of them.

Here: reading symbol tables, as far as our own artefacts need it: little-endian, one
architecture per file.
Not here: which symbols there should be (abi_rules).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_ARCHIVE = b"!<arch>\n"
_ELF = b"\x7fELF"
_MACH_O = b"\xcf\xfa\xed\xfe"


class SymbolError(Exception):
    """The file is none of those that can be read here."""


def exported(data: bytes) -> set[str]:
    """Name the symbols that are defined and visible from outside.

    Args:
        data: A shared library, an object, or an archive of objects.

    Returns:
        The names as C spells them. Of an archive, what a shared library made from it would
        export: hidden symbols do not count.

    Raises:
        SymbolError: Another kind of file.
    """
    if data.startswith(_ARCHIVE):
        return {name for member in _members(data) for name in exported(member)}
    if data.startswith(_ELF):
        return set(_elf(data))
    if data.startswith(_MACH_O):
        return set(_mach_o(data))
    raise SymbolError(f"neither ELF, 64-bit Mach-O nor an archive: it begins with {data[:8]!r}")


def _members(data: bytes) -> Iterator[bytes]:
    at = len(_ARCHIVE)
    while at + 60 <= len(data):
        name, size = data[at : at + 16].rstrip(), int(data[at + 48 : at + 58])
        body = data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
        if name.startswith(b"#1/"):  # BSD: the name stands before the contents
            length = int(name[3:])
            name, body = body[:length].rstrip(b"\0"), body[length:]
        # Indexes and long names: "/", "/SYM64/", "//", "__.SYMDEF", "__.SYMDEF SORTED".
        if name not in (b"/", b"/SYM64/", b"//") and not name.startswith(b"__.SYMDEF"):
            yield body


def _elf(data: bytes) -> Iterator[str]:
    wide = data[4] == 2
    shared = struct.unpack_from("<H", data, 16)[0] == 3
    (sections_at,) = struct.unpack_from("<Q", data, 40) if wide else struct.unpack_from("<I", data, 32)
    size, count = struct.unpack_from("<HH", data, 58 if wide else 46)
    # name, type, flags, address, offset, size, link, info, alignment, entry size
    form = "<IIQQQQIIQQ" if wide else "<10I"
    sections = [struct.unpack_from(form, data, sections_at + size * i) for i in range(count)]
    symbol = "<IBBHQQ" if wide else "<IIIBBH"
    for section in sections:
        if section[1] != (11 if shared else 2):  # SHT_DYNSYM, SHT_SYMTAB
            continue
        names = sections[section[6]][4]
        for at in range(section[4], section[4] + section[5], section[9]):
            if wide:
                name, info, other, index, _, _ = struct.unpack_from(symbol, data, at)
            else:
                name, _, _, info, other, index = struct.unpack_from(symbol, data, at)
            # Global or weak, defined, neither internal nor hidden.
            if info >> 4 in (1, 2) and index != 0 and other & 3 not in (1, 2):
                yield _text(data, names + name)


def _mach_o(data: bytes) -> Iterator[str]:
    (commands,) = struct.unpack_from("<I", data, 16)
    at = 32
    for _ in range(commands):
        command, size = struct.unpack_from("<II", data, at)
        if command == 2:  # LC_SYMTAB
            symbols, count, names, _ = struct.unpack_from("<4I", data, at + 8)
            for i in range(count):
                name, kind, _, _, _ = struct.unpack_from("<IBBHQ", data, symbols + 16 * i)
                # External, not private, defined, and nothing for debuggers.
                if kind & 0x01 and not kind & 0x10 and kind & 0x0E and not kind & 0xE0:
                    yield _text(data, names + name).removeprefix("_")
        at += size


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
