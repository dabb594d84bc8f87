"""An MCP server (stdio, 2024-11-05 to 2025-11-25) as strict as the strictest parser in use.

What a lenient server forgives is a violation here: a call before the handshake, a second
`initialize`, an unknown top-level field, an id that is not an integer of at most 2^53 or is
still in flight, a batch, a line that is not JSON. `--on-violation silence` (default) drops
the message without an answer, as the TypeScript SDK does; `exit` ends with status 70.
Either way stderr says what was wrong.

Tools: `echo` (text), `add` (a, b), `count` (n: that many progress notifications when the call
has a token), `hold` (never answers; tells that it has begun when
the call has a token), `ask` (sends `roots/list` with id 0 and returns what
came back), `seen` (pid, violations, and the params of the cancellations so far).
"""

from __future__ import annotations

import argparse
import json
import os
import sys

NAMES = ("echo", "add", "count", "hold", "ask", "seen")
LARGEST_ID = 2**53


class Violation(Exception):
    """The client sent what a strict server does not take."""


def send(message: dict) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


class Server:
    def __init__(self) -> None:
        self.state = "new"  # then "initialized", then "ready"
        self.in_flight: set[int] = set()
        self.asked: list[int] = []  # calls of `ask` that wait for the client's answer
        self.violations: list[str] = []
        self.cancelled: list[dict] = []

    def receive(self, line: bytes) -> None:
        try:
            message = json.loads(line.decode())
        except ValueError as error:
            raise Violation(f"not JSON: {error}") from error
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            raise Violation("not a JSON-RPC 2.0 object")
        known = {"id", "method", "params"} if "method" in message else {"id", "result", "error"}
        unknown = set(message) - known - {"jsonrpc"}
        if unknown:
            raise Violation(f"unknown top-level field: {', '.join(sorted(unknown))}")
        if "method" not in message:
            self.answered(message)
        elif "id" not in message:
            self.notified(message["method"], message.get("params", {}))
        else:
            self.called(message["id"], message["method"], message.get("params", {}))

    def notified(self, method: str, params: dict) -> None:
        if method == "notifications/initialized" and self.state == "initialized":
            self.state = "ready"
        elif method == "notifications/cancelled" and self.state == "ready":
            self.cancelled.append(params)
            self.in_flight.discard(params.get("requestId"))
        else:
            raise Violation(f"{method} in state {self.state}")

    def answered(self, message: dict) -> None:
        if message.get("id") != 0 or not self.asked:
            raise Violation("an answer to no question")
        self.result(self.asked.pop(0), {key: message[key] for key in ("result", "error") if key in message})

    def called(self, request_id: object, method: str, params: dict) -> None:
        if type(request_id) is not int or abs(request_id) > LARGEST_ID:
            raise Violation(f"id {request_id!r} is not an integer up to 2^53")
        if request_id in self.in_flight:
            raise Violation(f"id {request_id} is in flight already")
        if (method == "initialize") != (self.state == "new"):
            raise Violation(f"{method} in state {self.state}")
        if method not in ("initialize", "ping") and self.state != "ready":
            raise Violation(f"{method} in state {self.state}")
        self.in_flight.add(request_id)
        if method == "initialize":
            self.state = "initialized"
            result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}}
            self.result(request_id, {**result, "serverInfo": {"name": "strict", "version": "1"}})
        elif method == "ping":
            self.result(request_id, {})
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]
            self.result(request_id, {"tools": tools})
        elif method == "tools/call":
            self.tool(request_id, params["name"], params.get("arguments", {}), params.get("_meta", {}))
        else:
            self.error(request_id, -32601, f"no method {method}")

    def tool(self, request_id: int, name: str, arguments: dict, meta: dict) -> None:
        if name == "echo":
            self.content(request_id, arguments["text"])
        elif name == "add":
            self.content(request_id, arguments["a"] + arguments["b"])
        elif name == "count":
            for n in range(1, arguments["n"] + 1):
                if "progressToken" in meta:
                    params = {"progressToken": meta["progressToken"], "progress": n, "total": arguments["n"]}
                    send({"method": "notifications/progress", "params": {**params, "message": f"step {n}"}})
            self.content(request_id, "counted")
        elif name == "ask":
            self.asked.append(request_id)
            send({"id": 0, "method": "roots/list"})
        elif name == "seen":
            seen = {"pid": os.getpid(), "violations": self.violations, "cancelled": self.cancelled}
            self.result(request_id, {"content": [], "structuredContent": seen})
        elif name == "hold":
            if "progressToken" in meta:
                params = {"progressToken": meta["progressToken"], "progress": 0}
                send({"method": "notifications/progress", "params": params})
        else:
            self.error(request_id, -32602, f"no tool {name}")

    def content(self, request_id: int, value: object) -> None:
        self.result(request_id, {"content": [{"type": "text", "text": str(value)}]})

    def result(self, request_id: int, result: dict) -> None:
        self.in_flight.discard(request_id)
        send({"id": request_id, "result": result})

    def error(self, request_id: int, code: int, text: str) -> None:
        self.in_flight.discard(request_id)
        send({"id": request_id, "error": {"code": code, "message": text}})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--on-violation", choices=("silence", "exit"), default="silence")
    options = parser.parse_args()
    server = Server()
    for line in sys.stdin.buffer:
        try:
            server.receive(line)
        except Violation as violation:
            server.violations.append(str(violation))
            print(f"violation: {violation}", file=sys.stderr, flush=True)
            if options.on_violation == "exit":
                sys.exit(70)


main()
