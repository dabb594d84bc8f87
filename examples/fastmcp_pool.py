"""FastMCP's client over a pool: many clients share two processes of one server.

Needs `pip install "stdiobus[fastmcp]" mcp-server-time`.
"""

from __future__ import annotations

import asyncio
import json
import sys

import fastmcp

from stdiobus import AsyncStdioBus, BusConfig, PoolConfig
from stdiobus.adapters.fastmcp import StdioBusTransport

SERVER = PoolConfig("time", sys.executable, ["-m", "mcp_server_time"], protocol="mcp", instances=2)


async def ask(bus: AsyncStdioBus, hour: int) -> str:
    """One client of many: it has a session of its own, but starts no process."""
    arguments = {"source_timezone": "UTC", "time": f"{hour:02}:00", "target_timezone": "Asia/Tokyo"}
    async with fastmcp.Client(StdioBusTransport(bus, "time")) as client:
        result = await client.call_tool("convert_time", arguments)
    return json.loads(result.content[0].text)["target"]["datetime"][11:16]


async def main() -> None:
    async with AsyncStdioBus(BusConfig([SERVER])) as bus:
        times = await asyncio.gather(*(ask(bus, hour) for hour in range(10)))
        for hour, time in enumerate(times):
            print(f"{hour:02}:00 UTC is {time} in Tokyo")
        print(f"10 clients, {bus.get_worker_count()} processes")


if __name__ == "__main__":
    asyncio.run(main())
