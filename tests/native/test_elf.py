"""A look at a file: whether it is whole, and for which processor."""

from __future__ import annotations

import struct
import sys

import pytest

import targets
from stdiobus.native import elf

ELF = [target for target in targets.TARGETS if target.os == "linux"]


@pytest.mark.parametrize("target", ELF, ids=lambda target: target.triple)
def test_whole_and_cut_off(tmp_path, target):
    data = (targets.ROOT / target.program_file).read_bytes()
    file = tmp_path / "file"
    file.write_bytes(data)
    assert elf.missing_bytes(str(file)) == 0
    assert elf.machine(str(file)) == {"armv7l": "armv7"}.get(target.machine, target.machine)
    for size in (64 + 56 * 12, len(data) // 2, len(data) * 9 // 10):
        file.write_bytes(data[:size])
        assert size + elf.missing_bytes(str(file)) <= len(data)
        assert elf.missing_bytes(str(file)) > 0


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"text " * 20, (b"\x7fELF\x02\x02" + bytes(60))])
def test_other_files_are_left_to_the_loader(tmp_path, content):
    file = tmp_path / "file"
    file.write_bytes(content)
    assert elf.missing_bytes(str(file)) == 0
    assert elf.machine(str(file)) is None


def test_an_unknown_processor_and_no_program_header(tmp_path):
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<H", header, 18, 999)
    (tmp_path / "file").write_bytes(header)
    assert elf.machine(str(tmp_path / "file")) == "processor 999"
    assert elf.missing_bytes(str(tmp_path / "file")) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs ELF programs")
def test_the_library_of_this_process_is_whole(loaded):
    assert elf.missing_bytes(loaded.path) == 0
