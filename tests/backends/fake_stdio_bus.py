"""A stand-in for the `stdio_bus` program: tagged lines, status, worker events; one echoing worker.

What it does beyond echoing is asked for by the method of a request (see `answer`) or, at
the start, by the variable FAKE_MODE (see `main`). It starts no worker processes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time


def write(client: int, worker: int, message: dict) -> None:
    text = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False, separators=(",", ":"))
    sys.stdout.buffer.write(f"{client} {worker} {text}\n".encode())
    sys.stdout.buffer.flush()


def status(pools: list, **changes: object) -> None:
    worker = {"pid": 4711, "state": "ready", "in_flight": 0, "restarts": 0, "uptime_ms": 1}
    workers = [
        {"pool": pool["id"], "id": n, **worker, "bytes_in": 2, "bytes_out": 3, **changes}
        for n, pool in enumerate(pools, 1)
    ]
    names = ("messages_in", "messages_out", "bytes_in", "bytes_out", "worker_restarts", "routing_errors")
    stats = dict.fromkeys((*names, "client_connects", "client_disconnects"), 0)
    params = {"state": 2, "stats": stats, "pending": 0, "sessions": 0, "clients": 0, "workers": workers}
    write(0, 0, {"method": "stdio_bus/status", "params": params})


def event(kind: str, pool: str, worker: int, **fields: object) -> None:
    params = {"kind": kind, "pool": pool, "worker": worker, "pid": 4711, "exit_code": -1, "signal": 0}
    params.update({"reason": "", "stderr": "", **fields})
    write(0, worker, {"method": "stdio_bus/worker_event", "params": params})


def answer(message: dict) -> None:
    method, params = message["method"], message.get("params")
    if method == "die":
        print("stdio_bus: error: out of luck", file=sys.stderr, flush=True)
        os._exit(9)
    if method == "garble":
        print("no tags here", flush=True)
    if method == "deaf":
        time.sleep(1000)
    if method == "crash":
        event("restarting", "echo", 1, signal=9, reason="it crashed", stderr="oops")
        event("started", "echo", 1, pid=4712)
    if method == "quote":  # a worker's own words, which look like the program's
        write(
            0, 1, {"method": "note", "params": {"text": '"stdio_bus/status"', "method": "stdio_bus/status"}}
        )
    if method == "environment":
        params = {name: os.environ.get(name) for name in params}
    if method == "drip":
        line = b'0 1 {"id":%d,"result":"drop"}\n' % message["id"]
        for n in range(len(line)):
            os.write(1, line[n : n + 1])
        return
    write(0, 1, {"id": message["id"], "result": {"method": method, "params": params}})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-fd", type=int)
    parser.add_argument("--log-level")
    parser.add_argument("--stdio", action="store_true")
    parser.add_argument("--tagged", action="store_true")
    options = parser.parse_args()
    assert options.config_fd == 0
    config = json.loads(sys.stdin.buffer.readline())
    mode = os.environ.get("FAKE_MODE")
    if mode == "config":
        print("stdio_bus: error: pools[0].id: must not be empty", file=sys.stderr)
        sys.exit(3)
    if mode == "garble":
        print('0 0 {"jsonrpc":"2.0","method":"stdio_bus/status","params":{"state":2}', flush=True)
    if mode == "silent":
        print("thinking", file=sys.stderr, flush=True)
        time.sleep(1000)
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("stdio_bus: warning: here we go", file=sys.stderr, flush=True)
    print("not a log line", file=sys.stderr, flush=True)
    for number, pool in enumerate(config["pools"], 1):
        event("started", pool["id"], number)
    status(config["pools"])
    for line in sys.stdin.buffer:
        client, _, text = line.partition(b" ")
        assert client == b"0"
        message = json.loads(text)
        if "id" in message and "method" in message:
            answer(message)
    if mode == "stubborn":
        time.sleep(1000)


main()
