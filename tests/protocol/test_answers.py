"""Lines that answer: results and exceptions of functions of the user."""

from __future__ import annotations

import json

import pytest

from stdiobus import InvalidArgumentError, RemoteError
from stdiobus.protocol.answers import error_line, no_handler_line, result_line


def test_result_keeps_the_id_as_it_came():
    assert json.loads(result_line("w-1", {"a": None})) == {
        "jsonrpc": "2.0",
        "id": "w-1",
        "result": {"a": None},
    }
    assert result_line(7, None) == b'{"jsonrpc":"2.0","id":7,"result":null}\n'


def test_result_that_is_not_json_is_refused():
    with pytest.raises(InvalidArgumentError, match="answer: not JSON data"):
        result_line(1, object())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no"), {"code": -32603, "message": "no"}),
        (KeyError(), {"code": -32603, "message": "KeyError"}),
        (InvalidArgumentError("path: is required"), {"code": -32602, "message": "path: is required"}),
        (
            RemoteError("denied", {}, rpc_code=-1, rpc_data=[1]),
            {"code": -1, "message": "denied", "data": [1]},
        ),
        (RemoteError("denied", {}, rpc_code=-1, rpc_data=object()), {"code": -1, "message": "denied"}),
    ],
)
def test_exception_becomes_an_error(error, expected):
    assert json.loads(error_line(3, error)) == {"jsonrpc": "2.0", "id": 3, "error": expected}


@pytest.mark.parametrize("number", [7, "w-1", "\u2028"])
def test_request_nobody_serves_is_refused_with_its_own_id(number):
    answer = json.loads(no_handler_line(number, "roots/list"))
    assert (answer["id"], answer["error"]["code"]) == (number, -32601)
    assert "roots/list" in answer["error"]["message"]


def test_request_with_a_lone_surrogate_is_answered_all_the_same():
    assert json.loads(no_handler_line("w", "\ud800"))["id"] == "w"
