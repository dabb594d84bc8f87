"""The link step makes a library that loads, and says so when it cannot."""

from __future__ import annotations

import ctypes
import shlex
import sys

import pytest

import link_libs
import targets

TARGET = targets.TARGETS[0]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository with an archive for TARGET, and no zig."""
    monkeypatch.setattr(targets, "ROOT", tmp_path)
    monkeypatch.setattr(link_libs.zig_tool, "find", lambda: None)
    monkeypatch.delenv("STDIOBUS_CC", raising=False)
    archive = tmp_path / TARGET.archive
    archive.parent.mkdir(parents=True)
    archive.touch()
    return tmp_path


def test_the_library_of_this_machine_loads(tmp_path):
    host = targets.host()
    if host is None or link_libs.zig_tool.find() is None:
        pytest.skip("needs zig, and a platform of the table")
    library = link_libs.link(host, tmp_path, targets.CACHE / "zig")
    assert ctypes.CDLL(str(library)).stdio_bus_abi() == 1
    assert list(tmp_path.iterdir()) == [library]


def link(tree):
    return link_libs.link(TARGET, tree / "out", tree / "cache")


def test_no_archive(tree):
    (tree / TARGET.archive).unlink()
    with pytest.raises(link_libs.LinkError, match="is missing: build it with scripts/kernel --target"):
        link(tree)


def test_no_linker(tree):
    with pytest.raises(link_libs.LinkError, match=r"no ziglang==.*STDIOBUS_CC"):
        link(tree)
    assert list((tree / "out").iterdir()) == []


def test_the_named_linker_is_not_there(tree, monkeypatch):
    monkeypatch.setenv("STDIOBUS_CC", "no-such-linker --option")
    with pytest.raises(link_libs.LinkError, match="STDIOBUS_CC: cannot run 'no-such-linker'"):
        link(tree)


def test_a_linker_that_fails_leaves_the_old_library(tree, monkeypatch):
    monkeypatch.setenv("STDIOBUS_CC", shlex.join([sys.executable, "-c", "exit(1)"]))
    old = tree / "out" / TARGET.library
    old.parent.mkdir()
    old.write_text("old")
    with pytest.raises(link_libs.LinkError, match=r"exit\(1\).*--whole-archive(.|\n)*failed with status 1"):
        link(tree)
    assert old.read_text() == "old"
