"""An MCP server of the `mcp` package, both eras. Tools: `count`, `hold`, `pid`, `ask`, `confirm`.

`count` reports progress `n` times, with a message that carries `name`, and returns `name`; `hold`
reports progress once and never returns; `ask` asks the client to sample and returns what it said.
`confirm` asks the user: by a request, or in the stateless era by a result that wants more input and whose
state only this process can read.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("worker", log_level="ERROR")


@server.tool()
async def count(n: int, name: str, context: Context) -> str:
    for step in range(n):
        await context.report_progress(step + 1, n, f"{name}/{step}")
        await asyncio.sleep(0)  # so that calls take turns
    return name


@server.tool()
async def hold(context: Context) -> str:
    await context.report_progress(0)
    await asyncio.Event().wait()
    return ""


@server.tool()
def pid() -> int:
    return os.getpid()


@server.tool()
async def ask(question: str, context: Context) -> str:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=question))
    result = await context.session.create_message(messages=[message], max_tokens=10)
    return result.content.text


class Answer(BaseModel):
    sure: bool


async def are_you_sure(what: str) -> Elicit[Answer]:
    return Elicit(f"{what}?", Answer)


@server.tool()
async def confirm(what: str, answer: Annotated[Answer, Resolve(are_you_sure)]) -> str:
    return f"{what}: {answer.sure}"


if __name__ == "__main__":
    server.run("stdio")
