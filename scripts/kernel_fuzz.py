"""The kernel's fuzz targets: build `kernel/fuzz/fuzz_*.c`, replay their corpora, fuzz.

Here: the choice between clang's libFuzzer and the built-in driver, and their command lines.
Not here: compiling the rooms (kernel_tests), the properties (the targets themselves).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Optional

import kernel_tests
import targets

_SOURCES = targets.ROOT / "kernel/fuzz"
_WORK = targets.CACHE / "kernel-fuzz"
_DICTIONARY = _SOURCES / "fuzz.dict"
# A sanitizer's report ends in SIGABRT, which makes the driver keep the input.
_OPTIONS = {"ASAN_OPTIONS": "abort_on_error=1", "UBSAN_OPTIONS": "abort_on_error=1:print_stacktrace=1"}


def names() -> list[str]:
    """List the targets: NAME of each `fuzz_NAME.c`."""
    return sorted(path.stem[len("fuzz_") :] for path in _SOURCES.glob("fuzz_*.c"))


def replay(rooms: kernel_tests.Rooms) -> None:
    """Run every file of every corpus, without mutation.

    Raises:
        kernel_tests.KernelTestError: A target does not compile, or a property does not hold.
    """
    _finish({name: _drive(program, name, []) for name, program in _with_driver(rooms, names()).items()})


def fuzz(chosen: Iterable[str], seconds: int, seed: int) -> None:
    """Fuzz the targets one after the other, each for so long.

    Raises:
        kernel_tests.KernelTestError: As for `replay`; the message names the input's file.
        zig_tool.ZigError: There is no compiler, and zig cannot be installed.
    """
    compiler = kernel_tests.choose_compiler()
    libfuzzer = _libfuzzer(compiler)
    rooms = kernel_tests.compile_rooms(libfuzzer or compiler, _WORK)
    print(f"compiler: {rooms.compiler.description}", flush=True)
    programs = _with_libfuzzer(rooms, chosen) if libfuzzer else _with_driver(rooms, chosen)
    run = _run_libfuzzer if libfuzzer else _drive
    passed = {}
    for name, program in programs.items():
        print(f"{name}: {seconds} s, seed {seed}", flush=True)
        time = f"-max_total_time={seconds}" if libfuzzer else f"-seconds={seconds}"
        passed[name] = run(program, name, [time, f"-seed={seed}", f"-dict={_DICTIONARY}"])
    _finish(passed)


def _with_driver(rooms: kernel_tests.Rooms, chosen: Iterable[str]) -> dict[str, Path]:
    driver = rooms.compile(_SOURCES / "driver.c")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        programs = {name: pool.submit(rooms.link, _SOURCES / f"fuzz_{name}.c", driver) for name in chosen}
        return {name: program.result() for name, program in programs.items()}


def _with_libfuzzer(rooms: kernel_tests.Rooms, chosen: Iterable[str]) -> dict[str, Path]:
    return {name: rooms.link(_SOURCES / f"fuzz_{name}.c", "-fsanitize=fuzzer") for name in chosen}


def _libfuzzer(compiler: kernel_tests.Compiler) -> Optional[kernel_tests.Compiler]:
    """Return clang with its coverage flag when it can link a libFuzzer program, else None."""
    command = compiler.command if "clang" in Path(compiler.command[0]).name else ["clang"]
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "try.c"), Path(folder, "try")
        source.write_text(
            "int LLVMFuzzerTestOneInput(const char *d, long n) { return !d && n; }\n", encoding="utf-8"
        )
        trial = [*command, "-fsanitize=fuzzer,address,undefined", str(source), "-o", str(program)]
        try:
            done = subprocess.run(trial, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError:
            return None
    if done.returncode != 0:
        return None
    flags = (*kernel_tests.SANITIZE, "-fsanitize=fuzzer-no-link")
    return replace(compiler, command=command, flags=flags, description=f"{shlex.join(command)}, libFuzzer")


def _run_libfuzzer(program: Path, name: str, options: list[str]) -> bool:
    found = targets.CACHE / "fuzz" / name  # what it learns stays there for the next run
    found.mkdir(parents=True, exist_ok=True)
    artifacts = f"-artifact_prefix={_crash(name)}."
    return _run([str(program), *options, artifacts, str(found), str(_SOURCES / "corpus" / name)])


def _drive(program: Path, name: str, options: list[str]) -> bool:
    crash = _crash(name)
    passed = _run([str(program), *options, f"-crash={crash}", str(_SOURCES / "corpus" / name)])
    if not passed and crash.exists():
        print(f"the input: {crash.relative_to(targets.ROOT)}", flush=True)
    return passed


def _crash(name: str) -> Path:
    crash = targets.CACHE / "fuzz" / f"crash-{name}"
    crash.parent.mkdir(parents=True, exist_ok=True)
    crash.unlink(missing_ok=True)
    return crash


def _run(command: list[str]) -> bool:
    return subprocess.run(command, cwd=targets.ROOT, env={**os.environ, **_OPTIONS}).returncode == 0


def _finish(passed: dict[str, bool]) -> None:
    failed = [name for name, good in passed.items() if not good]
    if failed:
        raise kernel_tests.KernelTestError(f"{len(failed)} of {len(passed)} failed: {', '.join(failed)}")
