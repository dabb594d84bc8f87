"""An MCP server of the `mcp` package, both eras. Tools: `count`, `hold`, `pid`, `ask`.

`count` reports progress `n` times, with a message that carries `name`, and returns `name`; `hold`
reports progress once and never returns; `ask` asks the client to sample and returns what it said.
"""

from __future__ import annotations

import asyncio
import os

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import SamplingMessage, TextContent

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


if __name__ == "__main__":
    server.run("stdio")
