"""Stale artefacts are told from fresh ones, without a compiler."""

from __future__ import annotations

import json

import pytest

import kernel_build
import kernel_manifest
import targets


@pytest.fixture
def tree(tmp_path):
    """A repository with a small kernel and an artefact of every platform, all recorded."""
    for name, content in {
        "kernel/include/stdio_bus.h": "int f(void);",
        "kernel/src/bus.c": "int f(void) { return 0; }",
        "kernel/src/poller_epoll.c": "",
        "kernel/src/poller_kqueue.c": "",
        "kernel/cli/main.c": "int main(void) { return 0; }",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for target in targets.TARGETS:
        for name in (target.archive, target.program_file):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"made for {name}")
        kernel_manifest.record(target, kernel_manifest.input_hash(target, tmp_path), tmp_path)
    return tmp_path


def test_fresh(tree):
    assert kernel_manifest.stale(tree) == []


def test_nothing_was_built(tmp_path):
    problems = kernel_manifest.stale(tmp_path)
    assert len(problems) == len(targets.TARGETS)
    assert problems[0] == f"{targets.TARGETS[0].archive}: not in {targets.MANIFEST}"


@pytest.mark.parametrize("name", ["kernel/include/stdio_bus.h", "kernel/src/bus.c", "kernel/cli/main.c"])
def test_a_changed_source_makes_everything_stale(tree, name):
    (tree / name).write_text("changed")
    assert len(kernel_manifest.stale(tree)) == 2 * len(targets.TARGETS)


def test_a_new_header_makes_everything_stale(tree):
    (tree / "kernel/src/new.h").touch()
    assert len(kernel_manifest.stale(tree)) == 2 * len(targets.TARGETS)


def test_a_changed_room_of_one_system_leaves_the_others_fresh(tree):
    (tree / "kernel/src/poller_kqueue.c").write_text("changed")
    stale = kernel_manifest.stale(tree)
    assert len(stale) == 4
    assert all("darwin" in problem for problem in stale)


def test_other_flags_make_artefacts_stale(tree, monkeypatch):
    monkeypatch.setattr(kernel_build, "_COMPILE_FLAGS", ("-O3",))
    assert len(kernel_manifest.stale(tree)) == 2 * len(targets.TARGETS)


def test_another_zig_makes_artefacts_stale(tree, monkeypatch):
    monkeypatch.setattr(targets, "ZIG_VERSION", "9.9.9")
    assert len(kernel_manifest.stale(tree)) == 2 * len(targets.TARGETS)


def test_a_foreign_and_a_missing_artefact_are_named(tree):
    first, second = targets.TARGETS[:2]
    (tree / first.archive).write_text("something else")
    (tree / second.program_file).unlink()
    assert kernel_manifest.stale(tree) == [
        f"{first.archive}: not the file that was recorded in {targets.MANIFEST}",
        f"{second.program_file}: missing",
    ]


def test_checksums_must_match(tree):
    (tree / targets.CHECKSUMS).write_text("")
    assert kernel_manifest.stale(tree) == [f"{targets.CHECKSUMS}: does not match {targets.MANIFEST}"]


@pytest.mark.parametrize("content", ["", "{}", "[]", json.dumps({"targets": 1})])
def test_a_broken_manifest_is_reported(tree, content):
    (tree / targets.MANIFEST).write_text(content)
    [problem] = kernel_manifest.stale(tree)
    assert problem.startswith(f"{targets.MANIFEST}: unreadable")
