"""The guards of conftest.py and of pyproject.toml: each sees what it is there for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Every one of these is wrong, in a way that only a guard notices.
WRONG = """
import asyncio, gc, os, socket, subprocess, time, warnings
import pytest

@pytest.fixture(autouse=True)
def collected():
    yield
    for _ in range(3):
        gc.collect()

def test_warning():
    warnings.warn("old", DeprecationWarning)

def test_resource_warning():
    socket.socket()

async def test_exception_never_retrieved():
    asyncio.ensure_future(asyncio.wait_for(asyncio.sleep(1), "x"))
    await asyncio.sleep(0)

async def test_exception_in_a_callback():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)

def test_exception_ignored():
    class Wrong:
        def __del__(self):
            raise ValueError("in the finalizer")
    Wrong()

async def test_never_awaited():
    asyncio.sleep(0)

def test_descriptor():
    os.dup(0)

def test_child():
    global child  # or else it warns
    child = subprocess.Popen(["sleep", "100"])

def test_grandchild():
    subprocess.run(["sh", "-c", "sleep 100 &"])

async def test_blocking():
    time.sleep(1.5)

@pytest.mark.busy_loop
async def test_blocking_by_a_callback_of_the_package():
    def callback():
        time.sleep(1.5)
    callback.__module__ = "stdiobus.client.dispatch"
    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)

def test_absent():
    pytest.skip("the server is not installed")
"""


def test_each_guard_fails_the_test_that_it_is_there_for(tmp_path):
    (tmp_path / "test_wrong.py").write_text(WRONG)
    (tmp_path / "test_library.py").write_text("import pytest\npytest.importorskip('no_such_library')\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--tb=line"]
    command += ["--continue-on-collection-errors"]
    command += ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={tmp_path}", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "STDIOBUS_TEST_COMPLETE": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    bad = set(re.findall(r"^(?:FAILED|ERROR) \S*::(\w+)", run.stdout, re.MULTILINE))
    assert bad == set(re.findall(r"def (test_\w+)", WRONG)), run.stdout
    assert re.search(r"^ERROR \S*test_library.py", run.stdout, re.MULTILINE), run.stdout
    assert run.returncode == 1
