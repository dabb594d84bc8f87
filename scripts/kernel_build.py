"""Kernel sources to archives and programs, for any platform of the table.

Here: the exact zig commands of one platform, as data, and running them.
Not here: the record of what was built (kernel_manifest), the shared library (link_libs).

Every path in a command is relative to the root of the repository and every platform is
named in full: that is what makes the artefacts the same bytes wherever they are built.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import targets
import zig_tool

_COMPILE_FLAGS = (*targets.LANGUAGE_FLAGS, *targets.WARNING_FLAGS, *targets.RELEASE_FLAGS)
_ELF_LINK_FLAGS = ("-s", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,--gc-sections", "-Wl,--build-id=none")
# What this processor has no instruction for (dividing 64-bit numbers, say), and its tables for exceptions,
# would bring in zig's runtime library, and with it a stack protector whose canary is a constant instead of
# libc's. The kernel divides no such numbers and throws nothing; check_artifacts sees whether it is so.
_MACHINE_FLAGS = {"armv7l": ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables")}
_PROGRAM_LINK_FLAGS = {
    "glibc": _ELF_LINK_FLAGS,
    "musl": ("-static", *_ELF_LINK_FLAGS),
    "libSystem": ("-s", "-Wl,-dead_strip"),
}


class Recipe:
    """The commands that make one platform's archive and program, in zig's words.

    Attributes:
        compile: One command per object, independent of each other.
        archive: Objects to the archive.
        program: The program's sources and the archive to the program.
    """

    def __init__(self, target: targets.Target, root: Path) -> None:
        self.work = f".cache/kernel/{target.triple}"
        rooms = targets.sources(root, target.os)
        objects = [f"{self.work}/{PurePosixPath(room).stem}.o" for room in rooms]
        cc = ["cc", "-target", target.zig, *_COMPILE_FLAGS, *_MACHINE_FLAGS.get(target.machine, ())]
        self.compile = [[*cc, "-fPIC", "-c", room, "-o", out] for room, out in zip(rooms, objects)]
        self.archive_file = f"{self.work}/libstdio_bus.a"
        # D: no time stamps, no owners.
        self.archive = ["ar", "rcsD", self.archive_file, *objects]
        self.program_file = f"{self.work}/stdio_bus"
        link = ["-fPIE", "-pie", *_PROGRAM_LINK_FLAGS[target.libc]]
        program = [*targets.program_sources(root), self.archive_file]
        self.program = [*cc, *link, *program, "-o", self.program_file]

    def commands(self) -> list[list[str]]:
        """Return every command, in order."""
        return [*self.compile, self.archive, self.program]


def build(target: targets.Target, zig: list[str]) -> None:
    """Build one platform's archive and program into their places.

    Args:
        target: The platform.
        zig: From `zig_tool.install`.

    Raises:
        zig_tool.ZigError: The sources do not compile or link.
    """
    recipe = Recipe(target, targets.ROOT)
    work = targets.ROOT / recipe.work
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    def run(command: list[str]) -> None:
        zig_tool.run(zig, command, targets.CACHE / "zig")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, recipe.compile))
    run(recipe.archive)
    run(recipe.program)
    _place(recipe.archive_file, target.archive, 0o644)
    _place(recipe.program_file, target.program_file, 0o755)


def _place(built: str, final: str, mode: int) -> None:
    destination = targets.ROOT / final
    destination.parent.mkdir(parents=True, exist_ok=True)
    (targets.ROOT / built).chmod(mode)
    os.replace(targets.ROOT / built, destination)
