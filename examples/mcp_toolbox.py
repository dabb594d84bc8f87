"""A toolbox: the tools of all MCP servers of an `mcpServers` file, under one roof.

    python examples/mcp_toolbox.py mcp.json
    python examples/mcp_toolbox.py mcp.json time/get_current_time '{"timezone": "Europe/Paris"}'

A server that cannot be started costs its own tools only. For a program that goes on using the servers
they stay warm; `instances=2` would give each two processes.
"""

from __future__ import annotations

import argparse
import asyncio
import json

from stdiobus import AsyncStdioBus, BusConfig


async def tools_of(bus: AsyncStdioBus, pool: str) -> list[dict]:
    """All tools of a server, page by page."""
    tools, cursor = [], {}
    while cursor is not None:
        page = await bus.request("tools/list", cursor, pool=pool)
        tools += page["tools"]
        cursor = {"cursor": page["nextCursor"]} if page.get("nextCursor") else None
    return tools


async def call(bus: AsyncStdioBus, name: str, arguments: dict) -> str:
    """The text that a tool, named SERVER/TOOL, answers; what it does meanwhile is printed."""
    pool, _, tool = name.partition("/")
    params = {"name": tool, "arguments": arguments}
    async for event in bus.stream_request("tools/call", params, pool=pool):
        if event.type == "chunk":
            print(f"... {event.data}")
    return "\n".join(block.get("text", f"<{block['type']}>") for block in event.result["content"])


async def main(path: str, name: str | None, arguments: dict) -> None:
    config = BusConfig.from_mcp_config(path)
    async with AsyncStdioBus(config, strict=False) as bus:
        for pool, error in bus.get_failed_pools().items():
            print(f"{pool}: not there: {error.message.splitlines()[0]}")
        if name is not None:
            print(await call(bus, name, arguments))
            return
        working = [pool.id for pool in config.pools if pool.id not in bus.get_failed_pools()]
        for pool, tools in zip(working, await asyncio.gather(*(tools_of(bus, pool) for pool in working))):
            for tool in tools:
                print(f"{pool}/{tool['name']}: {tool.get('description', '').partition(chr(10))[0]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", help="an mcpServers file")
    parser.add_argument("tool", nargs="?", help="SERVER/TOOL")
    parser.add_argument("arguments", nargs="?", type=json.loads, default={}, help="JSON")
    options = parser.parse_args()
    asyncio.run(main(options.file, options.tool, options.arguments))
