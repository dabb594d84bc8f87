"""When a bus is up: every pool has a ready worker or never will; and which pools have none later on.

Knows worker events only; no I/O and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..config import PoolConfig
from ..errors import UnavailableError
from ..messages import WorkerEvent
from ..protocol.failures import describe


class Startup:
    """The progress of one start, and what has become of each pool since.

    Args:
        pools: The configured pools.
        strict: Whether one pool that cannot start is the end of it.

    Attributes:
        waiting: Pools that have not had a ready worker yet.
        failures: Why a pool has no worker and does not get one by itself, by pool.
    """

    def __init__(self, pools: Iterable[PoolConfig], strict: bool = True) -> None:
        pools = tuple(pools)
        self._strict = strict
        self._count = len(pools)
        self._instances = {pool.id: pool.instances for pool in pools if not pool.embedded}
        self.waiting = set(self._instances)
        self.failures: dict[str, UnavailableError] = {}
        self._present: dict[str, set[int]] = {pool: set() for pool in self._instances}
        self._failed: dict[str, set[int]] = {pool: set() for pool in self._instances}
        self._last: dict[str, WorkerEvent] = {}

    @property
    def error(self) -> UnavailableError | None:
        """Why the start has failed, ``None`` while it has not."""
        failed = [error for pool, error in self.failures.items() if pool in self.waiting]
        return failed[0] if failed and (self._strict or len(failed) == self._count) else None

    @property
    def complete(self) -> bool:
        """Whether the outcome is known."""
        return self.waiting <= self.failures.keys() or self.error is not None

    def observe(self, event: WorkerEvent) -> None:
        """Takes the next worker event."""
        pool = event.pool
        if pool not in self._instances:
            return
        if event.kind == "started":
            self.waiting.discard(pool)
            self.failures.pop(pool, None)
            self._failed[pool].discard(event.worker_id)
            self._present[pool].add(event.worker_id)
            return
        self._last[pool] = event
        if event.kind == "restarting":
            return
        self._present[pool].discard(event.worker_id)
        if event.kind == "failed":
            failed = self._failed[pool]
            failed.add(event.worker_id)
            if len(failed) >= self._instances[pool] and not self._present[pool]:
                self.failures.setdefault(pool, self._failure(pool, "no worker can be started"))

    def time_out(self, seconds: float) -> None:
        """What has not started by now has failed; it may still come."""
        for pool in sorted(self.waiting - self.failures.keys()):
            self.failures[pool] = self._failure(pool, f"no worker became ready within {seconds:g} s")

    def _failure(self, pool: str, what: str) -> UnavailableError:
        event = self._last.get(pool)
        code = event.returncode if event is not None else None
        details = {
            "pool": pool,
            "worker": event.worker_id if event is not None else None,
            "exit_code": code if code is not None and code >= 0 else None,
            "signal": -code if code is not None and code < 0 else None,
            "reason": event.reason if event is not None else "",
            "stderr": event.stderr_tail if event is not None else "",
        }
        text = f"pool {pool!r}: {what}"
        if event is not None and event.reason:
            text += f": {event.reason}"
        facts = {**details, "pool": None}
        remedy = "check the pool's command, args and env, or raise its startup_timeout_sec"
        return UnavailableError(describe(text, facts, remedy), details)
