"""The command as a whole: its two entries, its help, its exit statuses, life without the extra."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import stdiobus
from stdiobus import cli
from stdiobus.cli.app import COMMANDS
from stdiobus.cli.status import Status, status_of
from stdiobus.errors import InvalidArgumentError, RemoteError, TimeoutError, UnavailableError

PACKAGE = Path(stdiobus.__file__).parent
ROOT = PACKAGE.parent


@pytest.mark.parametrize("entry", ["script", "module"])
def test_both_entries_run(entry):
    script = Path(sys.executable).with_name("stdiobus")
    command = [str(script)] if entry == "script" else [sys.executable, "-m", "stdiobus"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, f"stdiobus {stdiobus.__version__}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_help(command, arguments):
    done = command(*arguments)
    assert done.status == 0
    assert done.out.startswith(f"Usage: stdiobus {'[OPTIONS]' if len(arguments) == 1 else arguments[0]}")
    if len(arguments) == 1:
        listed = re.findall(r"^  (\w+)  +(.*)$", done.out.partition("Commands:")[2], re.MULTILINE)
        assert [name for name, _ in listed] == list(COMMANDS)
        assert not any(text.endswith("...") for _, text in listed), "cut off"
        assert all(f"{status:d} " in done.out for status in Status)


def test_unknown_command_is_wrong_usage(command):
    done = command("walk")
    assert done.status == Status.USAGE
    assert "No such command 'walk'" in done.err
    assert done.out == ""


def test_without_the_extra_it_says_what_to_install():
    # -S leaves out what is installed.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "stdiobus", "doctor"],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
    )
    assert done.returncode == Status.NO_EXTRA
    assert 'click and rich, which the extra brings: pip install "stdiobus[cli]"' in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("missing", [(), ("rich",)])
def test_entry_in_this_process(capsys, monkeypatch, missing):
    found = cli.importlib.util.find_spec
    monkeypatch.setattr(
        cli.importlib.util, "find_spec", lambda name: None if name in missing else found(name)
    )
    monkeypatch.setattr(sys, "argv", ["stdiobus", "--version"])
    assert cli.main() == (Status.NO_EXTRA if missing else 0)
    assert ("needs rich, which" in capsys.readouterr().err) is bool(missing)


def test_nothing_else_imports_the_libraries_of_the_extra():
    for file in PACKAGE.rglob("*.py"):
        if file.parent != PACKAGE / "cli":
            assert not re.search(r"^\s*(import|from) (click|rich)\b", file.read_text(), re.MULTILINE), file


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidArgumentError("x"), Status.CONFIG),
        (UnavailableError("x"), Status.UNAVAILABLE),
        (RemoteError("x"), Status.FAILED),
        (TimeoutError("x"), Status.NO_ANSWER),
    ],
)
def test_status_of_an_error(error, status):
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, Status.INTERRUPTED), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_signal_ends_a_command_and_its_worker(start, config, worker, number, status):
    # The guard looks for what is left.
    path = config(worker("misbehaving_worker.py", "mute"))
    call = start("call", path, "a", "m", env={**os.environ, "STDIOBUS_BACKEND": "subprocess"})
    children = Path(f"/proc/{call.pid}/task/{call.pid}/children")
    if not children.exists():
        pytest.skip("needs /proc to see that the worker runs")
    while not children.read_text():
        assert call.poll() is None
        time.sleep(0.01)
    call.send_signal(number)
    try:
        call.wait(10)
    except subprocess.TimeoutExpired:  # Python drops an interrupt amid a weak reference's callback
        call.send_signal(number)
    assert call.wait(30) == status


def test_reader_that_has_seen_enough_gets_no_traceback(config, worker):
    path = config(worker("echo_worker.py"))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "stdiobus", "call", path, "a", "m"],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stderr) == (Status.FAILED, "")
