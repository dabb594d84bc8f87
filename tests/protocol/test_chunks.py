"""The table of chunks: what each profile streams."""

from __future__ import annotations

import pytest

from stdiobus.config import PROTOCOLS
from stdiobus.protocol.chunks import NO_CHUNK, PROFILES


def test_there_is_a_row_for_each_profile_that_can_be_configured():
    assert tuple(PROFILES) == PROTOCOLS


@pytest.mark.parametrize(
    ("params", "data"),
    [
        ({"update": {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "a"}}}, "a"),
        ({"update": {"content": {"text": "a"}}}, "a"),
        ({"update": {"sessionUpdate": "plan", "entries": []}}, NO_CHUNK),
        ({"update": {"sessionUpdate": "agent_thought_chunk", "content": {"text": "a"}}}, NO_CHUNK),
    ],
)
def test_session_update(params, data):
    assert PROFILES["stdiobus"].read(params) == data


@pytest.mark.parametrize("params", [{}, {"anything": 1}, {"update": {"content": {"type": "image"}}}])
def test_session_update_without_text_is_its_params(params):
    assert PROFILES["stdiobus"].read(params) is params


@pytest.mark.parametrize("profile", ["mcp", "mcp-stateless"])
def test_progress_is_its_message_or_its_params(profile):
    read = PROFILES[profile].read
    assert read({"progressToken": 1, "progress": 1, "message": "half"}) == "half"
    params = {"progressToken": 1, "progress": 1}
    assert read(params) is params
