"""The seven platforms: THE table, and what is derived from it without running a tool.

Here: triples, zig targets, folder names, wheel tags, compile flags, which sources belong
to which operating system, where artefacts lie, and which row this machine is.
Not here: building (kernel_build), linking (link_libs), checking (kernel_manifest).
"""

from __future__ import annotations

import os
import platform
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

ZIG_VERSION = "0.17.1"
ZIG_REQUIREMENT = f"ziglang=={ZIG_VERSION}"

# The value of STDIOBUS_TARGET that means all programs and no library.
UNIVERSAL = "universal"


class TargetError(Exception):
    """The name of a platform that is not in the table."""


@dataclass(frozen=True)
class Target:
    """One platform.

    Attributes:
        triple: Name of the platform, and of its folder in `kernel/prebuilds`.
        zig: The same for `zig cc -target`, with the oldest libc or macOS that must do.
        program: Folder of its program in `kernel/dist`.
        wheel: Platform tag of its wheel.
        os: `linux` or `darwin`.
        machine: The processor as `machine_name` spells it.
        libc: `glibc`, `musl` or `libSystem`; also decides how things are linked.
    """

    triple: str
    zig: str
    program: str
    wheel: str
    os: str
    machine: str
    libc: str

    @property
    def archive(self) -> str:
        """The archive's path from the root of the repository."""
        return f"kernel/prebuilds/{self.triple}/libstdio_bus.a"

    @property
    def program_file(self) -> str:
        """The program's path from the root of the repository."""
        return f"{DIST}/{self.program}/stdio_bus"

    @property
    def library(self) -> str:
        """File name of the shared library."""
        return "libstdio_bus.dylib" if self.os == "darwin" else "libstdio_bus.so"


TARGETS = (
    Target(
        triple="x86_64-unknown-linux-gnu",
        zig="x86_64-linux-gnu.2.17",
        program="linux-amd64",
        wheel="manylinux_2_17_x86_64.manylinux2014_x86_64",
        os="linux",
        machine="x86_64",
        libc="glibc",
    ),
    Target(
        triple="aarch64-unknown-linux-gnu",
        zig="aarch64-linux-gnu.2.17",
        program="linux-arm64",
        wheel="manylinux_2_17_aarch64.manylinux2014_aarch64",
        os="linux",
        machine="aarch64",
        libc="glibc",
    ),
    Target(
        triple="armv7-unknown-linux-gnueabihf",
        zig="arm-linux-gnueabihf.2.17",
        program="linux-armv7",
        wheel="manylinux_2_17_armv7l.manylinux2014_armv7l",
        os="linux",
        machine="armv7l",
        libc="glibc",
    ),
    Target(
        triple="x86_64-unknown-linux-musl",
        zig="x86_64-linux-musl",
        program="linux-musl-amd64",
        wheel="musllinux_1_2_x86_64",
        os="linux",
        machine="x86_64",
        libc="musl",
    ),
    Target(
        triple="aarch64-unknown-linux-musl",
        zig="aarch64-linux-musl",
        program="linux-musl-arm64",
        wheel="musllinux_1_2_aarch64",
        os="linux",
        machine="aarch64",
        libc="musl",
    ),
    Target(
        triple="x86_64-apple-darwin",
        zig="x86_64-macos.10.13",
        program="darwin-amd64",
        wheel="macosx_10_13_x86_64",
        os="darwin",
        machine="x86_64",
        libc="libSystem",
    ),
    Target(
        triple="aarch64-apple-darwin",
        zig="aarch64-macos.11.0",
        program="darwin-arm64",
        wheel="macosx_11_0_arm64",
        os="darwin",
        machine="aarch64",
        libc="libSystem",
    ),
)

DIST = "kernel/dist"
LAUNCHER = f"{DIST}/stdio_bus"
CHECKSUMS = f"{DIST}/checksums.sha256"
MANIFEST = "kernel/prebuilds/manifest.json"

# What every compiler is told, whatever it builds the kernel for.
LANGUAGE_FLAGS = ("-std=c11", "-Ikernel/include")
WARNING_FLAGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
# What makes the artefacts: no trace of the machine (-g0), no sanitizer that zig adds by
# itself, the usual hardening.
RELEASE_FLAGS = (
    "-O2",
    "-g0",
    "-fvisibility=hidden",
    "-fno-sanitize=undefined",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
)

# Rooms for one operating system; all others are compiled everywhere.
SYSTEM_ROOMS = {
    "linux": ("poller_epoll.c", "spawn_linux.c"),
    "darwin": ("poller_kqueue.c", "spawn_darwin.c"),
}


def sources(root: Path, system: str) -> list[str]:
    """List the kernel's rooms for one operating system.

    Args:
        root: Root of the repository.
        system: `linux` or `darwin`.

    Returns:
        Sorted paths from the root, with `/`.
    """
    foreign = {room for name, rooms in SYSTEM_ROOMS.items() if name != system for room in rooms}
    rooms = sorted(path.name for path in (root / "kernel/src").glob("*.c"))
    return [f"kernel/src/{room}" for room in rooms if room not in foreign]


def program_sources(root: Path) -> list[str]:
    """List what the program consists of beside the archive, as `sources` does."""
    return sorted(path.relative_to(root).as_posix() for path in (root / "kernel/cli").glob("*.c"))


def find(triple: str) -> Target:
    """Return the row of a triple.

    Raises:
        TargetError: There is none; the message lists those there are.
    """
    for target in TARGETS:
        if target.triple == triple:
            return target
    raise TargetError(f"unknown platform {triple!r}; known: {', '.join(t.triple for t in TARGETS)}")


def machine_name(machine: str, pointer_bytes: int) -> str:
    """Name the processor that this process uses, which may be half of the machine's.

    Args:
        machine: As `uname -m` says.
        pointer_bytes: Size of a pointer here: a 64-bit ARM kernel often carries a 32-bit system.
    """
    name = {"amd64": "x86_64", "arm64": "aarch64", "armv8l": "armv7l"}.get(machine.lower(), machine.lower())
    if pointer_bytes == 4 and name in ("x86_64", "aarch64"):
        return {"x86_64": "i686", "aarch64": "armv7l"}[name]
    return name


def linux_libc() -> str:
    """Name the libc that this Python runs on: `glibc` or `musl`."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):  # musl knows no such name
        version = ""
    return "glibc" if version.startswith("glibc") else "musl"


def host() -> Optional[Target]:
    """Return the row of the system that this Python runs on, None when it has no row."""
    system = platform.system().lower()
    machine = machine_name(platform.machine(), struct.calcsize("P"))
    libc = linux_libc() if system == "linux" else "libSystem"
    for target in TARGETS:
        if (target.os, target.machine, target.libc) == (system, machine, libc):
            return target
    return None
