"""A connection to a bus that runs, with blocking calls; what ``shim`` and ``top`` have in common.

Here: where the bus is, what it wants to hear first, and its own methods (``stdio_bus/``).
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, Callable, NamedTuple, TypeVar

import click

from .configuration import ConfigFile
from .status import NoBusError

_Command = TypeVar("_Command", bound=Callable[..., Any])

PATIENCE_SEC = 10.0
"""How long a bus may take to answer for itself."""


def bus_options(command: _Command) -> _Command:
    """Adds the options that say where the bus is."""
    for option in (
        click.option(
            "--token-file",
            type=click.Path(exists=True, dir_okay=False),
            help="What the bus wants to hear first; else STDIO_BUS_TOKEN, else CONFIG's token.",
        ),
        click.option("--tcp", metavar="HOST:PORT", help="Where it listens, if over TCP."),
        click.option("--unix", metavar="PATH", help="Where the bus listens, if not beside CONFIG."),
    ):
        command = option(command)
    return command


class Address(NamedTuple):
    """Where a bus listens.

    Attributes:
        text: For messages.
        target: For ``socket.connect``: a path, or host and port.
        remedy: How to start a bus there.
    """

    text: str
    target: str | tuple[str, int]
    remedy: str


def find_address(file: ConfigFile | None, unix: str | None, tcp: str | None) -> Address:
    """The address of the bus that is meant.

    Args:
        file: CONFIG, ``None`` where it was left out.
        unix: The option of this name.
        tcp: The option of this name.

    Raises:
        click.UsageError: Too much or too little was given.
    """
    config = file.path if file is not None else "CONFIG"
    if unix and tcp:
        raise click.UsageError("give at most one of --unix and --tcp")
    if tcp:
        host, _, port = tcp.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise click.BadParameter(f"{tcp!r} is not of the form HOST:PORT", param_hint="--tcp")
        return Address(tcp, (host.strip("[]"), int(port)), f"stdiobus run {config} --tcp {tcp}")
    if unix:
        return Address(unix, unix, f"stdiobus run {config} --unix {unix}")
    if file is None:
        raise click.UsageError("give CONFIG, --unix or --tcp")
    return Address(file.socket_path, file.socket_path, f"stdiobus run {config} --listen")


def find_token(file: ConfigFile | None, token_file: str | None) -> str | None:
    """What the bus wants to hear first, found as the program ``stdio_bus`` does; ``None`` for nothing."""
    if token_file is not None:
        with open(token_file, encoding="utf-8") as opened:
            return opened.readline().rstrip("\r\n")
    return os.environ.get("STDIO_BUS_TOKEN") or (file.token if file is not None else None)


class Connection:
    """A client of a bus; to be closed.

    Args:
        address: Where it listens.
        token: What it wants to hear first.

    Attributes:
        socket: The connection itself, which blocks for at most `PATIENCE_SEC`.
        rest: What has arrived behind the last answer.

    Raises:
        NoBusError: Nobody listens there, or it does not let us in.
    """

    def __init__(self, address: Address, token: str | None) -> None:
        self._address = address
        self._calls = 0
        self.rest = bytearray()
        try:
            self.socket = _connect(address.target)
        except OSError as error:
            raise NoBusError(
                f"no bus listens on {address.text} ({error.strerror or error}); start one: {address.remedy}"
            ) from error
        try:
            if token is not None:
                self.request("stdio_bus/hello", {"token": token})
        except NoBusError:
            self.close()
            raise

    def request(self, method: str, params: Any = None) -> Any:
        """The result of one of the bus's own methods.

        Args:
            method: ``stdio_bus/stats``, say.
            params: Its params.

        Raises:
            NoBusError: It refuses, or ends, or is none.
        """
        self._calls += 1
        message = {"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params or {}}
        try:
            self.socket.sendall(json.dumps(message).encode() + b"\n")
            line = self._line()
        except OSError as error:
            raise NoBusError(f"the bus on {self._address.text} does not answer: {error}") from error
        try:
            answer = json.loads(line)
            if "error" not in answer:
                return answer["result"]
            reason = answer["error"]["message"]
        except (ValueError, TypeError, KeyError) as error:
            raise NoBusError(
                f"what listens on {self._address.text} is no bus: it said {line[:80]!r}"
            ) from error
        remedy = "; give it with --token-file or STDIO_BUS_TOKEN" if "token" in reason else ""
        raise NoBusError(f"the bus on {self._address.text} refuses {method}: {reason}{remedy}")

    def close(self) -> None:
        """Ends it."""
        self.socket.close()

    def _line(self) -> bytes:
        while b"\n" not in self.rest:
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionError("it has closed the connection")
            self.rest += received
        line, _, self.rest = self.rest.partition(b"\n")
        return bytes(line)


def _connect(target: str | tuple[str, int]) -> socket.socket:
    if not isinstance(target, str):
        return socket.create_connection(target, PATIENCE_SEC)
    connected = socket.socket(socket.AF_UNIX)
    try:
        connected.settimeout(PATIENCE_SEC)
        connected.connect(target)
    except OSError:
        connected.close()
        raise
    return connected
