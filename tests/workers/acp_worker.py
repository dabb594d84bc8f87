"""An ACP agent of the `agent-client-protocol` package: echoes prompts, block by block, as chunks.

A block `may I?` asks for permission first, and its chunk is the option chosen; `hold` says
`holding` and waits until the prompt is cancelled. Sessions are s1, s2..., alike in every process.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from acp import (
    Agent,
    InitializeResponse,
    NewSessionResponse,
    PromptResponse,
    run_agent,
    text_block,
    update_agent_message,
)
from acp.schema import PermissionOption, ToolCallUpdate

OPTIONS = [PermissionOption(option_id=each, name=each, kind=f"{each}_once") for each in ("allow", "reject")]


class EchoAgent(Agent):
    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.cancelled: dict[str, asyncio.Event] = {}

    def on_connect(self, conn: Any) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, **_: Any) -> InitializeResponse:
        return InitializeResponse(protocol_version=protocol_version)

    async def new_session(self, cwd: str, **_: Any) -> NewSessionResponse:
        session = f"s{next(self.numbers)}"
        self.cancelled[session] = asyncio.Event()
        return NewSessionResponse(session_id=session)

    async def cancel(self, session_id: str, **_: Any) -> None:
        self.cancelled[session_id].set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> PromptResponse:
        for block in prompt:
            text = block.text
            if text == "hold":
                await self.say(session_id, "holding")
                await self.cancelled[session_id].wait()
                return PromptResponse(stop_reason="cancelled")
            if text == "may I?":
                tool_call = ToolCallUpdate(tool_call_id="call", title=session_id)
                answer = await self.client.request_permission(
                    session_id=session_id, tool_call=tool_call, options=OPTIONS
                )
                text = answer.outcome.option_id
            await self.say(session_id, text)
            await asyncio.sleep(0)  # so that prompts take turns
        return PromptResponse(stop_reason="end_turn")

    async def say(self, session_id: str, text: str) -> None:
        await self.client.session_update(session_id=session_id, update=update_agent_message(text_block(text)))


if __name__ == "__main__":
    asyncio.run(run_agent(EchoAgent()))
