"""Workers that do what workers must not do, one mode per run: `misbehaving_worker.py MODE [N]`.

Before and after:
  exit          writes to stderr and exits at once with status N (default 3)
  crash         exits with status 9 on the first request
  orphan        leaves a child behind that holds stdout and stderr; answers with its pid
  daemon        answers the first request as orphan, its child in a session of its own;
                exits with status 9 on the second
  stubborn      ignores SIGTERM and the end of its stdin; answers with its pid
Input and output:
  deaf          never reads
  mute          reads, never answers; counts the requests on stderr
  closed        closes stdout on the first request and lives on
  flood         writes N MiB (default 8) to stderr before each answer
  drip          writes each answer one byte at a time
Answers (otherwise the result is the request's params):
  noise         surrounds each answer with lines that are not JSON objects
  twice         answers each request twice
  stranger      sends an answer to an id nobody used before each answer
  impostor      sends notifications in the name of the bus before each answer
  giant         the result is a text of N bytes (default 1 MiB)
  separators    the result has raw U+2028, U+2029, U+0085 inside a string
  digits        the result is the name of a method of the bus and an integer of N digits (default 5000)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

STRAY_ID = 987654321
BUS_METHODS = ("stdio_bus/worker_event", "stdio_bus/status", "stdio_bus/cancel")
NOISE = (b"Listening on stdio\n", b"\n", b"42\n", b"[1, 2]\n", b'"text"\n', b'{"cut": \n', b"\xff\xfe\n")


def encoded(request: dict, result: object) -> bytes:
    message = {"jsonrpc": "2.0", "id": request["id"], "result": result}
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"


def forged(method: str) -> bytes:
    params = {"kind": "failed", "pool": "misbehaving", "worker": 1, "reason": "not true"}
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"  # byte for byte as the bus does


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    mode = sys.argv[1]
    number = int(sys.argv[2]) if len(sys.argv) > 2 else None
    result: object = None  # of every answer; the request's params when None
    if mode == "exit":
        complain("cannot find my licence file")
        sys.exit(3 if number is None else number)
    if mode == "deaf":
        while True:
            signal.pause()
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        result = os.getpid()
    if mode in ("orphan", "daemon"):
        child = [sys.executable, "-c", "import signal\nwhile True: signal.pause()"]
        own_session = mode == "daemon"
        result = subprocess.Popen(child, stdin=subprocess.DEVNULL, start_new_session=own_session).pid
    if mode == "giant":
        result = "g" * (number or 1 << 20)
    if mode == "separators":
        result = "a\u2028b\u2029c\u0085d"
    if mode == "digits":
        result = [BUS_METHODS[0], "digits"]

    for count, line in enumerate(sys.stdin.buffer, 1):
        request = json.loads(line)
        answer = encoded(request, request.get("params") if result is None else result)
        if mode == "crash" or (mode == "daemon" and count == 2):
            complain("about to crash")
            sys.exit(9)
        if mode == "mute":
            complain(f"request {count}")
            continue
        if mode == "closed":
            os.close(1)
            continue
        if mode == "flood":
            line_of_text = "f" * 1023
            for _ in range(1024 * (number or 8)):
                print(line_of_text, file=sys.stderr)
        if mode == "drip":
            for n in range(len(answer)):
                write(answer[n : n + 1])
        elif mode == "noise":
            write(b"".join(NOISE) + answer + b"".join(NOISE))
        elif mode == "impostor":
            write(b"".join(map(forged, BUS_METHODS)) + answer)
        elif mode == "digits":
            write(answer.replace(b'"digits"', b"9" * (number or 5000)))
        elif mode == "stranger":
            write(encoded({"id": STRAY_ID}, "not for you") + answer)
        else:
            write(answer * (2 if mode == "twice" else 1))

    while mode == "stubborn":
        signal.pause()


main()
