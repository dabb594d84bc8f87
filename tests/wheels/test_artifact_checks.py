"""The tools see what is wrong, and pip chooses; which rule sees which file is told by what they find."""

from __future__ import annotations

import shutil

import pytest

import abi_header
import artifact_checks
import targets
import wheel_build

GLIBC = targets.find("x86_64-unknown-linux-gnu")
MUSL = targets.find("x86_64-unknown-linux-musl")
VERSION = wheel_build.version(targets.ROOT)
NAMES = wheel_build.wheel_names(VERSION)


@pytest.fixture
def copies(release, tmp_path):
    """A folder of the wheels, to be changed."""
    return shutil.copytree(release, tmp_path / "release")


def test_every_wheel_is_chosen_somewhere():
    assert {triple for _, _, triple in artifact_checks.CHOICES} == NAMES.keys()
    assert len(artifact_checks.CHOICES) >= 12


def test_pip_takes_the_universal_wheel_where_there_is_no_other(copies):
    _, platforms, triple = artifact_checks.CHOICES[0]
    assert triple == GLIBC.triple
    (copies / NAMES[triple]).unlink()
    assert artifact_checks.pip_choice(copies, VERSION, platforms) == NAMES[targets.UNIVERSAL]
    (copies / NAMES[targets.UNIVERSAL]).unlink()
    assert "No matching distribution" in artifact_checks.pip_choice(copies, VERSION, platforms)


def test_auditwheel_sees_another_libc(copies):
    renamed = copies / NAMES[MUSL.triple]
    (copies / NAMES[GLIBC.triple]).rename(renamed)
    assert artifact_checks.audited(renamed) != MUSL.wheel


def test_linters_see_a_broken_wheel(copies):
    path = copies / NAMES[GLIBC.triple]
    assert artifact_checks.linted(["check_wheel_contents"], [path]) == []
    path.write_bytes(path.read_bytes()[:-100])
    for tool in (["check_wheel_contents"], ["twine", "check", "--strict"]):
        [problem] = artifact_checks.linted(tool, [path])
        assert problem.startswith(f"{tool[0]}: ")


def test_exports_are_those_of_the_header(wheel):
    text = (targets.ROOT / abi_header.HEADER).read_text(encoding="utf-8")
    less = abi_header.read(text.replace("stdio_bus_step(", "stdio_bus_walk("))
    for target in targets.TARGETS:
        assert artifact_checks._check_platform(wheel(target.triple), target, less) == [
            "library: does not export stdio_bus_walk, which the header declares",
            "library: exports stdio_bus_step, which the header does not declare",
        ]


def test_a_foreign_library_is_seen(copies, monkeypatch):
    """All is joined: a wheel with another platform's library under its own name."""
    monkeypatch.setattr(artifact_checks, "_check_with_tools", lambda *_: [])
    monkeypatch.setattr(artifact_checks.wheel_rules, "check_sdist", lambda _: [])
    assert artifact_checks.check_all(copies) == []
    monkeypatch.setattr(artifact_checks.wheel_rules, "check_wheel", lambda *_: [])
    shutil.copy(copies / NAMES[MUSL.triple], copies / NAMES[GLIBC.triple])
    problems = artifact_checks.check_all(copies)
    assert f"{NAMES[GLIBC.triple]}: library: needs libc.musl-x86_64.so.1" in problems
    (copies / NAMES[GLIBC.triple]).unlink()
    assert artifact_checks.check_all(copies) == [f"{NAMES[GLIBC.triple]}: missing"]
