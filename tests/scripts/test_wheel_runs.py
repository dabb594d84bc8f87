"""The account of the runs, and what is done in a place, with places that only pretend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

import wheel_places as places
import wheel_runs


def fail(error: Exception) -> Callable[[Path], str]:
    def action(work: Path) -> str:
        raise error

    return action


def run(action: Callable[[Path], str], level: str = "quick") -> wheel_runs.Run:
    return wheel_runs.Run("a run", level, action)


@pytest.fixture
def prove(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., bool]:
    def proved(*runs: wheel_runs.Run) -> bool:
        monkeypatch.setattr(wheel_runs, "plan", lambda wheels, level: list(runs))
        return wheel_runs.prove(tmp_path, "all")

    return proved


def test_every_run_is_accounted_for(prove: Callable[..., bool], capsys: pytest.CaptureFixture[str]) -> None:
    skipped = run(fail(places.NotHereError("this is not a Mac")))
    assert prove(run(lambda work: "all is well"), skipped)
    lines = capsys.readouterr().out.splitlines()
    # They end in any order.
    assert sorted(lines[:2]) == ["passed  a run (0 s): all is well", "skipped a run (0 s): this is not a Mac"]
    assert lines[2] == "1 runs passed, 0 failed, 1 skipped"


@pytest.mark.parametrize("error", [places.FailedError("it broke"), OSError("it broke")])
def test_one_failure_fails_all(
    error: Exception, prove: Callable[..., bool], capsys: pytest.CaptureFixture[str]
) -> None:
    assert not prove(run(lambda work: "all is well"), run(fail(error)))
    out = capsys.readouterr().out
    assert "FAILED  a run (0 s): it broke" in out
    assert out.endswith("1 runs passed, 1 failed, 0 skipped\n")


def test_nothing_but_skipped_runs_proves_nothing(prove: Callable[..., bool]) -> None:
    assert not prove(run(fail(places.NotHereError("there is no qemu"))))


def test_what_is_quick_is_part_of_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "interpreters", lambda minimum: [])
    wheels = wheel_runs.Wheels(tmp_path)
    quick, everything = ([run.name for run in wheel_runs.plan(wheels, level)] for level in wheel_runs.LEVELS)
    assert set(quick) < set(everything)
    for part in ("arm64", "armhf", "static musl program", "library under the musl loader", "macOS", "PyPy"):
        assert any(part in name for name in quick), part


class Pretended:
    """A place whose pip installs a wheel of the tag, and whose suite prints what it is told to."""

    wheels = smoke = "there"

    def __init__(self, tag: str = "", printed: str = "") -> None:
        self.tag, self.printed = tag, printed

    def python(self, *arguments: str) -> str:
        return f"Root-Is-Purelib: false\nTag: {self.tag}\n" if "-c" in arguments else self.printed


def test_another_wheel_than_the_platforms_is_a_failure() -> None:
    right: Any = Pretended("py3-none-manylinux2014_aarch64")
    wrong: Any = Pretended("py3-none-any")
    tag = "manylinux_2_17_aarch64.manylinux2014_aarch64"
    wheel_runs.install(right, "stdiobus", tag)
    with pytest.raises(places.FailedError, match=r"pip has installed \['py3-none-any'\]"):
        wheel_runs.install(wrong, "stdiobus", tag)


def test_a_suite_that_counts_nothing_has_not_passed() -> None:
    whole: Any = Pretended(printed="CPython 3.13.0 on x86_64\nok     load\n1 passed, 0 failed\n")
    broken_off: Any = Pretended(printed="CPython 3.13.0 on x86_64\nok     load\n")
    assert wheel_runs.smoke(whole, "native") == "CPython 3.13.0 on x86_64: 1 passed, 0 failed"
    with pytest.raises(places.FailedError, match="does not say how many"):
        wheel_runs.smoke(broken_off, "native")


def test_a_command_that_fails_says_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(places.FailedError, match=r"(?s)half-way.*status 3"):
        places.run([sys.executable, "-c", "print('half-way'); raise SystemExit(3)"], cwd=tmp_path)


def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    code = "import time; print('begun', flush=True); time.sleep(600)"
    with pytest.raises(places.FailedError, match=r"(?s)begun.*not done after 1 s"):
        places.run([sys.executable, "-c", code], 1.0, cwd=tmp_path)


def test_of_each_version_one_interpreter_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python3.12"  # as pyenv's, for a version that is not selected
    broken.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    broken.chmod(0o755)
    (tmp_path / "python3.99").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(places.targets, "CACHE", tmp_path)
    assert [each.path for each in places.interpreters((3, 9))] == [sys.executable]
    assert places.interpreters((99, 0)) == []


@pytest.mark.parametrize("architecture", ["arm64", "armhf"])
def test_an_emulator_is_registered_for_programs_of_its_processor(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_debian_name", lambda: "amd64")
    monkeypatch.setattr(places.shutil, "which", lambda name: f"/emulators/{name}")
    _, _, kind, offset, magic, mask, emulator, flags = places._handler(architecture).split(":")
    assert (kind, offset, flags) == ("M", "", "F")
    assert emulator.startswith("/emulators/qemu-a")
    program = {"arm64": "linux-arm64", "armhf": "linux-armv7"}[architecture]
    head = (places.targets.ROOT / "kernel/dist" / program / "stdio_bus").read_bytes()[:20]
    wanted, relevant = (bytes.fromhex(each.replace("\\x", "")) for each in (magic, mask))
    assert len(wanted) == len(relevant) == 20
    assert all(a & r == w & r for a, w, r in zip(head, wanted, relevant))
    foreign = Path(sys.executable).resolve().read_bytes()[:20]
    assert not all(a & r == w & r for a, w, r in zip(foreign, wanted, relevant))


def test_an_emulator_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_debian_name", lambda: "amd64")
    monkeypatch.setattr(places.shutil, "which", lambda name: None)
    assert places._handler("amd64") == ""
    with pytest.raises(places.NotHereError, match="apt-get install qemu-user-static"):
        places._handler("arm64")


def test_the_suite_fails_where_the_package_is_not_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(places.SMOKE), "native"]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1, done.stdout
    assert "FAILED load" in done.stdout
