"""A FastAPI application whose requests share one bus: warm servers, no process per call.

    pip install fastapi uvicorn mcp-server-time
    uvicorn --app-dir examples fastapi_app:app

Each worker process of uvicorn has a bus of its own, which starts and ends with it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

from stdiobus import AsyncStdioBus, BusConfig, PoolConfig, RemoteError, StdioBusError

SERVER = ["-m", "mcp_server_time"]
TIME = PoolConfig("time", sys.executable, SERVER, protocol="mcp", instances=2, max_queue=100)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncStdioBus(BusConfig([TIME])) as app.state.bus:
        yield


app = FastAPI(lifespan=lifespan)


async def call(method: str, pool: str, params: dict | None = None) -> Any:
    """A request; what can go wrong, in the words of HTTP."""
    try:
        return await app.state.bus.request(method, params, pool=pool, timeout_ms=10_000)
    except RemoteError as error:
        raise HTTPException(422, error.message) from error
    except StdioBusError as error:
        raise HTTPException(503, error.message) from error


@app.get("/tools/{pool}")
async def tools(pool: str) -> list[str]:
    return [tool["name"] for tool in (await call("tools/list", pool))["tools"]]


@app.post("/tools/{pool}/{tool}")
async def use(pool: str, tool: str, arguments: dict) -> Any:
    return await call("tools/call", pool, {"name": tool, "arguments": arguments})


@app.post("/stream/{pool}/{tool}")
async def stream(pool: str, tool: str, arguments: dict) -> StreamingResponse:
    """Progress as lines of text; a client that leaves cancels the call."""

    async def lines() -> AsyncIterator[str]:
        params = {"name": tool, "arguments": arguments}
        async for event in app.state.bus.stream_request("tools/call", params, pool=pool):
            yield f"{event.type.value}: {event.data}\n"

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/health")
async def health() -> dict[str, str]:
    """The state of each process, by pool and number."""
    return {f"{worker.pool}/{worker.worker_id}": worker.state for worker in app.state.bus.get_workers()}
