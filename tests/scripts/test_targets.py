"""The table of platforms and what is derived from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import targets


def test_names_are_unique():
    for field in ("triple", "zig", "program", "wheel"):
        values = [getattr(target, field) for target in targets.TARGETS]
        assert len(set(values)) == len(values), field


def test_an_unknown_triple_is_an_error_that_lists_the_known_ones():
    with pytest.raises(targets.TargetError, match=r"unknown platform 'vax'.*x86_64-unknown-linux-gnu"):
        targets.find("vax")


@pytest.mark.parametrize(
    ("machine", "pointer_bytes", "name"),
    [
        ("x86_64", 8, "x86_64"),
        ("AMD64", 8, "x86_64"),
        ("arm64", 8, "aarch64"),
        ("armv7l", 4, "armv7l"),
        ("armv8l", 4, "armv7l"),
        ("aarch64", 4, "armv7l"),
        ("x86_64", 4, "i686"),
        ("ppc64le", 8, "ppc64le"),
    ],
)
def test_machine_name(machine, pointer_bytes, name):
    assert targets.machine_name(machine, pointer_bytes) == name


@pytest.mark.parametrize(
    ("system", "machine", "libc", "triple"),
    [
        ("Linux", "x86_64", "glibc", "x86_64-unknown-linux-gnu"),
        ("Linux", "x86_64", "musl", "x86_64-unknown-linux-musl"),
        ("Darwin", "arm64", "glibc", "aarch64-apple-darwin"),
        ("Linux", "ppc64le", "glibc", None),
        ("Windows", "AMD64", "glibc", None),
    ],
)
def test_host(monkeypatch, system, machine, libc, triple):
    monkeypatch.setattr(targets.platform, "system", lambda: system)
    monkeypatch.setattr(targets.platform, "machine", lambda: machine)
    monkeypatch.setattr(targets.struct, "calcsize", lambda _: 8)
    monkeypatch.setattr(targets, "linux_libc", lambda: libc)
    host = targets.host()
    assert (host and host.triple) == triple


def test_rooms_of_another_system_are_left_out(tmp_path):
    rooms = tmp_path / "kernel/src"
    rooms.mkdir(parents=True)
    for name in ("bus.c", "bus.h", "poller_epoll.c", "poller_kqueue.c"):
        (rooms / name).touch()
    assert targets.sources(tmp_path, "linux") == ["kernel/src/bus.c", "kernel/src/poller_epoll.c"]
    assert targets.sources(tmp_path, "darwin") == ["kernel/src/bus.c", "kernel/src/poller_kqueue.c"]


def test_the_program_is_all_rooms_of_its_folder(tmp_path):
    rooms = tmp_path / "kernel/cli"
    rooms.mkdir(parents=True)
    for name in ("main.c", "host.c", "host.h"):
        (rooms / name).touch()
    assert targets.program_sources(tmp_path) == ["kernel/cli/host.c", "kernel/cli/main.c"]


def test_the_launcher_knows_every_program_of_the_table():
    launcher = (targets.ROOT / targets.LAUNCHER).read_text()
    named = " ".join(re.findall(r'programs="(.+?)"', launcher)).split()
    assert set(named) == {target.program for target in targets.TARGETS}


def test_package_and_kernel_have_one_version():
    header = (targets.ROOT / "kernel/include/stdio_bus.h").read_text()
    package = Path(targets.ROOT, "stdiobus/__init__.py").read_text()
    in_header = re.search(r'STDIO_BUS_VERSION "(.+?)"', header)
    in_package = re.search(r'__version__ = "(.+?)"', package)
    assert in_header
    assert in_package
    assert in_header[1] == in_package[1]
