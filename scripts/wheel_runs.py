"""Wheels as their users have them: installed by pip, loaded, and put through the smoke suite.

Here: which runs there are, running them, and the account of them. A run that this machine cannot make is
named with its reason and never counted as passed.
Not here: where they are run (wheel_places), what the suite checks (tests/smoke), what can be told of a
wheel without running it (check_artifacts).
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import echo_worker
import kernel_tests
import targets
import wheel_places as places
import zig_tool

LEVELS = ("quick", "all")

_OLDEST = (3, 9)
_MUSL_LOADER = "lib/ld-musl-{machine}.so.1"


class Wheels:
    """The wheels of a folder.

    Args:
        folder: What scripts/wheels has filled.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, tag: str) -> Path:
        """Return the wheel with a platform tag, `any` for the universal one.

        Raises:
            places.FailedError: There is none, or more than one.
        """
        found = list(self.folder.glob(f"stdiobus-*-py3-none-{tag}.whl"))
        if len(found) != 1:
            raise places.FailedError(f"{len(found)} wheels for {tag} in {self.folder}: run scripts/wheels")
        return found[0]

    def unpack(self, triple: str, work: Path) -> tuple[Path, Path]:
        """Return library and program out of a platform's wheel."""
        target = targets.find(triple)
        with zipfile.ZipFile(self.path(target.wheel)) as wheel:
            wheel.extractall(work)
        inside = work / "stdiobus/_libs"
        program = inside / "dist" / target.program / "stdio_bus"
        program.chmod(0o755)
        return inside / target.library, program


@dataclass(frozen=True)
class Run:
    """One thing to prove.

    Attributes:
        name: What is proven.
        level: The first of LEVELS that it belongs to.
        action: Proves it in an empty folder, and returns the account in a line.
    """

    name: str
    level: str
    action: Callable[[Path], str]


# ---- What is done in a place


def install(place: places.Place, requirement: str, tag: str) -> None:
    """Let the place's own pip choose and install, and see that it is the wheel with the tag."""
    find_links = ("--find-links", place.wheels)
    place.python("-m", "pip", "install", "--no-compile", "--force-reinstall", *find_links, requirement)
    ask = "import importlib.metadata as m; print(m.distribution('stdiobus').read_text('WHEEL'))"
    chosen = [line[5:] for line in place.python("-I", "-c", ask).splitlines() if line.startswith("Tag: ")]
    # A wheel may have a tag more, for a pip of another age.
    wanted = {f"py3-none-{each}" for each in tag.split(".")}
    if not wanted & set(chosen):
        raise places.FailedError(f"pip has installed {chosen}, not one of {sorted(wanted)}")


def smoke(place: places.Place, *arguments: str) -> str:
    """Run the suite; return the interpreter it names, and its last line."""
    printed = place.python("-I", place.smoke, *arguments)
    lines = [line for line in printed.splitlines() if line]
    counts = [line for line in lines if line.endswith(" passed, 0 failed")]
    if len(counts) != 1:
        raise places.FailedError(f"{printed}\nit does not say how many checks have passed")
    return f"{lines[0]}: {counts[0]}"


def _counts(account: str) -> str:
    return account.rpartition(": ")[2]


def platform_wheel(place: places.Place, tag: str) -> str:
    """The wheel that pip chooses, native and then the fallback."""
    install(place, "stdiobus", tag)
    return smoke(place, "native")


def universal_wheel(place: places.Place, wheels: Wheels) -> str:
    """The wheel without a library."""
    install(place, f"{place.wheels}/{wheels.path('any').name}", "any")
    return smoke(place, "subprocess")


# ---- The runs


def plan(wheels: Wheels, level: str) -> list[Run]:
    """List what is to be proven."""
    here = targets.host()
    runs = [] if here is None else list(_local(wheels, here))
    runs += [*_systems(wheels, here), *_musl(wheels, here)]
    runs += [_on_a_mac(target) for target in targets.TARGETS if target.os == "darwin" and target is not here]
    return [run for run in runs if level == "all" or run.level == "quick"]


def _local(wheels: Wheels, here: targets.Target) -> list[Run]:
    """Every Python of this machine; PyPy, or why there is none; free-threaded."""
    found = places.interpreters(_OLDEST)

    def both(interpreter: places.Interpreter, work: Path) -> str:
        place = places.environment_of(interpreter, wheels.folder, work)
        account = platform_wheel(place, here.wheel)
        return f"{account}; universal wheel: {_counts(universal_wheel(place, wheels))}"

    def free_threaded(work: Path) -> str:
        places.build_free_threaded()
        [built] = [each for each in places.interpreters(_OLDEST) if each.free_threaded]
        return both(built, work)

    runs = [Run(each.name, "quick", functools.partial(both, each)) for each in found]
    if not any(each.name.startswith("PyPy") for each in found):
        runs.append(_skipped("PyPy", "there is no pypy3 (on Debian: apt-get install pypy3 pypy3-venv)"))
    if not any(each.free_threaded for each in found):
        runs.append(Run("CPython, free-threaded, built from Debian's source", "all", free_threaded))
    return runs


# Debian systems: suite, architecture as Debian spells it ("": this machine's), wheel, its Pythons, level.
# The universal wheel is run there, too, beyond the first level.
_SYSTEMS: Sequence[tuple[str, str, str, Sequence[str], str]] = (
    ("bookworm", "arm64", "aarch64-unknown-linux-gnu", ("python3.11",), "quick"),
    ("bookworm", "armhf", "armv7-unknown-linux-gnueabihf", ("python3.11",), "quick"),
    ("trixie", "", "", ("python3.13",), "quick"),
    ("bullseye", "", "", ("python3.9",), "all"),
    ("sid", "", "", ("python3.14", "python3.15"), "all"),
    ("trixie", "arm64", "aarch64-unknown-linux-gnu", ("python3.13",), "all"),
    ("trixie", "armhf", "armv7-unknown-linux-gnueabihf", ("python3.13",), "all"),
)

_WITH_PYTHON = ("python3-pip", "musl")


def _systems(wheels: Wheels, here: targets.Target | None) -> list[Run]:
    runs = []
    for suite, architecture, triple, pythons, level in _SYSTEMS:
        target = targets.find(triple) if triple else here
        if target is None:
            continue
        name = f"{', '.join(pythons)} of Debian {suite}, {architecture or target.machine}"
        universal = level == "all"
        action = functools.partial(_in_system, wheels, suite, architecture, target, pythons, universal)
        runs.append(Run(name, level, action))
    return runs


def _in_system(
    wheels: Wheels,
    suite: str,
    architecture: str,
    target: targets.Target,
    pythons: Sequence[str],
    universal: bool,
    _work: Path,
) -> str:
    """The wheels in an unpacked system, which its Pythons share."""
    root = places.system(suite, architecture, [*pythons, *_WITH_PYTHON])
    accounts = []
    for python in pythons:
        place = places.place_in(root, architecture, python, wheels.folder)
        accounts.append(platform_wheel(place, target.wheel))
        if universal:
            accounts.append(f"universal wheel: {_counts(universal_wheel(place, wheels))}")
    return "; ".join(accounts)


def _musl(wheels: Wheels, here: targets.Target | None) -> list[Run]:
    runs = []
    for target in targets.TARGETS:
        if target.libc != "musl":
            continue
        emulated = here is None or (here.os, here.machine) != (target.os, target.machine)
        name = f"{target.machine}{', emulated' if emulated else ''}"
        program = functools.partial(_musl_program, wheels, target, emulated)
        runs.append(Run(f"static musl program, {name}", "quick", program))
        library = functools.partial(_musl_library, wheels, target, emulated)
        level = "all" if emulated else "quick"
        runs.append(Run(f"library under the musl loader, {name}", level, library))
    return runs


def _musl_program(wheels: Wheels, target: targets.Target, emulated: bool, work: Path) -> str:
    """The static program as the fallback of this Python."""
    here = targets.host()
    if here is None or here.libc != "glibc":
        raise places.NotHereError("this Python's own wheel is not that of a glibc platform")
    _, program = wheels.unpack(target.triple, work / "wheel")
    if emulated:
        wrapper = work / "emulated"
        wrapper.write_text(f'#!/bin/sh\nexec "{_emulator(target)}" "{program}" "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
        program = wrapper
    interpreter = places.Interpreter(sys.executable, "", False)
    place = places.environment_of(interpreter, wheels.folder, work)
    install(place, "stdiobus", here.wheel)
    return smoke(place, "native", "--program", str(program))


def _musl_library(wheels: Wheels, target: targets.Target, emulated: bool, work: Path) -> str:
    """A C program of musl that embeds the bus, with the library of the wheel."""
    name, emulator = _MUSL_LOADER.format(machine=target.machine), [_emulator(target)] if emulated else []
    # Of Debian's package `musl`: this system's, or that of an unpacked one.
    architecture = places.debian_name(target.machine)
    root = places.system("bookworm", architecture, ["python3.11", *_WITH_PYTHON]) if emulated else Path("/")
    loader = root / name
    if not loader.exists():
        raise places.NotHereError(f"there is no {loader} (on Debian: apt-get install musl)")
    library, _ = wheels.unpack(target.triple, work / "wheel")
    program = work / "host"
    source = targets.ROOT / "kernel/tests/programs/host.c"
    # As it is released: what zig adds to a debug build asks for a newer musl than distributions have.
    flags = [*targets.LANGUAGE_FLAGS, *targets.WARNING_FLAGS, *targets.RELEASE_FLAGS, "-dynamic"]
    command = ["cc", "-target", target.zig, *flags, str(source), str(library), "-o", str(program)]
    zig_tool.run(zig_tool.install(), command, targets.CACHE / "zig")
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        worker = shutil.copy(echo_worker.build(), folder)
        load = [*emulator, str(loader), "--library-path", str(library.parent), str(program)]
        places.run([*load, worker, f"{folder}/bus.sock"])
    return f"{program.name}.c: passed"


def _emulator(target: targets.Target) -> str:
    path = shutil.which(f"qemu-{target.machine}-static")
    if path is None:
        raise places.NotHereError("there is no qemu (on Debian: apt-get install qemu-user-static)")
    return path


def _on_a_mac(target: targets.Target) -> Run:
    return _skipped(
        f"macOS, {target.machine}", "this is not such a Mac; .github/workflows/wheels.yml has one"
    )


def _skipped(name: str, reason: str) -> Run:
    def skip(_: Path) -> str:
        raise places.NotHereError(reason)

    return Run(name, "quick", skip)


# ---- Running them


def prove(folder: Path, level: str) -> bool:
    """Make all runs of a level and print an account of each.

    Args:
        folder: The wheels.
        level: One of LEVELS: what takes a minute or two, or everything.

    Returns:
        Whether none has failed.
    """
    runs = plan(Wheels(folder.absolute()), level)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(_make, runs))
    passed, failed, skipped = (outcomes.count(each) for each in ("passed", "FAILED", "skipped"))
    print(f"{passed} runs passed, {failed} failed, {skipped} skipped", flush=True)
    return failed == 0 and passed > 0


def _make(run: Run) -> str:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="stdiobus-run-") as name:
        try:
            outcome, account = "passed", run.action(Path(name))
        except places.NotHereError as error:
            outcome, account = "skipped", str(error)
        except (
            places.FailedError,
            OSError,
            echo_worker.NoCompilerError,
            kernel_tests.KernelTestError,
            subprocess.CalledProcessError,
            zig_tool.ZigError,
        ) as error:
            outcome, account = "FAILED", str(error)
    print(f"{outcome:8}{run.name} ({time.monotonic() - begun:.0f} s): {account}", flush=True)
    return outcome
