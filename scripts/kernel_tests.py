"""The kernel's unit tests: compile and run every `kernel/tests/test_*.c`.

Here: choosing a compiler (the system's with sanitizers, else zig without), building each
test as a program of its own with all rooms of this operating system, running them. Other
C files in kernel/tests are linked with every test, `fake_NAME.c` in place of room `NAME.c`
except in `test_NAME.c`.
Not here: the tests; the programs in sub-folders (kernel_programs).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import targets
import zig_tool

_WORK = targets.CACHE / "kernel-tests"
_TESTS = targets.ROOT / "kernel/tests"
_TIMEOUT_SEC = 300

# No warnings: sanitizers cause false ones, and scripts/lint compiles the kernel with all of them.
_FLAGS = (*targets.LANGUAGE_FLAGS, "-Ikernel/src", "-Ikernel/tests", "-g", "-O1")
SANITIZE = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)
_PLAIN = ("-fno-sanitize=undefined", "-UNDEBUG")
# What a child does between fork and exec is left out: it has the parent's memory.
_VALGRIND = (
    "valgrind",
    "-q",
    "--leak-check=full",
    "--track-fds=yes",
    "--child-silent-after-fork=yes",
    "--error-exitcode=9",
)


class KernelTestError(Exception):
    """The tests cannot be built, or some of them failed."""


@dataclass(frozen=True)
class Compiler:
    """How to compile a test: command, flags of its own, what to call it; and what runs it."""

    command: list[str]
    flags: tuple[str, ...]
    description: str
    runner: tuple[str, ...] = ()


def system_compiler() -> Optional[str]:
    """Return the system's C compiler: CC, else the first that is there, else None."""
    if os.environ.get("CC"):
        return os.environ["CC"]
    return next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def plain_compiler() -> list[str]:
    """Return the start of a command line of the system's compiler; installs zig where there is none."""
    name = system_compiler()
    return [*zig_tool.install(), "cc"] if name is None else shlex.split(name)


def choose_compiler() -> Compiler:
    """Prefer a system compiler whose sanitizers work; installs zig where there is none."""
    name = system_compiler()
    if name is None:
        reason = "no system compiler"
    elif _sanitizers_work(shlex.split(name)):
        return Compiler(shlex.split(name), SANITIZE, f"{name}, address and undefined behaviour sanitizers")
    else:
        reason = f"{name} has no working sanitizers"
    return Compiler([*zig_tool.install(), "cc"], _PLAIN, f"zig cc, without sanitizers: {reason}")


def valgrind() -> Compiler:
    """Return the system's compiler without sanitizers, for programs that valgrind runs.

    Raises:
        KernelTestError: There is no valgrind.
    """
    if not shutil.which("valgrind"):
        raise KernelTestError("there is no valgrind (on Debian: apt-get install valgrind)")
    command = plain_compiler()
    return Compiler(command, _PLAIN, f"{shlex.join(command)}, run by valgrind", _VALGRIND)


@dataclass(frozen=True)
class Rooms:
    """The rooms of this operating system and the helpers of the tests, compiled.

    Attributes:
        compiler: What compiled them.
        work: The folder for what is built.
        objects: To link with every test.
    """

    compiler: Compiler
    work: Path
    objects: list[str]

    def compile(self, source: Path) -> str:
        """Compile one more source; return its object."""
        return _compile(self.compiler, source, self.work)

    def link(self, source: Path, *more: str) -> Path:
        """Make a program of a source and of whatever else the linker is to be told."""
        program = self.work / source.stem
        inputs = [self.compile(source), *more, *self._objects_for(source)]
        build([*self.compiler.command, *self.compiler.flags, *inputs, "-o", str(program)])
        return program

    def _objects_for(self, source: Path) -> list[str]:
        """The test of a room that is faked for all others gets the room itself."""
        name = source.stem[len("test_") :]
        fake = _object(_TESTS / f"fake_{name}.c", self.work)
        if not source.stem.startswith("test_") or fake not in self.objects:
            return self.objects
        room = self.compile(targets.ROOT / f"kernel/src/{name}.c")
        return [room, *(item for item in self.objects if item != fake)]


def compile_rooms(compiler: Compiler, work: Path = _WORK) -> Rooms:
    """Compile what every test is linked with, in an emptied folder.

    Raises:
        KernelTestError: It does not compile.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    helpers = sorted(set(_TESTS.glob("*.c")) - set(_TESTS.glob("test_*.c")))
    replaced = {helper.name[len("fake_") :] for helper in helpers if helper.name.startswith("fake_")}
    rooms = [targets.ROOT / room for room in targets.sources(targets.ROOT, sys.platform)]
    rooms = [room for room in rooms if room.name not in replaced]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = pool.map(lambda source: _compile(compiler, source, work), [*rooms, *helpers])
        return Rooms(compiler, work, list(objects))


def run(rooms: Rooms) -> None:
    """Build and run all tests.

    Raises:
        KernelTestError: A test does not compile or fails; all others were run, too.
    """
    tests = sorted(_TESTS.glob("test_*.c"))
    if not tests:
        raise KernelTestError("kernel/tests has no test_*.c")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        programs = list(pool.map(rooms.link, tests))
    failed = [p.name for p in programs if not passes(p, runner=rooms.compiler.runner)]
    if failed:
        raise KernelTestError(f"{len(failed)} of {len(programs)} failed: {', '.join(failed)}")
    print(f"{len(programs)} test programs passed")


def _sanitizers_work(command: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "try.c"), Path(folder, "try")
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        for trial in ([*command, *SANITIZE, str(source), "-o", str(program)], [str(program)]):
            try:
                done = subprocess.run(trial, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            except OSError:
                return False
            if done.returncode != 0:
                return False
    return True


def _object(source: Path, work: Path) -> str:
    return str(work / f"{source.parent.name}-{source.stem}.o")


def _compile(compiler: Compiler, source: Path, work: Path) -> str:
    out = _object(source, work)
    build([*compiler.command, *_FLAGS, *compiler.flags, "-c", str(source), "-o", out])
    return out


def build(command: list[str]) -> None:
    """Run a compiler in the root of the repository.

    Raises:
        KernelTestError: It failed; the message has the command and what it printed.
    """
    done = subprocess.run(
        command,
        cwd=targets.ROOT,
        env=zig_tool.environment(targets.CACHE / "zig"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        raise KernelTestError(f"{shlex.join(command)}\n{done.stdout.strip()}")


def passes(program: Path, *arguments: str, runner: tuple[str, ...] = ()) -> bool:
    """Run a test program, tell how it ended, and return whether that was well."""
    environment = {"UBSAN_OPTIONS": "print_stacktrace=1", **os.environ}
    try:
        command = [*runner, str(program), *arguments]
        status = subprocess.run(command, cwd=targets.ROOT, env=environment, timeout=_TIMEOUT_SEC).returncode
    except subprocess.TimeoutExpired:
        print(f"FAILED {program.name} (still running after {_TIMEOUT_SEC} s)", flush=True)
        return False
    print(f"ok     {program.name}" if status == 0 else f"FAILED {program.name} (status {status})", flush=True)
    return status == 0
