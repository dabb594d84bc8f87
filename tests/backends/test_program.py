"""The program: the places where it is looked for, what is said when it is nowhere; how it is ended."""

from __future__ import annotations

import os
import subprocess
import threading
import time

import pytest

from stdiobus import UnavailableError
from stdiobus.backends import program as module
from stdiobus.backends.program import Launch, Program, resolve_binary
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


# ---- its end ---------------------------------------------------------------------------------


@pytest.fixture
def make():
    """`make(**fields)`: a program that only killing ends; ended after the test."""
    made = []

    def program(**fields):
        command = ["sh", "-c", "trap '' TERM INT; echo; exec sleep 1000"]
        made.append(Program(Launch(command, name="test", remedy="", **fields)))
        descriptors = made[-1].take_pipes()
        assert os.read(descriptors[1], 1)
        for descriptor in descriptors:
            os.close(descriptor)
        return made[-1]

    yield program
    for each in made:
        within(10, lambda program=each: program.finish(wait=True))
        assert each.poll() is not None


def within(seconds, function):
    """Runs a function in a thread of its own, which a deadlock would keep."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "within 20 s"
        time.sleep(0.01)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "FORCED_END_SEC", 0.2)


def test_end_that_takes_long_is_seen_through_without_a_loop(make):
    programs = [make(), make()]
    started = time.monotonic()
    for each in programs:
        each.finish(wait=False)
    assert time.monotonic() - started < module.FORCED_END_SEC
    until(lambda: not module._unfinished)
    assert [each.poll() for each in programs] == [-9, -9]
    until(lambda: not module._seeing_to_it.locked())


def test_end_is_waited_for_where_no_thread_can_be_started(make, impatient, monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module._thread, "start_new_thread", refuse)
    program = make()
    program.finish(wait=False)
    assert (program.poll(), module._unfinished) == (-9, set())


def test_end_is_waited_for_at_interpreter_exit(make, impatient, monkeypatch):
    monkeypatch.setattr(module, "_exiting", True)
    program = make()
    program.finish(wait=False)
    assert (program.poll(), module._unfinished) == (-9, set())


def test_end_that_not_even_killing_brings_about_is_not_waited_for_for_ever(make, monkeypatch):
    monkeypatch.setattr(module, "FORCED_END_SEC", 0.05)
    program = make()
    with monkeypatch.context() as context:
        context.setattr(program._process, "kill", lambda: None)
        within(10, lambda: program.finish(wait=True))
        assert program.poll() is None
    until(lambda: not module._unfinished)
    assert program.poll() == -9


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.parametrize("which", ["another", "the same"])
def test_finalizer_amid_the_end_of_a_program_ends_one_too(which, wait, make, impatient, monkeypatch):
    """The garbage collector may run it anywhere."""
    program = make()
    garbage = [make() if which == "another" else program]
    poll = subprocess.Popen.poll

    def collect(process):
        if process is program._process and garbage:
            garbage.pop().finish(wait)
        return poll(process)

    program.end_by_force()
    monkeypatch.setattr(subprocess.Popen, "poll", collect)
    within(10, lambda: program.advance())
    monkeypatch.undo()
    program.finish(wait=True)
    until(lambda: not module._unfinished)


def test_what_a_killed_program_leaves_is_removed_without_a_loop(make, impatient, tmp_path):
    left = tmp_path / "left"
    left.touch()
    make(undo=["rm", str(left)]).finish(wait=False)
    assert left.exists()
    until(lambda: not module._unfinished)
    assert not left.exists()
