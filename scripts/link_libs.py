#!/usr/bin/env python3
"""The link step: a committed archive to the shared library that Python loads.

Here: linker flags per libc, and running zig or, with STDIOBUS_CC, the user's own linker.
Not here: compiling (kernel_build); what goes into a wheel (hatch_build.py).

No C source is compiled: the archive holds the machine code already.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Optional

import targets
import zig_tool

IN_PLACE = targets.ROOT / "stdiobus/_libs"

_EXPORTS = "kernel/exports.map"


class LinkError(Exception):
    """The library could not be linked."""


def own_linker() -> Optional[list[str]]:
    """Return the command that STDIOBUS_CC names, None when zig is to link."""
    return shlex.split(os.environ.get("STDIOBUS_CC", "")) or None


def link(target: targets.Target, folder: Path, zig_cache: Path) -> Path:
    """Link one platform's library.

    Args:
        target: The platform; its archive must be there.
        folder: Where the library goes; made when missing.
        zig_cache: Where zig may keep what it builds for itself.

    Returns:
        The library's path.

    Raises:
        LinkError: No archive, no linker, or the linker failed.
    """
    if not (targets.ROOT / target.archive).is_file():
        raise LinkError(f"{target.archive} is missing: build it with scripts/kernel --target {target.triple}")
    folder.mkdir(parents=True, exist_ok=True)
    # Linked beside its place and moved there: a process that has the old library loaded
    # keeps it whole.
    with tempfile.TemporaryDirectory(prefix=".link-", dir=folder) as name:
        work = Path(name)
        built = work / target.library
        linker = own_linker()
        if linker is None:
            _link_with_zig(target, built, zig_cache)
        else:
            _link_with_own(linker, target, built)
        os.replace(built, folder / target.library)
    return folder / target.library


def _link_with_zig(target: targets.Target, built: Path, cache: Path) -> None:
    zig = zig_tool.find()
    if zig is None:
        raise LinkError(
            f"no {targets.ZIG_REQUIREMENT} to link {target.library} with: install it, "
            "or name a C compiler that can link in STDIOBUS_CC"
        )
    cc = ["cc", "-target", target.zig]
    try:
        # libc alone: zig's own runtime library would have to be compiled first, for many seconds, and the
        # archives need nothing of it (kernel_build).
        libraries = ["-nostdlib", "-lc"]
        if target.libc == "musl":
            # zig calls its own musl libc.so, a name that no musl system knows. A stand-in
            # without content gives the library a dependency on the right name.
            stub = str(built.with_name("libc.so"))
            soname = f"-Wl,-soname,libc.musl-{target.machine}.so.1"
            zig_tool.run(zig, [*cc, "-shared", "-nostdlib", soname, target.archive, "-o", stub], cache)
            libraries = ["-nostdlib", "-Wl,--no-as-needed", stub]
        if target.libc == "glibc":
            libraries.append("-Wl,-z,defs")
        zig_tool.run(zig, [*cc, *_flags(target, built), *libraries], cache)
    except zig_tool.ZigError as error:
        raise LinkError(str(error)) from error


def _link_with_own(linker: list[str], target: targets.Target, built: Path) -> None:
    flags = _flags(target, built)
    if target.os == "darwin":
        # What zig reads from its -target, in a Mac compiler's words.
        architecture = "arm64" if target.machine == "aarch64" else target.machine
        minimum = target.zig.partition("-macos.")[2]
        flags = ["-arch", architecture, f"-mmacosx-version-min={minimum}", *flags]
    command = [*linker, *flags]
    try:
        done = subprocess.run(
            command,
            cwd=targets.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise LinkError(f"STDIOBUS_CC: cannot run {linker[0]!r}: {error}") from error
    if done.returncode != 0:
        output = done.stdout.strip()
        raise LinkError(f"{shlex.join(command)}\nfailed with status {done.returncode}:\n{output}")


def _flags(target: targets.Target, built: Path) -> list[str]:
    # Inputs by their path from the root, where linkers are run: a comma in a full path
    # would be cut by -Wl.
    if target.os == "darwin":
        return [
            "-dynamiclib",
            "-install_name",
            f"@rpath/{target.library}",
            "-Wl,-dead_strip",
            "-Wl,-x",
            "-Wl,-headerpad,0x400",
            f"-Wl,-force_load,{target.archive}",
            "-o",
            str(built),
        ]
    return [
        "-shared",
        "-s",
        f"-Wl,-soname,{target.library}",
        "-Wl,-z,relro",
        "-Wl,-z,now",
        "-Wl,--gc-sections",
        "-Wl,--build-id=none",
        f"-Wl,--version-script={_EXPORTS}",
        "-Wl,--whole-archive",
        target.archive,
        "-Wl,--no-whole-archive",
        "-o",
        str(built),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", metavar="TRIPLE", help="default: this machine")
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=IN_PLACE, help="default: in place")
    arguments = parser.parse_args()
    try:
        target = targets.find(arguments.target) if arguments.target else targets.host()
        if target is None:
            raise targets.TargetError("this system is not in the table: name another one with --target")
        if own_linker() is None:
            zig_tool.install()
        print(link(target, arguments.output, targets.CACHE / "zig"))
        return 0
    except (targets.TargetError, zig_tool.ZigError, LinkError, OSError) as error:
        print(f"scripts/link_libs.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
