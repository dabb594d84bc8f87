"""`stdiobus top`: the workers of a running bus; JSON in a pipe, a table on a terminal, live or once."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from stdiobus.cli import top as top_module
from stdiobus.cli.status import Status
from stdiobus.cli.top import duration, size

PATIENCE = 30


def test_json_in_a_pipe_is_what_the_bus_says(process, serve, config, worker):
    path = config(worker("echo_worker.py", instances=2))
    serve(path)
    status = process("top", path).json
    assert [(each["pool"], each["state"], each["id"]) for each in status["workers"]] == [
        ("a", "ready", 1),
        ("a", "ready", 2),
    ]
    assert status["clients"] == 1


def test_one_look_on_a_terminal(command, serve, config, worker, terminal, tmp_path):
    serve(config(worker("echo_worker.py", instances=2), worker("echo_worker.py", id="[b]")))
    done = command("top", "--once", "--unix", str(tmp_path / "bus.sock"))
    assert done.status == 0, done.err
    assert "2 pools, 3 of 3 workers ready\n1 client, 0 sessions, 0 requests under way\n" in done.out
    assert re.search(
        r"^ pool +state +worker +pid +in flight +restarts +uptime +in +out", done.out, re.MULTILINE
    )
    rows = re.findall(r"^ (\S*) +ready +(\d) +\d+ +0 +0 +\d+s +0B +0B *$", done.out, re.MULTILINE)
    assert rows == [("a", "1"), ("", "2"), ("[b]", "3")]
    assert command("top", "--json", "--unix", str(tmp_path / "bus.sock")).json["pending"] == 0


def test_live_until_ctrl_c(command, serve, config, worker, terminal, monkeypatch):
    serve(path := config(worker("echo_worker.py")))
    looks = []
    render = top_module.render
    monkeypatch.setattr(top_module, "render", lambda *seen: looks.append(seen) or render(*seen))

    def sleep(seconds):
        assert seconds == 0.5
        if len(looks) == 3:
            raise KeyboardInterrupt

    times = iter([10, 12, 13])
    monkeypatch.setattr(top_module, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: next(times)))
    assert command("top", path, "--interval", "0.5").status == 0
    rates = [rate for _, _, rate in looks]
    assert rates[0] == {}
    assert [rate["messages_in"] for rate in rates[1:]] == [0.5, 1], "its own questions"


def read_until(descriptor: int, pattern: str, text: str = "") -> str:
    """What the terminal shows until the pattern does; it is closed where the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while not re.search(pattern, text):
        assert select.select([descriptor], [], [], deadline - time.monotonic())[0], text
        text += os.read(descriptor, 65536).decode()
    return text


@pytest.mark.parametrize("end", ["ctrl-c", "bus"])
def test_terminal(serve, config, worker, end):
    bus = serve(path := config(worker("echo_worker.py")))
    terminal, process_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "20"}
    command = [sys.executable, "-m", "stdiobus", "top", path, "--interval", "0.1"]
    top = subprocess.Popen(
        command,
        stdin=process_end,
        stdout=process_end,
        stderr=process_end,
        env=environment,
        start_new_session=True,
    )
    try:
        read_until(terminal, r"(?s)1 of 1 worker ready.*messages in: \d+ \(\d+\.\d/s\)")
        if end == "bus":
            bus.kill()
            read_until(terminal, "stdiobus: the bus on .* does not answer")
        else:
            os.kill(top.pid, 2)
        assert top.wait(PATIENCE) == (Status.UNAVAILABLE if end == "bus" else 0)
    finally:
        top.kill()
        top.wait()
        os.close(process_end)
        os.close(terminal)


def test_nowhere_to_look(command):
    done = command("top")
    assert (done.status, "give CONFIG, --unix or --tcp" in done.err) == (Status.USAGE, True)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9, "0s"), (59, "59s"), (61, "1m01s"), (3600, "1h00m"), (90000, "1d01h")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (999, "999B"), (1500, "1.5K"), (15 * 1024**2, "15M"), (1024**4, "1.0T")]
)
def test_size(count, text):
    assert size(count) == text
