"""Finding the library: where, and what is said when it is not there or does not fit."""

from __future__ import annotations

import os

import pytest

from stdiobus import UnavailableError
from stdiobus.native import library


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
