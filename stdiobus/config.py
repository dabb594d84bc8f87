"""Everything a user configures about a bus, and its validation.

Options of a single call are in ``options.py``, what values there may be in ``rules.py``.
The rules and the wording of the errors are the kernel's: a wrong configuration is refused
with the same text whether Python or the kernel reads it.  Validation works on the plain JSON
document, so there is one set of rules for documents and for the classes below; nothing here
reads the environment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from . import __version__, rules
from .messages import ListenMode
from .values import Value

if TYPE_CHECKING:
    from .mcp_config import InputCallback

__all__ = ["BusConfig", "DockerOptions", "LimitsConfig", "NativeOptions", "PoolConfig", "SubprocessOptions"]

PROTOCOLS = ("stdiobus", "jsonrpc", "mcp", "mcp-stateless", "acp")
PULL_POLICIES = ("missing", "always", "never")
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


@dataclass(frozen=True, eq=False, repr=False)
class PoolConfig(Value):
    """A named set of identical workers.

    Attributes:
        id: The pool's name, at most 128 bytes.
        command: The program, looked up on the worker's ``PATH``; required unless ``embedded``.
        args: Its arguments.
        instances: How many workers, 1..1024.
        env: Variables for the worker; ``None`` as value removes one.
        inherit_env: Whether the worker sees this process's environment too.
        cwd: Its working directory.
        protocol: ``stdiobus``, ``jsonrpc``, ``mcp``, ``mcp-stateless`` or ``acp``.
        max_in_flight: Requests out to one worker at a time, 0 for no cap.
        max_queue: Requests that may wait for a free worker, 0..1000000.
        startup_timeout_sec: Seconds that one start may take, handshake included, 1..3600.
        handshake: Replaces the profile's handshake: ``{"request": {"method", "params"},
            "notification": {"method", "params"}}``.
        embedded: No processes: every worker is added by ``add_worker``.
        timeout_ms: Deadline of calls to this pool that name none, in milliseconds; ``None``
            for that of the bus.
        metadata: Whatever else is known about the pool; the bus makes nothing of it.

    The last two concern this client alone and are no part of a configuration document.
    """

    id: str
    command: str | None = None
    args: Sequence[str] = ()
    instances: int = 1
    env: Mapping[str, str | None] = field(default_factory=dict)
    inherit_env: bool = True
    cwd: str | None = None
    protocol: str = "stdiobus"
    max_in_flight: int = 0
    max_queue: int = 1000
    startup_timeout_sec: int = 30
    handshake: Mapping[str, Any] | None = None
    embedded: bool = False
    timeout_ms: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


_LOCAL = ("timeout_ms", "metadata")


@dataclass(frozen=True, eq=False, repr=False)
class LimitsConfig(Value):
    """Bounds of the whole bus; a page of the documentation says what becomes of who meets one.

    Attributes:
        max_input_buffer: Bytes of the longest line, 1024..1073741824.
        max_output_queue: Bytes that may wait for one client, worker or stream,
            1024..4294967296.
        max_restarts: How often a worker may die within ``restart_window_sec`` before it is
            given up, 0..1000000.
        restart_window_sec: Seconds, 1..86400.
        drain_timeout_sec: Seconds that requests under way have when a worker is to end,
            0..3600.
        backpressure_timeout_sec: Seconds after which an external client that does not read
            is closed, 1..3600.
        max_clients: External clients at a time, 1..65536.
        max_sessions: Sessions that are remembered, 1..10000000; beyond them the client that has
            most forgets the one that it has left idle the longest.
    """

    max_input_buffer: int = 10 * 1024 * 1024
    max_output_queue: int = 40 * 1024 * 1024
    max_restarts: int = 5
    restart_window_sec: int = 60
    drain_timeout_sec: int = 30
    backpressure_timeout_sec: int = 60
    max_clients: int = 1024
    max_sessions: int = 100_000


@dataclass(frozen=True, eq=False, repr=False)
class BusConfig(Value):
    """The pools of a bus and its limits; validated on construction.

    Args:
        pools: At least one.
        limits: Bounds of the whole bus.
        token: What external clients must say first (``stdio_bus/hello``, ``params.token``),
            1 to 1024 bytes; needed to listen on more than the loopback address.

    Raises:
        InvalidArgumentError: ``<field>: <problem>`` for the first thing that is wrong.
    """

    pools: Sequence[PoolConfig]
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_document(self.to_dict())
        for index, pool in enumerate(self.pools):
            if isinstance(pool, PoolConfig):
                rules.any_object(f"pools[{index}].metadata", pool.metadata)
                if pool.timeout_ms is not None:
                    rules.above_zero("milliseconds")(f"pools[{index}].timeout_ms", pool.timeout_ms)

    @classmethod
    def from_dict(cls, document: Any) -> BusConfig:
        """Reads a configuration document.

        Args:
            document: What ``json.load`` gives.

        Raises:
            InvalidArgumentError: ``<field>: <problem>`` for the first thing that is wrong.
        """
        _check_document(document)
        pools = [
            PoolConfig(**{name: value for name, value in pool.items() if value is not None})
            for pool in document["pools"]
        ]
        limits = LimitsConfig(**document.get("limits", {}))
        return cls(pools=pools, limits=limits, token=document.get("token"))

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "config") -> BusConfig:
        """Reads a configuration from JSON text.

        Args:
            text: The text; bytes are UTF-8.
            source: What to call it in an error about its syntax, a path for example.

        Raises:
            InvalidArgumentError: Not JSON (with line and column), or wrong contents.
        """
        return cls.from_dict(rules.load_json(text, source))

    @classmethod
    def from_file(cls, path: str) -> BusConfig:
        """Reads a configuration file.

        Args:
            path: A JSON file.

        Raises:
            InvalidArgumentError: It cannot be read, or as in `from_json`, naming the file.
        """
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError as error:
            rules.fail(path, f"cannot be read: {error.strerror}")
        return cls.from_json(text, source=path)

    @classmethod
    def from_mcp_config(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Any],
        *,
        protocol: str = "mcp",
        instances: int = 1,
        workspace_folder: str | os.PathLike[str] | None = None,
        inputs: InputCallback | None = None,
    ) -> BusConfig:
        """Reads the ``mcpServers`` JSON that desktop hosts use: one pool per server.

        The servers stand under ``mcpServers``, ``servers`` (VS Code), ``context_servers``
        (Zed) or alone.  Read are ``command``, ``args``, ``env`` (null removes a variable),
        ``envFile``, ``cwd``, ``startup_timeout_sec`` and ``timeout`` (of a call; a number
        above 3600 is milliseconds, else seconds); all other fields go to
        `PoolConfig.metadata`.  Disabled servers are left out; servers with a ``url`` too,
        with a warning in the log.

        Strings may contain ``${VAR}`` or ``${env:VAR}``, ``${VAR:-default}``,
        ``${workspaceFolder}``, ``${userHome}`` and ``${input:ID}``.

        Args:
            source: A file, where comments and trailing commas are allowed, or its contents.
            protocol: The profile of all its pools.
            instances: How many workers each has.
            workspace_folder: ``${workspaceFolder}``, to which ``cwd`` and ``envFile`` are
                relative; by default the current folder.
            inputs: Called with the ID of ``${input:ID}`` and its definition under
                ``inputs``; returns the text, or ``None`` for the definition's ``default``.

        Raises:
            InvalidArgumentError: ``<field>: <problem>``, a variable that is not set for
                example; or no server is left.
        """
        from .mcp_config import read_pools

        return cls(pools=read_pools(source, protocol, instances, workspace_folder, inputs))

    def to_dict(self) -> dict[str, Any]:
        """The configuration as a document that `from_dict` reads back."""
        document = {"pools": _listed(self.pools), "limits": _plain(self.limits)}
        return document if self.token is None else {**document, "token": self.token}

    def to_json(self) -> str:
        """The configuration as the kernel reads it."""
        return json.dumps(self.to_dict(), separators=(",", ":"))


@dataclass(frozen=True, eq=False, repr=False)
class NativeOptions(Value):
    """Options of the native backend.

    Attributes:
        listen_mode: Whether other processes can connect.
        tcp_host: Address to listen on; other than loopback it needs `BusConfig.token`.
        tcp_port: Port to listen on, 0 for a free one.
        unix_path: Path of the socket to listen on; required with ``ListenMode.UNIX``.
        poll_interval_ms: Milliseconds, 1..1000: the period of the timer that steps the bus
            where the event loop cannot watch its descriptor.
        force_timer: Step by that timer even where the loop could watch.

    Raises:
        InvalidArgumentError: ``native.<field>: <problem>`` for the first thing that is wrong.
    """

    listen_mode: ListenMode = ListenMode.NONE
    tcp_host: str = "127.0.0.1"
    tcp_port: int = 0
    unix_path: str | None = None
    poll_interval_ms: int = 1
    force_timer: bool = False

    def __post_init__(self) -> None:
        modes = ", ".join(mode.value for mode in ListenMode)
        if self.listen_mode not in tuple(ListenMode):
            rules.fail("native.listen_mode", f"must be one of {modes}")
        object.__setattr__(self, "listen_mode", ListenMode(self.listen_mode))
        rules.text()("native.tcp_host", self.tcp_host)
        rules.integer(0, 65535)("native.tcp_port", self.tcp_port)
        rules.integer(1, 1000)("native.poll_interval_ms", self.poll_interval_ms)
        if self.listen_mode is ListenMode.UNIX:
            if self.unix_path is None:
                rules.fail("native.unix_path", "is required with listen_mode unix")
            rules.text()("native.unix_path", self.unix_path)


@dataclass(frozen=True, eq=False, repr=False)
class SubprocessOptions(Value):
    """Options of the subprocess backend.

    Attributes:
        binary_path: The ``stdio_bus`` program; empty to look for it.
        start_timeout_sec: Seconds that the program may take to report that it runs.
        drain_timeout_sec: Seconds that it may take to end once it was asked to.
        stderr_buffer_lines: How many lines of its stderr are kept for error messages.
        env: Variables for the program and its workers; ``None`` as value removes one.

    Raises:
        InvalidArgumentError: ``subprocess.<field>: <problem>`` for the first thing that is wrong.
    """

    binary_path: str = ""
    start_timeout_sec: float = 30.0
    drain_timeout_sec: float = 30.0
    stderr_buffer_lines: int = 64
    env: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.binary_path, str):
            rules.fail("subprocess.binary_path", "must be a string")
        rules.above_zero("seconds")("subprocess.start_timeout_sec", self.start_timeout_sec)
        rules.above_zero("seconds")("subprocess.drain_timeout_sec", self.drain_timeout_sec)
        rules.integer(1, 100_000)("subprocess.stderr_buffer_lines", self.stderr_buffer_lines)
        rules.environment("subprocess.env", self.env)


@dataclass(frozen=True, eq=False, repr=False)
class DockerOptions(Value):
    """Options of the docker backend.

    Attributes:
        image: An image whose entrypoint is ``stdio_bus`` and that has the pools' programs.
        pull_policy: When the engine fetches the image: ``missing``, ``always`` or ``never``.
        engine_path: A docker-compatible command line program; empty for the first of
            docker, podman and nerdctl on ``PATH`` that answers.
        startup_timeout_sec: Seconds that the container may take to report that it runs, a
            fetched image included.
        container_name_prefix: What the container's name begins with.
        extra_args: Arguments for the engine's ``run``, before the image.
        env: Variables for the workers, where a pool does not say otherwise; ``None`` as
            value removes one. They travel with the configuration, not in a command line.

    Raises:
        InvalidArgumentError: ``docker.<field>: <problem>`` for the first thing that is wrong.
    """

    image: str = f"stdiobus/stdio_bus:{__version__}"
    pull_policy: str = "missing"
    engine_path: str = ""
    startup_timeout_sec: float = 60.0
    container_name_prefix: str = "stdiobus"
    extra_args: Sequence[str] = ()
    env: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules.text()("docker.image", self.image)
        if self.image.startswith("-"):
            rules.fail("docker.image", 'must not begin with "-"')
        rules.choice(PULL_POLICIES)("docker.pull_policy", self.pull_policy)
        if not isinstance(self.engine_path, str):
            rules.fail("docker.engine_path", "must be a string")
        rules.above_zero("seconds")("docker.startup_timeout_sec", self.startup_timeout_sec)
        rules.text()("docker.container_name_prefix", self.container_name_prefix)
        if not _CONTAINER_NAME.fullmatch(self.container_name_prefix):
            rules.fail("docker.container_name_prefix", f"must match {_CONTAINER_NAME.pattern}")
        rules.strings("docker.extra_args", self.extra_args)
        rules.environment("docker.env", self.env)


# ---- The rules of each field


def check_pool(where: str, pool: Mapping[str, Any]) -> None:
    """Refuses a pool of a document that breaks a rule."""
    _POOL_FIELDS(where, pool)
    if pool.get("embedded") and "command" in pool:
        rules.fail(f"{where}.command", "must not be given for an embedded pool")
    if not pool.get("embedded") and "command" not in pool:
        rules.fail(f"{where}.command", "is required")


_CALL = rules.json_object({"method": rules.text(), "params": rules.any_object}, ["method"], nulls=True)

_POOL_FIELDS = rules.json_object(
    {
        "id": rules.text(max_bytes=128),
        "command": rules.text(),
        "args": rules.strings,
        "instances": rules.integer(1, 1024),
        "env": rules.environment,
        "inherit_env": rules.boolean,
        "cwd": rules.text(),
        "protocol": rules.choice(PROTOCOLS),
        "max_in_flight": rules.integer(0, 1_000_000),
        "max_queue": rules.integer(0, 1_000_000),
        "startup_timeout_sec": rules.integer(1, 3600),
        "handshake": rules.json_object({"request": _CALL, "notification": _CALL}, ["request"], nulls=True),
        "embedded": rules.boolean,
    },
    ["id"],
    nulls=True,
    never_null=["command"],
)

_LIMITS = rules.json_object(
    {
        "max_input_buffer": rules.integer(1024, 1 << 30),
        "max_output_queue": rules.integer(1024, 1 << 32),
        "max_restarts": rules.integer(0, 1_000_000),
        "restart_window_sec": rules.integer(1, 86_400),
        "drain_timeout_sec": rules.integer(0, 3600),
        "backpressure_timeout_sec": rules.integer(1, 3600),
        "max_clients": rules.integer(1, 65_536),
        "max_sessions": rules.integer(1, 10_000_000),
    },
    [],
    nulls=False,
)


def _pools(where: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)):
        rules.fail(where, "must be an array")
    if not value:
        rules.fail(where, "must not be empty")
    seen: list[str] = []
    for index, pool in enumerate(value):
        check_pool(f"{where}[{index}]", pool)
        if pool["id"] in seen:
            rules.fail(f"{where}[{index}].id", f'"{pool["id"]}" is used twice')
        seen.append(pool["id"])


_ROOT = rules.json_object(
    {"pools": _pools, "limits": _LIMITS, "token": rules.text(max_bytes=1024)}, ["pools"], nulls=False
)


def _check_document(document: Any) -> None:
    _ROOT("", document)


def _plain(value: Any) -> Any:
    """The fields of a configuration object that are set; anything else as it is."""
    if not isinstance(value, (PoolConfig, LimitsConfig)):
        return value
    items = ((each.name, getattr(value, each.name)) for each in fields(value))
    return {name: item for name, item in items if item is not None and name not in _LOCAL}


def _listed(pools: Any) -> Any:
    return [_plain(pool) for pool in pools] if isinstance(pools, (list, tuple)) else pools
