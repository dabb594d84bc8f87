"""The launcher picks a program, hands everything over, and says what it looked for."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

import targets

REAL = targets.ROOT / targets.LAUNCHER


@pytest.fixture
def place(tmp_path):
    """A folder, with a space in its name, that holds a copy of the launcher."""
    folder = tmp_path / "a place"
    folder.mkdir()
    shutil.copy(REAL, folder / "stdio_bus")
    return folder


def add_program(place, name, mode=0o755):
    program = place / name / "stdio_bus"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho {name} "$#" "$@"\nexit 7\n')
    program.chmod(mode)


@pytest.fixture
def launch(tmp_path):
    """`launch(command, ..., system="Linux x86_64")`: run where `uname -sm` says so."""
    uname = tmp_path / "tools/uname"
    uname.parent.mkdir()
    environment = {**os.environ, "PATH": f"{uname.parent}:{os.environ['PATH']}"}

    def run(*command, system, **options):
        uname.write_text(f'#!/bin/sh\necho "{system}"\n')
        uname.chmod(0o755)
        return subprocess.run(command, env=environment, capture_output=True, text=True, **options)

    return run


@pytest.mark.parametrize(
    ("system", "program"),
    [
        ("Darwin arm64", "darwin-arm64"),
        ("Darwin x86_64", "darwin-amd64"),
        ("Linux x86_64", "linux-musl-amd64"),
        ("Linux aarch64", "linux-musl-arm64"),
    ],
)
def test_the_program_gets_all_arguments_and_its_status_is_passed_on(launch, place, system, program):
    add_program(place, program)
    done = launch(place / "stdio_bus", "--a", "b c", "", "$d", system=system)
    assert (done.stdout, done.returncode) == (f"{program} 4 --a b c  $d\n", 7)


def test_a_glibc_system_prefers_the_glibc_program(place):
    host = targets.host()
    if host is None or host.libc != "glibc":
        pytest.skip("needs a glibc system")
    for target in targets.TARGETS:
        add_program(place, target.program)
    done = subprocess.run([place / "stdio_bus"], capture_output=True, text=True)
    assert done.stdout == f"{host.program} 0\n"


def test_links_are_followed(launch, place, tmp_path):
    add_program(place, "darwin-arm64")
    (tmp_path / "bin").mkdir()
    (tmp_path / "absolute").symlink_to(place / "stdio_bus")
    (tmp_path / "bin/bus").symlink_to("../absolute")
    done = launch(tmp_path / "bin/bus", system="Darwin arm64")
    assert done.stdout == "darwin-arm64 0\n"


def test_nothing_on_path(place, tmp_path):
    """Its own tools are found all the same, none in the current folder; the program gets PATH as it is."""
    (tmp_path / "uname").write_text("#!/bin/sh\necho trap\n")
    (tmp_path / "uname").chmod(0o755)
    (tmp_path / "bus").symlink_to(place / "stdio_bus")
    for target in targets.TARGETS:
        add_program(place, target.program)
        (place / target.program / "stdio_bus").write_text('#!/bin/sh\necho "PATH is <$PATH>"\n')
    for path in ("", "/nowhere"):
        done = subprocess.run(
            [tmp_path / "bus"], env={"PATH": path}, cwd=tmp_path, capture_output=True, text=True
        )
        assert (done.stdout, done.stderr) == (f"PATH is <{path}>\n", "")


def test_it_runs_from_its_own_folder(launch, place):
    add_program(place, "darwin-arm64")
    done = launch("sh", "stdio_bus", "x", system="Darwin arm64", cwd=place)
    assert done.stdout == "darwin-arm64 1 x\n"


def test_descriptors_are_passed_on(launch, place):
    add_program(place, "darwin-arm64")
    (place / "darwin-arm64/stdio_bus").write_text('#!/bin/sh\necho "got $(cat /dev/fd/$1)"\n')
    reader, writer = os.pipe()
    os.write(writer, b"config")
    os.close(writer)
    with os.fdopen(reader):
        done = launch(place / "stdio_bus", str(reader), system="Darwin arm64", pass_fds=[reader])
    assert done.stdout == "got config\n"


def test_no_program_for_this_system(launch, place):
    done = launch(place / "stdio_bus", system="Linux x86_64")
    assert done.returncode == 127
    assert f"{place}/linux-amd64/stdio_bus: not there" in done.stderr
    assert f"{place}/linux-musl-amd64/stdio_bus: not there" in done.stderr
    assert "scripts/kernel" in done.stderr


def test_a_program_that_is_not_executable(launch, place):
    add_program(place, "darwin-arm64", mode=0o644)
    done = launch(place / "stdio_bus", system="Darwin arm64")
    assert done.returncode == 126
    assert f"{place}/darwin-arm64/stdio_bus: not executable" in done.stderr


def test_an_unknown_system(launch, place):
    done = launch(place / "stdio_bus", system="SunOS sun4v")
    assert done.returncode == 127
    assert "there is no program for SunOS sun4v" in done.stderr
