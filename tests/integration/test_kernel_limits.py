"""The kernel keeps to its limits at scale and behind its listener; scripts/bench prints the figures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import kernel
from benchmarks.report import Row

ATTEMPTS = 5  # whatever else the machine does can spoil a comparison, but hardly all


def verdicts(measure: Callable[[], list[Row]]) -> dict[str, list[float]]:
    """The ratios of what was `over` its limit in every attempt."""
    over: dict[str, list[float]] = {}
    for attempt in range(ATTEMPTS):
        rows = measure()
        missed = {row.what: row.ratio or row.figure for row in rows if row.verdict == "over"}
        over = {what: [*over.get(what, []), figure] for what, figure in missed.items() if what in over or not attempt}
        if not over:
            break
    return over


@pytest.mark.slow
def test_500_workers_and_100000_sessions_cost_little_more_than_one_of_each():
    assert not verdicts(lambda: kernel.scale(rounds=31))


@pytest.mark.slow
def test_the_listener_reaches_half_of_what_bare_pipes_do():
    assert not verdicts(lambda: kernel.listener(rounds=5, count=64_000))
