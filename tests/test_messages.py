"""Data types handed to users: enums that are strings, views of events."""

from __future__ import annotations

import dataclasses

import pytest

from stdiobus import (
    BackendMode,
    BusState,
    ListenMode,
    OverflowPolicy,
    StreamEvent,
    StreamEventType,
)
from stdiobus.messages import returncode


def test_enums_equal_their_plain_values():
    assert StreamEventType.CHUNK == "chunk"
    assert StreamEventType.RESULT == "result"
    assert BackendMode.NATIVE == "native"
    assert ListenMode.TCP == "tcp"
    assert OverflowPolicy.DROP_OLDEST == "drop_oldest"
    assert [state.value for state in BusState] == [0, 1, 2, 3, 4]


def test_views_of_a_chunk_and_of_a_result():
    chunk = StreamEvent(StreamEventType.CHUNK, "hi")
    assert (chunk.text, chunk.result) == ("hi", None)
    assert StreamEvent(StreamEventType.CHUNK, {"progress": 1}).text is None
    result = StreamEvent(StreamEventType.RESULT, {"n": 1})
    assert (result.text, result.result) == (None, {"n": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        chunk.data = "other"


def test_return_code_from_the_kernels_numbers():
    assert returncode(-1, 9) == -9
    assert returncode(3, 0) == 3
    assert returncode(0, 0) == 0
    assert returncode(-1, 0) is None
