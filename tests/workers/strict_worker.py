"""A worker of any profile but `stdiobus` that takes nothing except what the strictest parser takes.

Called with the profile. It reads raw bytes and ends with status 70, and the reason on stderr, at the
first line that is not exactly one message of JSON-RPC 2.0: another top-level field, a key twice, a
batch, a carriage return, an empty line or half a message, an id that is not an integer from 0 to
2^53 or is in flight, an answer to no question; or at what the profile does not allow: anything
before the handshake, a second one, a progress token that is not its request's id, a cancellation
of what is not in flight, a session that was not opened here.

Methods: `echo` returns its params; `ask` asks the client for `params.method`, with ids from 0 on, and
returns the answer; `stream` sends `params.n` parts in the way of the profile, together with those
of other requests where `params.together` of them are to come; `hold` tells of itself, in the same
way, and waits to be cancelled; `seen` tells its pid and what came: requests, and how many were
cancelled. In `acp` they are prompts, `params.prompt` being the method, in a session from
`session/new` or `session/fork`; `updates` sends those in `params.updates` there.
"""

from __future__ import annotations

import json
import os
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
        self.asking: dict[int, int] = {}  # requests that wait for an answer of the client, by its id
        self.asked = 0
        self.together: list[int] = []
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
            self.check(type(message["id"]) is int and message["id"] in self.asking, "no question")
            outcome = {key: message[key] for key in ("result", "error") if key in message}
            self.answer(self.asking.pop(message["id"]), outcome)
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
        if method in ("session/new", "session/fork"):
            if method == "session/fork":
                self.check(params["sessionId"] in self.sessions, "session")
            session = f"session {len(self.sessions)}"
            self.sessions.add(session)
            self.answer(number, {"sessionId": session})
            return
        if PROFILE == "acp":
            self.check(params.get("sessionId") in self.sessions, "session")
            method = params["prompt"]
            if isinstance(method, list):  # of blocks, as clients of the package send it
                method = method[0]["text"]
        if method == "echo":
            self.answer(number, params if isinstance(params, dict) else {"params": params})
        elif method == "ask":
            question, self.asked = self.asked, self.asked + 1
            self.asking[question] = number
            session = {"sessionId": params["sessionId"]} if PROFILE == "acp" else {}
            send(id=question, method=params["method"], params={**session, "question": "?"})
        elif method == "stream":
            self.together.append(number)
            if len(self.together) == params.get("together", 1):
                self.stream()
        elif method == "hold":
            self.part(number, params, 0)
        elif method == "seen":
            seen = {"pid": os.getpid(), "requests": self.requests, "cancelled": self.cancelled}
            self.answer(number, seen)
        elif method == "updates":
            for update in params["updates"]:
                send(method="session/update", params={"sessionId": params["sessionId"], "update": update})
            self.answer(number, {})
        else:
            del self.in_flight[number]
            send(id=number, error={"code": -32601, "message": method})

    def stream(self) -> None:
        streams = {number: self.in_flight[number] for number in self.together}
        self.together.clear()
        for n in range(max(params["n"] for params in streams.values())):
            for number, params in streams.items():
                if n < params["n"]:
                    self.part(number, params, n)
        for number, params in streams.items():
            self.answer(number, {"n": params["n"]})

    def part(self, number: int, params: dict, n: int) -> None:
        if PROFILE == "acp":
            update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": str(n)}}
            send(method="session/update", params={"sessionId": params["sessionId"], "update": update})
        elif "progressToken" in params.get("_meta", {}):
            progress = {"progressToken": number, "progress": n, "message": str(n)}
            send(method="notifications/progress", params=progress)

    def answer(self, number: int, result: dict) -> None:
        if "prompt" in self.in_flight[number]:
            result = {"stopReason": "end_turn", **result}
        del self.in_flight[number]
        send(id=number, result=result)


worker = Worker()
for line in iter(sys.stdin.buffer.readline, b""):
    worker.receive(line)
