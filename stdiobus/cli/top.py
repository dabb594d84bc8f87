"""``stdiobus top``: the workers of a running bus, live.

What it knows is what the bus answers to ``stdio_bus/stats``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .configuration import ConfigFile
from .connection import Address, Connection, bus_options, find_address, find_token
from .output import json_option, print_json, wants_json

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {"ready": "green", "starting": "yellow", "backoff": "yellow", "failed": "red"}


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False), required=False)
@bus_options
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one look stays.",
)
@click.option("--once", is_flag=True, help="Look once and end.")
@json_option
def top(
    config: str | None,
    unix: str | None,
    tcp: str | None,
    token_file: str | None,
    interval: float,
    once: bool,
    as_json: bool,
) -> None:
    """Shows pools and workers of a running bus until Ctrl-C.

    The bus is the one that "stdiobus run CONFIG --listen" has started; with --unix or --tcp CONFIG can be
    left out. JSON is one look, as the bus answers.
    """
    file = ConfigFile(config) if config is not None else None
    address = find_address(file, unix, tcp)
    connection = Connection(address, find_token(file, token_file))
    try:
        if wants_json(as_json):
            print_json(connection.request("stdio_bus/stats"))
        else:
            _show(connection, address, None if once else interval)
    except KeyboardInterrupt:
        pass  # the way to leave it
    finally:
        connection.close()


def _show(connection: Connection, address: Address, interval: float | None) -> None:
    """Prints one look, or with an interval one after the other on a screen of its own."""
    from rich.console import Console
    from rich.live import Live

    console = Console()
    status = connection.request("stdio_bus/stats")
    if interval is None:
        console.print(render(address.text, status, {}))
        return
    with Live(render(address.text, status, {}), console=console, screen=True, auto_refresh=False) as live:
        before, then = status, time.monotonic()
        while True:
            time.sleep(interval)
            status, now = connection.request("stdio_bus/stats"), time.monotonic()
            rates = _rates(before["stats"], status["stats"], now - then)
            live.update(render(address.text, status, rates), refresh=True)
            before, then = status, now


def _rates(before: Mapping[str, int], after: Mapping[str, int], seconds: float) -> dict[str, float]:
    """How fast each counter grows, per second."""
    return {name: (value - before[name]) / seconds for name, value in after.items()}


def render(name: str, status: Mapping[str, Any], rates: Mapping[str, float]) -> RenderableType:
    """A look at a bus.

    Args:
        name: Where it listens.
        status: What it answers to ``stdio_bus/stats``.
        rates: Its counters per second, where they are known.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    workers = status["workers"]
    pools = len({worker["pool"] for worker in workers})
    ready = sum(worker["state"] == "ready" for worker in workers)
    stats = status["stats"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("pool", style="bold", overflow="fold")
    table.add_column("state")
    for column in ("worker", "pid", "in flight", "restarts", "uptime", "in", "out"):
        table.add_column(column, justify="right", no_wrap=True)
    previous = None
    for worker in workers:
        colour = _COLOURS.get(worker["state"], "")
        table.add_row(
            Text(worker["pool"] if worker["pool"] != previous else ""),
            Text(worker["state"], colour),
            str(worker["id"]),
            str(worker["pid"] or ""),
            str(worker["in_flight"]),
            str(worker["restarts"]),
            duration(worker["uptime_ms"] / 1000),
            size(worker["bytes_in"]),
            size(worker["bytes_out"]),
        )
        previous = worker["pool"]
    into, out = _counter("messages_in", stats, rates), _counter("messages_out", stats, rates)
    counted = [
        f"{_number(pools, 'pool')}, {ready} of {_number(len(workers), 'worker')} ready",
        f"{_number(status['clients'], 'client')}, {_number(status['sessions'], 'session')}, "
        f"{_number(status['pending'], 'request')} under way",
        f"messages in: {into}, out: {out}; {_number(stats['worker_restarts'], 'restart')}, "
        f"{_number(stats['routing_errors'], 'routing error')}",
    ]
    return Group(Text(name, "bold"), Text("\n".join(counted)), table)


def _number(value: int, what: str) -> str:
    return f"{value} {what}{'' if value == 1 else 's'}"


def _counter(name: str, stats: Mapping[str, int], rates: Mapping[str, float]) -> str:
    rate = f" ({rates[name]:.1f}/s)" if name in rates else ""
    return f"{stats[name]}{rate}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units."""
    for unit, name, below, below_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= unit:
            return f"{int(seconds // unit)}{name}{int(seconds % unit // below):02}{below_name}"
    return f"{int(seconds)}s"


def size(count: int) -> str:
    """A number of bytes in three digits or four."""
    value = float(count)
    for unit in ("B", "K", "M", "G"):
        if value < 1000:
            return f"{value:.0f}{unit}" if unit == "B" or value >= 10 else f"{value:.1f}{unit}"
        value /= 1024
    return f"{value:.1f}T"
