"""All checks of a folder of release files, in an environment with the tools of the extra `wheels`.

Here: which rule and which tool sees which file, and which file pip must choose where.
Not here: the rules (wheel_rules, binary_rules, abi_rules); running any of what is checked.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

import abi_header
import abi_rules
import abi_symbols
import binary_rules
import targets
import wheel_build
import wheel_rules

# What the linker of Mach-O adds to every export table.
_MACH_O_OWN = {"__dso_handle", "_mh_dylib_header"}


def _glibc(newest: int, machine: str) -> list[str]:
    """The tags that pip looks for on a system with glibc 2.newest."""
    oldest = 5 if machine == "x86_64" else 17
    legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
    tags = []
    for minor in range(newest, oldest - 1, -1):
        tags += [f"manylinux_2_{minor}_{machine}"]
        tags += [f"{legacy[minor]}_{machine}"] if minor in legacy else []
    return [*tags, f"linux_{machine}"]


def _musl(major: int, newest: int, machine: str) -> list[str]:
    """The tags that pip looks for on a system with musl major.newest."""
    return [*(f"musllinux_{major}_{minor}_{machine}" for minor in range(newest, -1, -1)), f"linux_{machine}"]


# A system in words, the platforms that pip looks for there, and what it must choose.
CHOICES: tuple[tuple[str, list[str], str], ...] = (
    ("x86-64, glibc 2.41", _glibc(41, "x86_64"), "x86_64-unknown-linux-gnu"),
    ("x86-64, glibc 2.17", _glibc(17, "x86_64"), "x86_64-unknown-linux-gnu"),
    ("x86-64, glibc 2.12", _glibc(12, "x86_64"), targets.UNIVERSAL),
    ("arm64, glibc 2.36", _glibc(36, "aarch64"), "aarch64-unknown-linux-gnu"),
    ("armv7, glibc 2.36", _glibc(36, "armv7l"), "armv7-unknown-linux-gnueabihf"),
    ("ppc64le, glibc 2.36", _glibc(36, "ppc64le"), targets.UNIVERSAL),
    ("x86-64, musl 1.2", _musl(1, 2, "x86_64"), "x86_64-unknown-linux-musl"),
    ("arm64, musl 1.2", _musl(1, 2, "aarch64"), "aarch64-unknown-linux-musl"),
    ("x86-64, musl 1.1", _musl(1, 1, "x86_64"), targets.UNIVERSAL),
    ("arm64, macOS 15", ["macosx_15_0_arm64"], "aarch64-apple-darwin"),
    ("x86-64, macOS 13", ["macosx_13_0_x86_64"], "x86_64-apple-darwin"),
    ("x86-64, macOS 10.12", ["macosx_10_12_x86_64"], targets.UNIVERSAL),
    ("x86-64, Windows", ["win_amd64"], targets.UNIVERSAL),
)


def exported(data: bytes) -> set[str]:
    """Name what a shared library exports, without what its linker adds by itself."""
    return abi_symbols.exported(data) - _MACH_O_OWN


def pip_choice(folder: Path, version: str, platforms: list[str]) -> str:
    """Return the name of the file that pip would install from a folder, or what it says instead.

    Args:
        folder: The wheels.
        version: The version to ask for.
        platforms: Tags of the system to choose for, best first.
    """
    asked = [f"--platform={platform}" for platform in platforms]
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "pip", "--isolated", "download", f"stdiobus=={version}", "--quiet"]
        command += ["--no-deps", "--only-binary=:all:", "--no-index", f"--find-links={folder}"]
        done = _run([*command, f"--dest={name}", *asked])
        chosen = os.listdir(name)
    return chosen[0] if len(chosen) == 1 else done.stdout.strip()


def audited(path: Path) -> str:
    """Return the platform tag that auditwheel finds a Linux wheel to deserve, or what it says instead."""
    done = _run([sys.executable, "-m", "auditwheel", "show", str(path)])
    said = " ".join(done.stdout.split())
    found = re.search(r'consistent with the following platform tag: "(\w+)"', said)
    return found[1] if found else said


def linted(tool: list[str], paths: list[Path]) -> list[str]:
    """Run a tool of the Python world over files; return what it says when it fails."""
    done = _run([sys.executable, "-m", *tool, *map(str, paths)])
    return [] if done.returncode == 0 else [f"{tool[0]}: {done.stdout.strip()}"]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def _check_platform(wheel: Path, target: targets.Target, header: abi_header.Header) -> list[str]:
    with zipfile.ZipFile(wheel) as opened:
        library = opened.read(wheel_rules.library_member(target))
    found = [f"library: {problem}" for problem in binary_rules.check_library(library, target)]
    found += abi_rules.compare_exports(header, "library", exported(library))
    program = (targets.ROOT / target.program_file).read_bytes()
    found += [f"program: {problem}" for problem in binary_rules.check_program(program, target)]
    archive = (targets.ROOT / target.archive).read_bytes()
    return [*found, *(f"archive: {problem}" for problem in binary_rules.check_archive(archive))]


def check_all(folder: Path) -> list[str]:
    """Return everything that is wrong with the files of a release.

    Args:
        folder: What `scripts/wheels` has filled.
    """
    version = wheel_build.version(targets.ROOT)
    problems = wheel_rules.check_folder(folder, version)
    if problems:
        return problems
    names = wheel_build.wheel_names(version)
    sdist = folder / wheel_build.sdist_name(version)
    header = abi_header.read((targets.ROOT / abi_header.HEADER).read_text(encoding="utf-8"))
    rows: dict[str, Optional[targets.Target]] = {target.triple: target for target in targets.TARGETS}
    for triple, target in {**rows, targets.UNIVERSAL: None}.items():
        wheel = folder / names[triple]
        found = wheel_rules.check_wheel(wheel, target)
        found += _check_platform(wheel, target, header) if target is not None and not found else []
        problems += [f"{wheel.name}: {problem}" for problem in found]
    problems += [f"{sdist.name}: {problem}" for problem in wheel_rules.check_sdist(sdist)]
    return [*problems, *_check_with_tools(folder, names, sdist)]


def _check_with_tools(folder: Path, names: dict[str, str], sdist: Path) -> list[str]:
    version = wheel_build.version(targets.ROOT)
    wheels = [folder / name for name in names.values()]

    def audit(target: targets.Target) -> list[str]:
        wanted, found = target.wheel.partition(".")[0], audited(folder / names[target.triple])
        return [] if found == wanted else [f"{names[target.triple]}: auditwheel: not {wanted}: {found}"]

    def choose(system: str, platforms: list[str], triple: str) -> list[str]:
        found = pip_choice(folder, version, platforms)
        return [] if found == names[triple] else [f"{system}: pip takes {found}, not {names[triple]}"]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = [pool.submit(linted, ["check_wheel_contents"], wheels)]
        waiting += [pool.submit(linted, ["twine", "check", "--strict"], [*wheels, sdist])]
        waiting += [pool.submit(audit, target) for target in targets.TARGETS if target.os == "linux"]
        waiting += [pool.submit(choose, *choice) for choice in CHOICES]
        return [problem for each in waiting for problem in each.result()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    problems = check_all(folder)
    if problems:
        print(f"{folder} must not be released:", *problems, sep="\n  ", file=sys.stderr)
        return 1
    print(f"{len(targets.TARGETS) + 2} files are as they must be; pip was asked for {len(CHOICES)} systems")
    return 0


if __name__ == "__main__":
    sys.exit(main())
