"""JSON in and out: compact, faithful, and clear about what is not JSON."""

from __future__ import annotations

import json

import pytest

from stdiobus import InvalidArgumentError
from stdiobus.protocol.codec import decode, encode, to_bytes


def test_text_is_compact_and_keeps_every_character():
    assert encode({"a": [1, "é\u2028\u2029"]}, "params") == '{"a":[1,"é\u2028\u2029"]}'
    assert "\n" not in encode({"a": "line\nbreak\r"}, "params")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, object(), b"bytes", {("a",): 1}])
def test_what_is_not_json_is_refused_by_name(value):
    with pytest.raises(InvalidArgumentError, match="params: not JSON data"):
        encode({"value": value}, "params")


def test_cycle_and_depth_are_refused():
    cycle: list = []
    cycle.append(cycle)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(InvalidArgumentError):
            encode(value, "params")
    while deep:  # taken apart one by one: its destructor would recurse
        deep = deep[0]


def test_lone_surrogate_is_refused_with_its_place():
    with pytest.raises(InvalidArgumentError, match=r"call: not Unicode text: .* at character 3"):
        to_bytes("abc\ud800", "call")


def test_decoding():
    assert decode(' {"a": "\u2028\\ud83d\\ude00"}') == {"a": "\u2028😀"}
    assert decode('"\\ud800"') == "\ud800"
    with pytest.raises(json.JSONDecodeError):
        decode("{")


def test_integer_too_long_for_python_does_not_lose_the_message():
    value = decode(f'{{"id": 7, "big": {"9" * 5000}}}')
    assert value["id"] == 7
