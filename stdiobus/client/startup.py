"""When a bus is up: every pool has a ready worker, or one of them never will.

Knows worker events only; no I/O and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..config import PoolConfig
from ..errors import StdioBusError, UnavailableError
from ..messages import WorkerEvent
from ..protocol.failures import describe


class Startup:
    """The progress of one start.

    Args:
        pools: The configured pools.

    Attributes:
        waiting: Pools without a ready worker.
        error: Why the start has failed, ``None`` while it has not.
    """

    def __init__(self, pools: Iterable[PoolConfig]) -> None:
        self._instances = {pool.id: pool.instances for pool in pools if not pool.embedded}
        self.waiting = set(self._instances)
        self.error: StdioBusError | None = None
        self._failed: dict[str, set[int]] = {pool: set() for pool in self._instances}
        self._last: dict[str, WorkerEvent] = {}

    @property
    def complete(self) -> bool:
        """Whether the outcome is known."""
        return not self.waiting or self.error is not None

    def observe(self, event: WorkerEvent) -> None:
        """Takes the next worker event."""
        if event.pool not in self.waiting:
            return
        if event.kind == "started":
            self.waiting.discard(event.pool)
            return
        self._last[event.pool] = event
        if event.kind == "failed":
            failed = self._failed[event.pool]
            failed.add(event.worker_id)
            if len(failed) >= self._instances[event.pool] and self.error is None:
                self.error = self._failure(event.pool, "no worker can be started")

    def timed_out(self, seconds: float) -> StdioBusError:
        """The error for a start that took longer than allowed."""
        pool = sorted(self.waiting)[0]
        return self._failure(pool, f"no worker became ready within {seconds:g} s")

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
