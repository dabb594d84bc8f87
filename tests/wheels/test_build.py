"""Building: the same bytes elsewhere, from the sdist, with another linker, for another system."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import targets
import wheel_build
import wheel_rules
import zig_tool

HATCHLING = [sys.executable, "-m", "hatchling", "build"]


@pytest.fixture
def tree(sdist, tmp_path):
    """The unpacked sdist, in a folder with a comma and a space in its name."""
    with tarfile.open(sdist) as archive:
        archive.extractall(
            tmp_path / "else, where", **({"filter": "data"} if sys.version_info >= (3, 12) else {})
        )
    [folder] = (tmp_path / "else, where").iterdir()
    return folder


@pytest.fixture
def zig_at_hand(tree):
    """The tree finds this checkout's zig, but keeps its own cache of what zig compiles for itself."""
    (tree / ".cache").mkdir()
    name = f"zig-{targets.ZIG_VERSION}"
    if not (targets.CACHE / name).exists():
        pytest.skip("needs zig in .cache")
    (tree / ".cache" / name).symlink_to(targets.CACHE / name)


def built(folder):
    [path] = folder.glob("*.whl")
    return path


def library(path, target):
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(wheel_rules.library_member(target))


def environment(**changes):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STDIOBUS_")}
    return {**clean, **changes}


def test_the_same_bytes_from_the_sdist_in_another_folder(tree, zig_at_hand, release, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")  # as a distribution's build may have it
    monkeypatch.setenv("STDIOBUS_TARGET", "vax")
    again = tmp_path / "again"
    for path in wheel_build.build_all(Path(sys.executable), tree, again):
        assert path.read_bytes() == (release / path.name).read_bytes(), path.name
    assert len(list(again.iterdir())) == len(targets.TARGETS) + 2


def test_an_older_release_makes_room(tmp_path):
    """What is left in the folder must not be uploaded with the next release."""
    old, other = tmp_path / "stdiobus-0.1.tar.gz", tmp_path / "other.txt"
    old.touch()
    other.touch()

    def run(python, root, kind, folder, extra):
        names = wheel_build.wheel_names(wheel_build.version(root))
        name = names[extra["STDIOBUS_TARGET"]] if extra else wheel_build.sdist_name(wheel_build.version(root))
        (folder / name).touch()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(wheel_build, "_hatchling", run)
        wheel_build.build_all(Path(sys.executable), targets.ROOT, tmp_path)
        assert other.exists()
        assert not old.exists()
        patched.setattr(wheel_build, "_hatchling", lambda *_: None)
        with pytest.raises(wheel_build.WheelBuildError, match="expected"):
            wheel_build.build_all(Path(sys.executable), targets.ROOT, tmp_path)
    assert len(list(tmp_path.iterdir())) == len(targets.TARGETS) + 3


@pytest.mark.slow
def test_pip_builds_the_sdist_with_zig_that_it_fetches(sdist, host, wheel, tmp_path):
    """As `pip install` of the sdist does: in an isolated environment, without a compiler."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        f"--wheel-dir={tmp_path}",
        str(sdist),
    ]
    tools = tmp_path / "tools"
    tools.mkdir()
    subprocess.run(command, env=environment(PATH=str(tools)), check=True)
    assert built(tmp_path).name == wheel(host.triple).name
    assert library(built(tmp_path), host) == library(wheel(host.triple), host)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc")
def test_the_users_own_linker(sdist, host, tmp_path):
    if host.os != "linux":
        pytest.skip("tags of Linux")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command = [*pip, f"--wheel-dir={tmp_path}", str(sdist)]
    subprocess.run(command, env=environment(STDIOBUS_CC="cc"), check=True)
    assert built(tmp_path).name.endswith(f"-py3-none-linux_{host.machine}.whl")
    linked = tmp_path / host.library
    linked.write_bytes(library(built(tmp_path), host))
    assert ctypes.CDLL(str(linked)).stdio_bus_abi() == 1


def test_an_editable_build_has_its_library_in_place(tree, zig_at_hand, host, tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [*HATCHLING, "--target=wheel:editable", f"--directory={out}"], cwd=tree, env=environment()
    )
    assert done.returncode == 0
    assert [path.name for path in (tree / "stdiobus/_libs").iterdir()] == [host.library]
    with zipfile.ZipFile(built(out)) as wheel:
        assert not [name for name in wheel.namelist() if "_libs" in name]


@pytest.mark.parametrize(
    ("system", "machine"), [("Windows", "AMD64"), ("Linux", "ppc64le")], ids=["windows", "ppc64le"]
)
def test_a_system_without_a_kernel_gets_the_universal_wheel_and_is_told(wheel, tmp_path, system, machine):
    program = (
        f"import platform, sys\n"
        f"platform.system, platform.machine = lambda: {system!r}, lambda: {machine!r}\n"
        f"from hatchling.cli import hatchling\n"
        f"sys.argv = ['hatchling', *sys.argv[1:]]; sys.exit(hatchling())"
    )
    run = [sys.executable, "-c", program, "build", "--target=wheel", f"--directory={tmp_path}"]
    done = subprocess.run(run, cwd=targets.ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "this system is not in the table of platforms" in done.stdout + done.stderr
    assert built(tmp_path).read_bytes() == wheel(targets.UNIVERSAL).read_bytes()


def test_a_failure_says_what_failed_and_why(tmp_path):
    with pytest.raises(wheel_build.WheelBuildError) as caught:
        wheel_build._hatchling(
            Path(sys.executable), targets.ROOT, "wheel", tmp_path, {"STDIOBUS_TARGET": "vax"}
        )
    assert str(caught.value).startswith("wheel vax: failed with status ")
    assert "unknown platform 'vax'; known: x86_64-unknown-linux-gnu" in str(caught.value)


def test_zig_is_asked_for_only_where_it_links(monkeypatch):
    sys.path.insert(0, str(targets.ROOT))
    try:
        import hatch_build
    finally:
        sys.path.remove(str(targets.ROOT))
    hook = object.__new__(hatch_build.KernelHook)
    monkeypatch.setattr(zig_tool, "find", lambda: None)
    monkeypatch.setenv("STDIOBUS_TARGET", targets.TARGETS[0].triple)
    monkeypatch.delenv("STDIOBUS_CC", raising=False)
    assert hook.dependencies() == [targets.ZIG_REQUIREMENT]
    monkeypatch.setenv("STDIOBUS_CC", "cc")
    assert hook.dependencies() == []
    monkeypatch.delenv("STDIOBUS_CC")
    monkeypatch.setenv("STDIOBUS_TARGET", targets.UNIVERSAL)
    assert hook.dependencies() == []
