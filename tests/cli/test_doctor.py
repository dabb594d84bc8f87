"""`stdiobus doctor`: every backend with its reason, what auto chooses, a self-test and a status."""

from __future__ import annotations

import os

import pytest

import stdiobus
from stdiobus.backends.docker import ENGINES
from stdiobus.cli import doctor as doctor_module
from stdiobus.cli.status import Status


@pytest.fixture
def no_engine(monkeypatch, tmp_path):
    """None that answers, whatever this machine has."""
    for name in ENGINES:
        engine = tmp_path / name
        engine.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
        engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("no_engine")
def test_all_is_well(process):
    done = process("doctor")
    report = done.json
    assert (done.status, report["ok"], done.err) == (0, True, "")
    assert report["version"] == stdiobus.__version__
    assert report["auto"] == {
        "backend": "native",
        "why": "the first of native, subprocess, docker that works",
    }
    for name in ("native", "subprocess"):
        found = report["backends"][name]
        assert found["available"]
        assert stdiobus.__version__ in found["version"]
        assert "(ABI 1)" in found["version"]
        assert found["self_test"]["ok"]
        assert os.path.exists(found["path"])
    assert "no container engine answers" in report["backends"]["docker"]["reason"]


@pytest.mark.usefixtures("no_engine")
def test_table_on_a_terminal(command, terminal):
    done = command("doctor")
    assert done.status == 0
    for text in ("auto      native: the first", "subprocess   yes", "docker       no", "all is well"):
        assert text in done.out


@pytest.mark.usefixtures("no_engine")
def test_library_that_is_not_there(command, monkeypatch):
    monkeypatch.setenv("STDIOBUS_LIBRARY", "/no/such/library.so")
    done = command("doctor")
    assert done.status == 0
    assert done.json["auto"]["backend"] == "subprocess"
    assert "/no/such/library.so: no such file" in done.json["backends"]["native"]["reason"]
    assert done.err == "", "the reasons are in the report"


@pytest.mark.usefixtures("no_engine")
def test_choice_of_the_environment(command, monkeypatch):
    monkeypatch.setenv("STDIOBUS_BACKEND", "docker")
    done = command("doctor")
    assert done.status == Status.FAILED
    assert done.json["auto"]["backend"] is None
    assert "no container engine answers" in done.json["auto"]["why"]
    monkeypatch.setenv("STDIOBUS_BACKEND", "subprocess")
    done = command("doctor")
    assert done.status == 0
    assert done.json["auto"] == {"backend": "subprocess", "why": "STDIOBUS_BACKEND=subprocess"}


def test_engine_with_the_image(command, fake_engine, monkeypatch):
    (fake_engine.parent / "images").write_text(stdiobus.DockerOptions().image + "\n")
    monkeypatch.setenv("PATH", str(fake_engine.parent), prepend=os.pathsep)
    found = command("doctor").json["backends"]["docker"]
    assert found == {"available": True, "path": str(fake_engine), "version": stdiobus.DockerOptions().image}


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize(
    ("worker", "reason"), [("exit(3)", "self-test"), (None, "its answer is wrong: {'text': 'other'}")]
)
def test_self_test_that_fails(command, terminal, monkeypatch, worker, reason):
    wrong = doctor_module._WORKER.replace('message["params"]', '{"text": "other"}')
    monkeypatch.setattr(doctor_module, "_WORKER", worker or wrong)
    done = command("doctor")
    assert done.status == Status.FAILED
    assert reason in done.out
    assert "something does not work" in done.out


@pytest.mark.usefixtures("no_engine")
def test_program_that_does_not_run(command, monkeypatch, tmp_path):
    program = tmp_path / "stdio_bus"
    program.write_text("#!/bin/sh\necho wrong machine >&2\nexit 1\n")
    program.chmod(0o755)
    binary = doctor_module.resolve_binary(stdiobus.SubprocessOptions(binary_path=str(program)))
    monkeypatch.setattr(doctor_module, "resolve_binary", lambda _: binary)
    found = command("doctor").json["backends"]["subprocess"]
    assert not found["available"]
    assert found["reason"].endswith("wrong machine")


def test_package_that_was_not_installed(monkeypatch):
    def missing(_):
        raise doctor_module.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(doctor_module.importlib.metadata, "distribution", missing)
    assert doctor_module._wheel() == "not installed"
