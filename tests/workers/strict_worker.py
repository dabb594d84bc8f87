"""A worker of any profile but `stdiobus` that takes nothing except what the strictest parser takes.

Called with the profile. It reads raw bytes and ends with status 70, and the reason on stderr, at the
first line that is not exactly one message of JSON-RPC 2.0: another top-level field, a key twice, a
batch, a carriage return, an empty line or half a message, an id that is not an integer from 0 to
2^53 or is in flight, an answer to no question; or at what the profile does not allow: anything
before the handshake, a second one, a progress token that is not its request's id, a cancellation
of what is not in flight, a session that was not opened here.

Methods: `echo` returns its params; `ask` asks the client for `params.method` with id 0 and returns
the answer; `stream` sends `params.n` parts in the way of the profile; `hold` tells of itself, in
the same way, and waits to be cancelled; `seen` tells what came: requests, and how many were
cancelled. In `acp` they are prompts, `params.prompt` being the method, in a session from
`session/new`.
"""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

PROFILE = sys.argv[1]
HANDSHAKE = {"mcp": "notifications/initialized", "acp": None}
FIELDS = (
    {"jsonrpc", "id", "method"},
    {"jsonrpc", "id", "method", "params"},
    {"jsonrpc", "method"},
    {"jsonrpc", "method", "params"},
    {"jsonrpc", "id", "result"},
    {"jsonrpc", "id", "error"},
)


def violation(what: str, line: bytes) -> NoReturn:
    sys.stderr.write(f"violation: {what}: {line!r}\n")
    sys.stderr.flush()
    sys.exit(70)


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def unique(pairs: list[tuple[str, Any]]) -> dict:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 2**53


class Worker:
    def __init__(self) -> None:
        self.line = b""
        self.awaits = ["initialize", HANDSHAKE[PROFILE]] if PROFILE in HANDSHAKE else []
        self.in_flight: dict[int, Any] = {}  # params by id
        self.asking: list[int] = []  # requests that wait for an answer of the client; one at a time
        self.sessions: set[str] = set()
        self.requests = self.cancelled = 0

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            violation(what, self.line)

    def receive(self, line: bytes) -> None:
        self.line = line
        self.check(line.endswith(b"\n") and not line.endswith(b"\r\n") and bool(line.strip()), "not a line")
        try:
            message = json.loads(line[:-1].decode("utf-8", "strict"), object_pairs_hook=unique)
        except ValueError as error:
            violation(str(error), line)
        self.check(isinstance(message, dict) and set(message) in FIELDS, "not these fields")
        self.check(message["jsonrpc"] == "2.0", "jsonrpc")
        if "method" not in message:
            self.check(bool(self.asking) and type(message["id"]) is int and message["id"] == 0, "no question")
            number = self.asking.pop()
            self.answer(number, {key: message[key] for key in ("result", "error") if key in message})
            return
        self.check(isinstance(message["method"], str), "method")
        params = message.get("params", {})
        self.check(isinstance(params, dict) or (PROFILE == "jsonrpc" and isinstance(params, list)), "params")
        if self.awaits:
            self.check(message["method"] == self.awaits.pop(0), "not the handshake")
            if self.awaits == [None]:
                self.awaits.clear()
        else:
            self.check(message["method"] != "initialize", "a second handshake")
        if "id" in message:
            self.request(message["id"], message["method"], params)
        else:
            self.notification(message["method"], params)

    def notification(self, method: str, params: Any) -> None:
        if method in ("notifications/cancelled", "$/cancel_request"):
            self.check(params["requestId"] in self.in_flight, "cancels what is not in flight")
            self.check(type(params["requestId"]) is int, "cancels by an id of another kind")
            self.cancelled += 1
            if method == "$/cancel_request":
                send(id=params["requestId"], error={"code": -32800, "message": "cancelled"})
            del self.in_flight[params["requestId"]]
        elif method == "session/cancel":
            held = [n for n, each in self.in_flight.items() if each.get("sessionId") == params["sessionId"]]
            self.check(len(held) == 1, "cancels what is not in flight")
            self.cancelled += 1
            self.answer(held[0], {"stopReason": "cancelled"})

    def request(self, number: Any, method: str, params: Any) -> None:
        self.check(is_id(number) and number not in self.in_flight, "id")
        self.in_flight[number] = params
        self.requests += 1
        meta = params.get("_meta", {}) if isinstance(params, dict) else {}
        if PROFILE.startswith("mcp") and "progressToken" in meta:
            self.check(type(meta["progressToken"]) is int and meta["progressToken"] == number, "token")
        if method == "initialize":
            self.answer(number, {"protocolVersion": params["protocolVersion"], "capabilities": {}})
            return
        if method == "session/new":
            session = f"session {len(self.sessions)}"
            self.sessions.add(session)
            self.answer(number, {"sessionId": session})
            return
        if PROFILE == "acp":
            self.check(params.get("sessionId") in self.sessions, "session")
            method = params["prompt"]
        if method == "echo":
            self.answer(number, params if isinstance(params, dict) else {"params": params})
        elif method == "ask":
            self.asking.append(number)
            session = {"sessionId": params["sessionId"]} if PROFILE == "acp" else {}
            send(id=0, method=params["method"], params={**session, "question": "?"})
        elif method == "stream":
            for n in range(params["n"]):
                self.part(number, params, n)
            self.answer(number, {"n": params["n"]})
        elif method == "hold":
            self.part(number, params, 0)
        elif method == "seen":
            self.answer(number, {"requests": self.requests, "cancelled": self.cancelled})
        else:
            del self.in_flight[number]
            send(id=number, error={"code": -32601, "message": method})

    def part(self, number: int, params: dict, n: int) -> None:
        if PROFILE == "acp":
            update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": str(n)}}
            send(method="session/update", params={"sessionId": params["sessionId"], "update": update})
        elif "progressToken" in params.get("_meta", {}):
            progress = {"progressToken": number, "progress": n, "message": str(n)}
            send(method="notifications/progress", params=progress)

    def answer(self, number: int, result: dict) -> None:
        del self.in_flight[number]
        send(id=number, result=result)


worker = Worker()
for line in iter(sys.stdin.buffer.readline, b""):
    worker.receive(line)
