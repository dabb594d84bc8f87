"""A bus in a notebook: `StdioBus` blocks the cell and nothing else, whatever loop the notebook runs.

The cells are those of Jupyter, VS Code and PyCharm; it runs as a script too.
Needs `pip install stdiobus mcp-server-time`.
"""

# %% Start the server once; it stays warm for all cells below.
import json
import sys

from stdiobus import BusConfig, PoolConfig, RemoteError, StdioBus

bus = StdioBus(BusConfig([PoolConfig("time", sys.executable, ["-m", "mcp_server_time"], protocol="mcp")]))
bus.start()
time = bus.pool("time")

# %% What can it do?
for tool in time.request("tools/list")["tools"]:
    print(f"{tool['name']}: {', '.join(tool['inputSchema']['properties'])}")


# %% Use it.
def convert(clock: str, zone: str) -> str:
    arguments = {"source_timezone": "UTC", "time": clock, "target_timezone": zone}
    result = time.request("tools/call", {"name": "convert_time", "arguments": arguments})
    return json.loads(result["content"][0]["text"])["target"]["datetime"]


for zone in ("Asia/Tokyo", "Europe/Paris"):
    print(zone, convert("12:00", zone)[11:16])

# %% A mistake raises, and the bus goes on.
try:
    time.request("tools/kall")
except RemoteError as error:
    print(f"refused with {error.rpc_code}")

# %% Look at the process; put a fresh one in its place.
before = time.workers()[0].pid
time.restart()
print("another process:", time.workers()[0].pid != before)

# %% The end. A kernel that is shut down without it leaves no process behind either.
bus.stop()
