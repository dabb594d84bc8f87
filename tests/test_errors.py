"""The exception tree: codes, plain data, pickling."""

from __future__ import annotations

import asyncio
import builtins
import pickle

import pytest

import stdiobus
from stdiobus import errors
from stdiobus.errors import ErrorCode, InternalError, RemoteError, StdioBusError, TimeoutError

CODES = {
    "InvalidArgumentError": 1,
    "InvalidStateError": 2,
    "TimeoutError": 3,
    "CancelledError": 4,
    "TransportError": 5,
    "NegotiationFailedError": 6,
    "PolicyDeniedError": 7,
    "UnavailableError": 8,
    "ResourceExhaustedError": 9,
    "NotSupportedError": 10,
    "InternalError": 99,
    "RemoteError": 99,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_each_error_has_its_number(name, code):
    error = getattr(errors, name)("what happened", {"pool": "p"})
    assert isinstance(error, StdioBusError)
    assert error.code == code
    assert str(error) == error.message == "what happened"
    assert error.details == {"pool": "p"}


def test_every_code_has_an_error():
    assert {int(code) for code in ErrorCode} == set(CODES.values())


def test_timeout_is_a_builtin_timeout_and_no_cancelled_task():
    assert issubclass(TimeoutError, builtins.TimeoutError)
    assert not issubclass(errors.CancelledError, asyncio.CancelledError)


def test_error_as_plain_data():
    error = RemoteError("no", {"pool": "p"}, rpc_code=-32601, rpc_data=[1])
    assert isinstance(error, InternalError)
    assert error.to_dict() == {
        "code": 99,
        "name": "INTERNAL",
        "message": "no",
        "details": {"pool": "p"},
        "rpc_code": -32601,
        "rpc_data": [1],
    }


@pytest.mark.parametrize("name", CODES)
def test_error_survives_pickling(name):
    error = pickle.loads(pickle.dumps(getattr(errors, name)("text", {"worker": 3})))
    assert (type(error).__name__, str(error), error.details) == (name, "text", {"worker": 3})


def test_all_errors_are_public():
    assert set(errors.__all__) <= set(stdiobus.__all__)
