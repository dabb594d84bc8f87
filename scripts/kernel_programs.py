"""Programs that embed the bus: compile and run every file of `kernel/tests/programs`.

Here: C and C++ against this machine's committed archive and the public header, nothing else.
Not here: the programs; the unit tests, which are linked with the rooms (kernel_tests).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import echo_worker
import kernel_tests
import targets
import zig_tool

_WORK = targets.CACHE / "kernel-programs"
_PROGRAMS = targets.ROOT / "kernel/tests/programs"


def run() -> None:
    """Build and run all programs, with the echo worker for a worker.

    Raises:
        kernel_tests.KernelTestError: A program does not compile or fails.
        echo_worker.NoCompilerError: The worker cannot be compiled.
    """
    target = targets.host()
    if target is None:
        print("skipped: there is no archive for this system")
        return
    shutil.rmtree(_WORK, ignore_errors=True)
    _WORK.mkdir(parents=True)
    try:
        # From the root, where programs run: no character in it needs an escape.
        worker = echo_worker.build().relative_to(targets.ROOT).as_posix()
    except subprocess.CalledProcessError as error:
        raise kernel_tests.KernelTestError(str(error)) from error
    sources = sorted([*_PROGRAMS.glob("*.c"), *_PROGRAMS.glob("*.cpp")])
    programs = [_build(source, target) for source in sources]
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        failed = [p.name for p in programs if not kernel_tests.passes(p, worker, f"{folder}/bus.sock")]
    if failed or not programs:
        raise kernel_tests.KernelTestError(f"{len(failed)} of {len(programs)} failed: {', '.join(failed)}")


def _build(source: Path, target: targets.Target) -> Path:
    if source.suffix == ".c":
        command = [*kernel_tests.plain_compiler(), *targets.LANGUAGE_FLAGS]
    else:
        command = [*_cpp_compiler(), "-std=c++11", "-Ikernel/include"]
    program = _WORK / source.stem
    kernel_tests.build([*command, *targets.WARNING_FLAGS, str(source), target.archive, "-o", str(program)])
    return program


def _cpp_compiler() -> list[str]:
    name = os.environ.get("CXX") or next((n for n in ("c++", "g++", "clang++") if shutil.which(n)), None)
    return [*zig_tool.install(), "c++"] if name is None else shlex.split(name)
