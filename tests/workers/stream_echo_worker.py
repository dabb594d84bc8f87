"""A worker of profile `stdiobus`, or `acp`, that streams a prompt back, word by word.

For a request with params `{"prompt": "..."}` it sends one `session/update` notification
(an `agent_message_chunk`) per word, and then the answer `{"stopReason": "end_turn", "words": n}`.
A notification is addressed by the request's top-level `sessionId`; without one by
`params.sessionId`, "s1" where the request has none. The chunks joined are the prompt.

Options:
  --pause SECONDS   wait before each word, for human eyes
  --together N      collect N prompts, then stream them in turns, one word each
Params that steer one prompt: {"fail_after": n} and {"exit_after": n} end it after n words
with an error, or with the death of the worker.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator


def send(message: dict) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode() + b"\n")
    sys.stdout.buffer.flush()


def reply(request: dict, pause: float) -> Iterator[None]:
    """Streams one reply; gives way after each word."""
    session = {"sessionId": request["sessionId"]} if "sessionId" in request else {}
    params = request.get("params")
    prompt = params.get("prompt") if isinstance(params, dict) else None
    if not isinstance(prompt, str):
        error = {"code": -32602, "message": "params.prompt must be a string"}
        send({"id": request["id"], **session, "error": error})
        return
    words = re.findall(r"\s+|\S+\s*", prompt)
    for n, word in enumerate(words):
        if params.get("fail_after") == n:
            send({"id": request["id"], **session, "error": {"code": -32000, "message": "asked to fail"}})
            return
        if params.get("exit_after") == n:
            print("asked to exit", file=sys.stderr, flush=True)
            os._exit(7)
        time.sleep(pause)
        update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": word}}
        named = {} if session else {"sessionId": params.get("sessionId", "s1")}
        send({"method": "session/update", **session, "params": {**named, "update": update}})
        yield
    send({"id": request["id"], **session, "result": {"stopReason": "end_turn", "words": len(words)}})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--together", type=int, default=1)
    options = parser.parse_args()
    waiting: list[Iterator[None]] = []
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if message.get("method") == "initialize":
            send({"id": message["id"], "result": {"protocolVersion": 1, "agentCapabilities": {}}})
            continue
        if "id" in message and "method" in message:
            waiting.append(reply(message, options.pause))
        if len(waiting) < options.together:
            continue
        while waiting:
            waiting = [stream for stream in waiting if next(stream, "ended") is None]


main()
