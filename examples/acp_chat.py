"""A chat with an ACP agent in the terminal, which is asked before the agent does anything.

    python examples/acp_chat.py gemini --experimental-acp

An empty line ends the chat.
"""

from __future__ import annotations

import asyncio
import os
import sys

from stdiobus import AsyncStdioBus, BusConfig, PoolConfig


def ask(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        return ""


async def permission(params: dict, context: object) -> dict:
    """Shows what the agent wants and returns what the user chose."""
    print(f"\n\nThe agent wants to: {params['toolCall'].get('title', 'use a tool')}")
    options = params["options"]
    for number, option in enumerate(options, 1):
        print(f"  {number}  {option['name']}")
    choice = await asyncio.to_thread(ask, "? ")
    if choice.isdecimal() and 1 <= int(choice) <= len(options):
        return {"outcome": {"outcome": "selected", "optionId": options[int(choice) - 1]["optionId"]}}
    return {"outcome": {"outcome": "cancelled"}}


async def tell_tools(bus: AsyncStdioBus) -> None:
    """Prints what the agent does beside talking."""
    async for notification in bus.subscribe("agent", methods=["session/update"]):
        update = notification["params"]["update"]
        if update["sessionUpdate"] == "tool_call":
            print(f"\n[{update['title']}]", flush=True)


async def answer(bus: AsyncStdioBus, session: str, text: str) -> None:
    params = {"sessionId": session, "prompt": [{"type": "text", "text": text}]}
    async for event in bus.stream_request("session/prompt", params, pool="agent", timeout_ms=float("inf")):
        if event.text:
            print(event.text, end="", flush=True)
        elif event.result and event.result["stopReason"] != "end_turn":
            print(f"[{event.result['stopReason']}]", end="")
    print()


async def main(command: str, args: list[str]) -> None:
    bus = AsyncStdioBus(BusConfig([PoolConfig("agent", command, args, protocol="acp")]))
    bus.on_request("session/request_permission", permission)
    async with bus:
        tools = asyncio.create_task(tell_tools(bus))
        opened = await bus.request("session/new", {"cwd": os.getcwd(), "mcpServers": []}, pool="agent")
        while text := await asyncio.to_thread(ask, "\n> "):
            await answer(bus, opened["sessionId"], text)
        tools.cancel()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
