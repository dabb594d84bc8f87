"""Systems without a kernel: importing works, starting says what is supported and what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import targets
from stdiobus import UnavailableError
from stdiobus.platforms import SUPPORTED, refuse_windows, unsupported

START = """
import asyncio, sys
from stdiobus import AsyncStdioBus, BusConfig, DockerOptions, PoolConfig, StdioBus, UnavailableError

async def main():
    config = BusConfig([PoolConfig("a", "cat")])
    try:
        await AsyncStdioBus(config, backend=sys.argv[1], docker=DockerOptions(engine_path="/absent")).start()
    except UnavailableError as error:
        print(error)

asyncio.run(main())
"""

POWER = "import os; os.uname = lambda: os.uname_result(('Linux', 'host', '6.1', '#1', 'ppc64le'))"
# Python's own modules are those of Linux: loaded before the change, as Windows has its own in their place.
WINDOWS = (
    "import asyncio, sys, subprocess, tempfile, shutil, signal, threading, os, logging.handlers, ctypes\n"
    "sys.platform = 'win32'; del os.uname\n"
    "for name in ('fcntl', 'grp', 'pwd', 'resource', 'termios'): sys.modules[name] = None"
)


def start(preamble, backend="auto", **environment):
    program = f"{preamble}\n{START}"
    environment = {**os.environ, "STDIOBUS_LIBRARY": "", "STDIOBUS_BACKEND": "", **environment}
    run = subprocess.run(
        [sys.executable, "-c", program, backend], env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("backend", ["auto", "native", "subprocess", "docker"])
def test_windows(backend):
    assert start(WINDOWS, backend) == (
        f"stdiobus does not run on Windows, only on {SUPPORTED}; "
        "in the Windows Subsystem for Linux (wsl --install) it does\n"
    )


def test_another_processor(tmp_path):
    # Nothing on PATH; and no library, as in the universal wheel.
    said = start(POWER, STDIOBUS_LIBRARY=str(tmp_path / "absent.so"), PATH=str(tmp_path))
    reason = f"stdiobus has no kernel for Linux on ppc64le, only for {SUPPORTED}; use backend="
    assert f"native: libstdio_bus could not be loaded; {reason}" in said
    assert f"subprocess: no stdio_bus program was found; {reason}" in said
    assert "docker: " in said
    assert "the program inside the package" not in said


def test_another_processor_with_a_program_of_its_own(tmp_path):
    own = tmp_path / "stdio_bus"
    own.write_text("#!/bin/sh\necho its own program >&2; exit 7\n")
    own.chmod(0o755)
    said = start(POWER, "subprocess", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "its own program" in said
    assert "no kernel" not in said


def test_here(monkeypatch):
    refuse_windows()
    if targets.host() is not None:
        assert unsupported() is None
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UnavailableError, match="does not run on Windows"):
        refuse_windows()


def test_every_platform_of_the_table_is_supported(monkeypatch):
    for target in targets.TARGETS:
        system = {"linux": "Linux", "darwin": "Darwin"}[target.os]
        machine = "arm64" if system == "Darwin" and target.machine == "aarch64" else target.machine
        monkeypatch.setattr(os, "uname", lambda it=(system, "", "", "", machine): os.uname_result(it))
        assert unsupported() is None
        assert machine in SUPPORTED.replace("armv7", "armv7l")
