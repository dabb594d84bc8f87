"""The bus is not slower than what it replaces; the figures themselves come from scripts/bench."""

from __future__ import annotations

import pytest

from benchmarks import throughput


@pytest.mark.slow
async def test_64_requests_in_flight_are_at_least_as_fast_as_hand_written_asyncio(compiled_echo_worker):
    rates = await throughput.compare(compiled_echo_worker, rounds=5, count=6400)
    assert rates["native"] >= rates["asyncio"], rates
