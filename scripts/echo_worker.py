"""The fast echo worker of tests and benchmarks, compiled into `.cache`.

Here: compiling tests/workers/echo_worker.c with whatever compiler is at hand, once; and, with
zig, statically for images.
Not here: what it does (its own first lines).
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import kernel_tests
import targets
import zig_tool

SOURCE = targets.ROOT / "tests/workers/echo_worker.c"
_PROGRAM = targets.CACHE / "echo_worker"


class NoCompilerError(Exception):
    """Neither a system compiler nor zig is here."""


def build() -> Path:
    """Return the program's path, compiling it when it is missing or older than its source.

    Raises:
        NoCompilerError: There is nothing to compile it with.
        subprocess.CalledProcessError: It does not compile.
    """
    if _PROGRAM.exists() and _PROGRAM.stat().st_mtime > SOURCE.stat().st_mtime:
        return _PROGRAM
    system, zig = kernel_tests.system_compiler(), zig_tool.find()
    if system is None and zig is None:
        raise NoCompilerError("no C compiler: neither cc, gcc or clang, nor the ziglang package")
    command = shlex.split(system) if system else [*(zig or []), "cc"]
    targets.CACHE.mkdir(exist_ok=True)
    # Moved into place whole: two runs at once do no harm.
    built = _PROGRAM.with_name(f"echo_worker.{os.getpid()}")
    environment = zig_tool.environment(targets.CACHE / "zig")
    subprocess.run([*command, "-std=c11", "-O2", str(SOURCE), "-o", str(built)], check=True, env=environment)
    os.replace(built, _PROGRAM)
    return _PROGRAM


def build_static(target: targets.Target) -> Path:
    """Return the worker for an image: static, for the processor of a musl row.

    Raises:
        zig_tool.ZigError: zig cannot be installed, or refuses it.
    """
    program = targets.CACHE / f"echo_worker.{target.program}"
    if program.exists() and program.stat().st_mtime > SOURCE.stat().st_mtime:
        return program
    targets.CACHE.mkdir(exist_ok=True)
    built = program.with_name(f"{program.name}.{os.getpid()}")
    arguments = ["-std=c11", "-O2", "-static", "-s", str(SOURCE), "-o", str(built)]
    system, here = kernel_tests.system_compiler(), targets.host()
    native = (
        system is not None and here is not None and (here.os, here.machine) == (target.os, target.machine)
    )
    # The system's compiler has its libc at hand; zig would have to build one first.
    if not native or subprocess.run([*shlex.split(system or ""), *arguments]).returncode != 0:
        zig_tool.run(zig_tool.install(), ["cc", "-target", target.zig, *arguments], targets.CACHE / "zig")
    os.replace(built, program)
    return program
