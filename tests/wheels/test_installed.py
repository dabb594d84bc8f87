"""Users who install a wheel, each in an environment of their own and an empty folder: those without a
compiler and a PATH, those with PyPy, those who must do without the library.

What the backends can do is not tested here: one request shows that they work.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import targets

# A worker that answers with the method; a bus with it, and what became of both.
WORKER = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": message["method"]}), flush=True)
"""
USE = f"""
import json, logging, os, sys
logging.basicConfig(format="%(message)s")
import stdiobus
config = stdiobus.BusConfig([stdiobus.PoolConfig("a", sys.executable, args=["-c", {WORKER!r}])])
try:
    with stdiobus.StdioBus(config, backend=sys.argv[1]) as bus:
        answer = [bus.get_backend_type(), bus.request("hello")]
except stdiobus.UnavailableError as error:
    answer = [type(error).__name__, str(error)]
package = os.path.dirname(stdiobus.__file__)
print(json.dumps([*answer, package, os.access(package, os.W_OK), sys.implementation.name]))
"""


class User:
    """Somebody with an environment of their own, into which they install from a folder of wheels.

    Attributes:
        home: An empty folder, where they work.
        package: Where the package is, once it is installed.
    """

    def __init__(self, folder: Path, interpreter: str = sys.executable) -> None:
        self.home = folder / "home"
        self.tools = folder / "no tools"
        self.environment = folder / "environment"
        self.python = self.environment / "bin/python"
        for made in (self.home, self.tools):
            made.mkdir(parents=True)
        subprocess.run([interpreter, "-m", "venv", "--without-pip", str(self.environment)], check=True)
        [site] = self.environment.glob("lib/*/site-packages")
        self.package = site / "stdiobus"

    def variables(self) -> dict[str, str]:
        """Nothing on PATH: no compiler, no linker, and neither `uname` nor `sh`."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("STDIOBUS_", "PIP_"))
        }
        return {**clean, "PATH": str(self.tools), "PYTHONWARNINGS": ""}

    def pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--isolated", "--python", str(self.python)]
        command += ["--quiet", "--disable-pip-version-check", *arguments]
        subprocess.run(command, cwd=self.home, env=self.variables(), check=True)

    def files(self) -> set[str]:
        found = self.environment.rglob("*")
        return {path.relative_to(self.environment).as_posix() for path in found if not path.is_dir()}

    def use(self, backend: str, *prefix: str) -> tuple[list[object], list[str]]:
        """Return what `USE` prints, and the lines of its log."""
        command = [*prefix, str(self.python), "-c", USE, backend]
        run = subprocess.run(
            command, cwd=self.home, env=self.variables(), capture_output=True, text=True, timeout=120
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout), run.stderr.splitlines()


def no_compiler(user: User) -> bool:
    path = user.variables()["PATH"]
    return not any(
        shutil.which(name, path=path) for name in ("cc", "gcc", "clang", "ld", "zig", "uname", "sh")
    )


def test_without_a_compiler_or_anything_else_on_path(release, host, tmp_path):
    """Also: nothing is downloaded, it takes no time, and what was installed is gone afterwards."""
    user = User(tmp_path)
    assert no_compiler(user)
    before = user.files()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    user.pip("install", "--no-index", f"--find-links={release}", "--only-binary=:all:", "--pre", "stdiobus")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, which on a machine with nothing else to do is the time it takes.
    assert now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime < 3
    site = user.package.parent.relative_to(user.environment).as_posix()
    installed = user.files() - before
    assert f"{site}/stdiobus/_libs/{host.library}" in installed
    ours = (f"{site}/stdiobus/", f"{site}/stdiobus-")
    assert {name for name in installed if not name.startswith(ours)} == {"bin/stdiobus"}  # the command
    for backend in ("native", "subprocess"):
        [mode, answer, package, _, _], log = user.use(backend)
        assert (mode, answer, package, log) == (backend, "hello", str(user.package), [])
    assert user.use("auto")[0][0] == "native"
    assert list(user.home.iterdir()) == []
    user.pip("uninstall", "--yes", "stdiobus")
    assert user.files() == before
    assert not user.package.exists()


@pytest.mark.skipif(shutil.which("pypy3") is None, reason="needs pypy3")
def test_pypy(release, host, tmp_path):
    user = User(tmp_path, "pypy3")
    user.pip("install", "--no-index", f"--find-links={release}", "--only-binary=:all:", "--pre", "stdiobus")
    assert (user.package / "_libs" / host.library).exists()
    for backend in ("native", "subprocess"):
        [mode, answer, _, _, implementation], log = user.use(backend)
        assert (mode, answer, implementation, log) == (backend, "hello", "pypy", [])


def without_right_to_write() -> list[str]:
    """The start of a command that runs without root's right to write where nobody may."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root writes everywhere, and there is no setpriv")
    return [setpriv, "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


def test_fallback_first(wheel, tmp_path):
    """The universal wheel in a site-packages that nobody can write to."""
    user = User(tmp_path)
    user.pip("install", "--no-index", str(wheel(targets.UNIVERSAL)))
    assert not list(user.package.rglob("libstdio_bus.*"))
    site = user.package.parent
    modes = {path: path.stat().st_mode for path in [site, *site.rglob("*")]}
    try:
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode) & ~0o222)
        before = user.files()
        [mode, answer, _, writable, _], log = user.use("auto", *without_right_to_write())
        assert (mode, answer, writable) == ("subprocess", "hello", False)
        [line] = log
        assert line.startswith("using the subprocess backend, because others are not available: native: ")
        assert f"{user.package}/_libs/" in line
        assert line.endswith(": no such file")
        [error, message, *_], _ = user.use("native")
        assert error == "UnavailableError"
        assert "no such file" in message
        assert user.files() == before
    finally:
        for path, kept in modes.items():
            path.chmod(stat.S_IMODE(kept))


def test_a_broken_library(wheel, host, tmp_path):
    """`auto` falls back and says why in one line; `native` says what was tried."""
    user = User(tmp_path)
    user.pip("install", "--no-index", str(wheel(host.triple)))
    path = user.package / "_libs" / host.library
    whole = path.read_bytes()
    foreign = "aarch64" if host.machine == "x86_64" else "x86_64"
    program = targets.find(f"{foreign}-unknown-linux-gnu").program_file
    broken = {
        "truncated: ": whole[: len(whole) // 2],
        "this file is for ": (targets.ROOT / program).read_bytes(),
        # Another version: what it must have is there under another name.
        "it has no function stdio_bus_abi": whole.replace(b"\0stdio_bus_abi\0", b"\0stdio_bus_abX\0"),
        "no such file": None,
    }
    for reason, content in broken.items():
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        [mode, answer, *_], log = user.use("auto")
        assert (mode, answer) == ("subprocess", "hello")
        [line] = log
        assert str(path) in line
        assert reason in line
        [error, message, *_], log = user.use("native")
        assert (error, log) == ("UnavailableError", [])
        assert f"Tried:\n  {path}: " in message
        assert reason in message
