"""What a look at an ELF file tells before the dynamic loader gets it.

The loader maps a file that was cut off as if it were whole, and the process dies of
SIGBUS; and it calls one for another processor "no such file".  Mach-O files are not looked
at: the loader of macOS checks them itself.
"""

from __future__ import annotations

import os
import struct

_MACHINES = {3: "i686", 21: "ppc64", 22: "s390x", 40: "armv7", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_LOAD = 1


def missing_bytes(path: str) -> int:
    """How many bytes the loader would map beyond the end of the file; 0 for other kinds of file.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        header = file.read(64)
        if not _is_elf(header):
            return 0
        wide = header[4] == 2
        (at,) = struct.unpack_from("<Q", header, 32) if wide else struct.unpack_from("<I", header, 28)
        size, count = struct.unpack_from("<HH", header, 54 if wide else 42)
        # type, flags, offset, addresses, size in the file / type, offset, addresses, size
        form, offset, length = ("<IIQQQQ", 2, 5) if wide else ("<IIIII", 1, 4)
        if size < struct.calcsize(form):
            return 0  # nonsense, which the loader refuses
        file.seek(at)
        table = file.read(size * count)
        end = 0
        for number in range(len(table) // size):
            fields = struct.unpack_from(form, table, number * size)
            if fields[0] == _LOAD:
                end = max(end, fields[offset] + fields[length])
        return max(0, end - os.fstat(file.fileno()).st_size)


def machine(path: str) -> str | None:
    """The processor that the file is for; ``None`` for other kinds of file.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        header = file.read(64)
    if not _is_elf(header):
        return None
    (number,) = struct.unpack_from("<H", header, 18)
    return _MACHINES.get(number, f"processor {number}")


def _is_elf(header: bytes) -> bool:
    return len(header) == 64 and header.startswith(b"\x7fELF") and header[5] == 1
