"""Finding the program: order of places, and what is said when there is none."""

from __future__ import annotations

import os

import pytest

from stdiobus import UnavailableError
from stdiobus.backends import program as module
from stdiobus.backends.program import resolve_binary
from stdiobus.config import SubprocessOptions


@pytest.fixture
def place(tmp_path, monkeypatch):
    """`place(folder)`: puts a program there; the package is at `tmp_path/package`."""
    monkeypatch.setattr(module, "_PACKAGE", str(tmp_path / "package"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def put(folder):
        path = tmp_path / folder / "stdio_bus"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    return put


def test_places_in_order(place):
    on_path = place("bin")
    assert resolve_binary(SubprocessOptions()) == (on_path, "PATH")
    checkout = place("kernel/dist")
    assert resolve_binary(SubprocessOptions()) == (checkout, "the checkout's launcher")
    bundled = place("package/_libs/dist")
    assert resolve_binary(SubprocessOptions()) == (bundled, "the program inside the package")
    explicit = place("mine")
    found = resolve_binary(SubprocessOptions(binary_path=explicit))
    assert found == (explicit, "binary_path of SubprocessOptions")


def test_every_place_is_listed_with_its_reason(place, tmp_path):
    os.chmod(place("kernel/dist"), 0o644)
    with pytest.raises(UnavailableError) as caught:
        resolve_binary(SubprocessOptions())
    lines = str(caught.value).split("\n  ")
    assert lines[1:] == [
        f"{tmp_path}/package/_libs/dist/stdio_bus: no such file",
        f"{tmp_path}/kernel/dist/stdio_bus: not executable",
        "PATH: no stdio_bus there",
    ]
    assert len(caught.value.details["tried"]) == 3


def test_explicit_program_is_the_only_candidate(place):
    place("bin")
    with pytest.raises(UnavailableError, match=r"/absent: no such file"):
        resolve_binary(SubprocessOptions(binary_path="/absent"))
