"""Finding the library: where, and what is said when it is not there or does not fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import targets
from stdiobus import UnavailableError
from stdiobus.native import bindings, library


def test_explicit_path_is_the_only_candidate(monkeypatch):
    monkeypatch.setenv("STDIOBUS_LIBRARY", "/absent/lib.so")
    assert library.candidates() == ["/absent/lib.so"]
    monkeypatch.delenv("STDIOBUS_LIBRARY")
    [path] = library.candidates()
    assert os.path.basename(os.path.dirname(path)) == "_libs"
    assert os.path.basename(path) in ("libstdio_bus.so", "libstdio_bus.dylib")


def test_every_path_is_listed_with_its_reason(monkeypatch, tmp_path):
    text = tmp_path / "text.so"
    text.write_text("no library at all, not by any measure")
    monkeypatch.setattr(library, "candidates", lambda: ["/absent/lib.so", str(text)])
    with pytest.raises(UnavailableError) as caught:
        library.load()
    lines = str(caught.value).split("\n  ")
    assert lines[1] == "/absent/lib.so: no such file"
    assert lines[2].startswith(f"{text}: ")
    assert [path for path, _ in caught.value.details["tried"]] == ["/absent/lib.so", str(text)]


def test_library_is_loaded_once(loaded):
    assert library.load() is loaded
    assert loaded.version.startswith("3.")
    assert os.path.exists(loaded.path)


linux = pytest.mark.skipif(sys.platform != "linux", reason="the loader of macOS checks files by itself")


@pytest.fixture
def candidate(tmp_path, monkeypatch):
    """The one place where the library is looked for; `candidate(content)` puts something there."""
    path = tmp_path / "libstdio_bus.so"
    monkeypatch.setattr(library, "candidates", lambda: [str(path)])

    def put(content):
        path.write_bytes(content)
        return path

    return put


def reason():
    with pytest.raises(UnavailableError) as caught:
        library.load()
    [(_, why)] = caught.value.details["tried"]
    return why


@linux
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_library_is_refused_before_it_can_kill_the_process(candidate, loaded, share):
    """In a process of its own: without the check it dies of SIGBUS."""
    whole = Path(loaded.path).read_bytes()
    path = candidate(whole[: int(len(whole) * share)])
    program = "from stdiobus.native import library; library.load()"
    environment = {**os.environ, "STDIOBUS_LIBRARY": str(path)}
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.returncode == 1, run.stderr
    assert f"{path}: truncated: " in run.stderr
    assert reason().endswith(" bytes are missing")


@linux
def test_a_library_for_another_processor_is_called_that(candidate):
    machine = "aarch64" if os.uname().machine == "x86_64" else "x86_64"
    other = targets.find(f"{machine}-unknown-linux-gnu")
    candidate((targets.ROOT / other.program_file).read_bytes())
    assert reason().endswith(f"(this file is for {machine})")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"no library " * 20])
def test_what_is_no_library(candidate, content):
    path = candidate(content)
    assert reason()
    path.unlink()
    assert reason() == "no such file"
    path.mkdir()
    assert reason()


def test_a_library_of_another_version(candidate, loaded, monkeypatch):
    shutil.copy(loaded.path, candidate(b""))
    monkeypatch.setattr(bindings, "ABI", 99)
    assert "its ABI is 1, this package needs 99" in reason()
