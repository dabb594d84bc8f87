"""Reading the arguments of a bus and of its calls: what they mean, or which one is wrong.

What a configuration may contain is in ``config.py``; nothing here sends anything.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NoReturn

from ..config import BusConfig
from ..errors import NegotiationFailedError
from ..messages import HelloResult
from ..protocol.codec import refuse


def read_config(
    config: BusConfig | Mapping[str, Any] | None, config_path: str | os.PathLike[str] | None
) -> BusConfig:
    """The configuration, from exactly one of an object and a file.

    Raises:
        InvalidArgumentError: Both or none are given, or the contents are wrong.
    """
    if (config is None) == (config_path is None):
        refuse("config", "exactly one of config and config_path is needed")
    if config_path is not None:
        return BusConfig.from_file(os.fspath(config_path))
    return config if isinstance(config, BusConfig) else BusConfig.from_dict(config)


def seconds(timeout_ms: float) -> float:
    """A deadline in seconds; infinity means none.

    Raises:
        InvalidArgumentError: It is not a number of milliseconds above 0.
    """
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, (int, float)) or not timeout_ms > 0:
        refuse("timeout_ms", "must be a number of milliseconds above 0")
    return timeout_ms / 1000 if timeout_ms != math.inf else math.inf


def read_hello(answer: Any, wanted: Any) -> HelloResult:
    """What the bus answered to hello.

    Args:
        answer: The result.
        wanted: The version that was asked for, ``None`` for any.

    Raises:
        NegotiationFailedError: It is not an answer, or of another version.
    """
    version = answer.get("negotiatedProtocolVersion") if isinstance(answer, dict) else None
    session = answer.get("sessionId") if isinstance(answer, dict) else None
    if not isinstance(version, str) or not isinstance(session, str):
        raise NegotiationFailedError(
            f"stdio_bus/hello: the answer has no negotiatedProtocolVersion and sessionId: {answer!r}"
        )
    if isinstance(wanted, str) and version.split(".")[0] != wanted.split(".")[0]:
        raise NegotiationFailedError(
            f"stdio_bus/hello: the bus speaks version {version}, this client {wanted}; use matching releases",
            {"negotiated": version, "wanted": wanted},
        )
    return HelloResult(version, session, answer.get("extensions") or {})


class Targets:
    """What the first argument of a call names: a method, or a pool of the configuration.

    Attributes:
        timeouts: Seconds that calls to a pool may take, where its configuration says so.  A
            call that names no pool, key ``None``, has those of the first.
    """

    def __init__(self, config: BusConfig) -> None:
        self._pools = [pool.id for pool in config.pools]
        self._known = frozenset(self._pools)
        self.timeouts: dict[str | None, float] = {
            pool.id: seconds(pool.timeout_ms) for pool in config.pools if pool.timeout_ms is not None
        }
        if self._pools[0] in self.timeouts:
            self.timeouts[None] = self.timeouts[self._pools[0]]

    def resolve(self, target: str, method: str | None, pool: str | None) -> tuple[str, str | None]:
        """The method and the pool of a call; no pool leaves the choice to the bus.

        Raises:
            InvalidArgumentError: There is no such pool, two methods, or no strings.
        """
        if not isinstance(target, str):
            refuse("target", "must be a string")
        if method is not None and not isinstance(method, str):
            refuse("method", "must be a string")
        if pool is None:
            if target in self._known:
                return (target if method is None else method), target
            if method is not None:
                self._unknown("target", target)
            return target, None
        self.check(pool)
        if method is not None and target != pool:
            refuse("method", f"the method is given twice, as {target!r} and as {method!r}")
        return (target if method is None else method), pool

    def check(self, pool: str) -> None:
        """Refuses a pool that the configuration does not have."""
        if not isinstance(pool, str):
            refuse("pool", "must be a string")
        if pool not in self._known:
            self._unknown("pool", pool)

    def _unknown(self, where: str, name: str) -> NoReturn:
        pools = ", ".join(repr(pool) for pool in self._pools)
        refuse(where, f"there is no pool {name!r}; the configuration has {pools}")
