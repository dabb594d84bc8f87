"""A JSON-RPC worker that answers every request with what it saw.

The result is `{"method", "params", "pid", "fields"}`, `fields` being the top-level keys of
the request, so a test can tell what the bus let through; a `sessionId` comes back at top level.

Params that steer it (all counted, nothing timed):
  {"after": n}   this request is answered only when n further requests have been read;
                 a line on stderr says that it is held
  {"emit": n}    n notifications `tick` with params {"n": 0...} are sent before the answer
A notification is answered by a notification `echo/notified` that holds its method and params.
"""

from __future__ import annotations

import json
import os
import sys


def send(message: dict) -> None:
    sys.stdout.buffer.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")
    sys.stdout.buffer.flush()


def with_session(message: dict, request: dict) -> dict:
    return {**message, "sessionId": request["sessionId"]} if "sessionId" in request else message


def answer(request: dict) -> None:
    params = request.get("params")
    if isinstance(params, dict):
        for n in range(params.get("emit", 0)):
            send(with_session({"jsonrpc": "2.0", "method": "tick", "params": {"n": n}}, request))
    result = {"method": request["method"], "params": params, "pid": os.getpid(), "fields": sorted(request)}
    send(with_session({"jsonrpc": "2.0", "id": request["id"], "result": result}, request))


def main() -> None:
    held: list[list] = []  # [requests still to be read, request]
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" not in message:
            params = {"method": message["method"], "params": message.get("params")}
            send(with_session({"jsonrpc": "2.0", "method": "echo/notified", "params": params}, message))
            continue
        for entry in held:
            entry[0] -= 1
        params = message.get("params")
        after = params.get("after", 0) if isinstance(params, dict) else 0
        if after:
            held.append([after, message])
            print(f"echo_worker: holding {message['method']}", file=sys.stderr, flush=True)
        else:
            answer(message)
        for entry in [entry for entry in held if entry[0] <= 0]:
            held.remove(entry)
            answer(entry[1])


main()
