"""``stdiobus shim``: an MCP host's stdio server that is a pool of a running bus.

Here: which connection and which fields; the bytes are moved by ``pump.py``.
"""

from __future__ import annotations

import json

import click

from .configuration import ConfigFile, config_argument
from .connection import Connection, bus_options, find_address, find_token
from .pump import pump
from .status import NoBusError

_OF_ITS_OWN = ("stdiobus", "acp")
"""Profiles whose messages name their sessions themselves."""


@click.command()
@config_argument
@click.argument("pool")
@bus_options
def shim(config: str, pool: str, unix: str | None, tcp: str | None, token_file: str | None) -> None:
    """Stands in for a server: a host's way to a running bus.

    To a host, "stdiobus shim CONFIG POOL" is a stdio server like any other. Behind it, all hosts share
    the workers of POOL on the bus that "stdiobus run CONFIG --listen" has started; each stays on
    one of them. It ends when the host closes its stdin, and what the host has under way is cancelled.
    """
    file = ConfigFile(config)
    address = find_address(file, unix, tcp)
    connection = Connection(address, find_token(file, token_file))
    try:
        workers = connection.request("stdio_bus/stats")["workers"]
        pools = list(dict.fromkeys(worker["pool"] for worker in workers))
        if pool not in pools:
            raise click.UsageError(
                f"the bus on {address.text} has no pool {pool!r}; it has: {', '.join(pools)}"
            )
        connection.socket.settimeout(None)
        fields = routing_fields(pool, file.protocol(pool))
        if not pump(0, 1, connection.socket, fields, bytes(connection.rest)):
            raise NoBusError(f"the bus on {address.text} has ended; start it again: {address.remedy}")
    finally:
        connection.close()


def routing_fields(pool: str, protocol: str) -> bytes:
    """What the bus wants in each message, as the first members of an object.

    A host takes its server for one process: for that, and to be told what the server says
    unasked, it has a session.

    Args:
        pool: The pool.
        protocol: What it speaks.
    """
    fields = {"pool": pool} if protocol in _OF_ITS_OWN else {"pool": pool, "sessionId": "shim"}
    return "".join(f"{json.dumps(name)}:{json.dumps(value)}," for name, value in fields.items()).encode()
